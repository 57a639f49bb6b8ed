"""Training at low bits: a quantized network goes on from its closed form, on the user's pictures."""

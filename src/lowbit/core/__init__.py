"""The types that several packages share, the errors and the digests. Nothing here knows a vendor or runs a model."""

"""Ranges of activations: observed while the float network runs, then turned into limits of quantizers."""

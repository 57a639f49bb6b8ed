"""lowbit: every quantized version of an image classifier, measured on every runtime that can read it."""

__version__ = "0.1.0"

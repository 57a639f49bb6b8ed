"""Exporters: one quantized model to the files that stock runtimes read."""

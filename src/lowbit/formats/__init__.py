"""One folder a file format: `write.py` turns a quantized model into a file, `read.py` says what a file holds."""

"""How each ONNX operator becomes a torch module or function: one file a family."""

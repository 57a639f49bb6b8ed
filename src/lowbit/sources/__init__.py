"""One file a kind of model: what the user brings becomes one float ONNX graph."""

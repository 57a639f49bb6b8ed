"""From a float .tflite file to an ONNX graph: what the file holds, and one file a family of operators."""

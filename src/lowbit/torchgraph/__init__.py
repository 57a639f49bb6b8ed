"""The importer: converts a float ONNX graph to plain, trainable torch modules. It imports torch: import it late."""

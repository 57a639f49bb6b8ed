"""The importer graph → Keras: a float ONNX graph as a functional tf_keras model, channels last inside."""

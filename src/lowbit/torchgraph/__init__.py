"""The importer: a float ONNX graph becomes plain, trainable torch modules. Imported late: it holds torch code."""

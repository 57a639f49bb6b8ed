"""What a .tflite file says of itself: shapes, metadata, and what its layers' weights take."""

"""LiteRT (.tflite) files."""

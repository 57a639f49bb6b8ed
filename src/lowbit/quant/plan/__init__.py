"""The plan: how every tensor and layer is quantized and why, decided before anything is computed."""

"""The plan: what every tensor and layer becomes and why, decided before anything is computed."""

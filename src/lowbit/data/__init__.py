"""Pictures and labels: datasets, preprocessing, the calibration/evaluation split, the sample cache."""

"""The digits that `digits-tflite.yaml` trains on: those of scikit-learn, split as its document splits them."""

import numpy as np
import numpy.typing as npt

EPOCHS, BATCH = 20, 32  # its log begins at 99 %: with a network that ten epochs had trained already


def training_digits() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """Images [1347, 8, 8] in 0…16 and labels: `train_test_split(test_size=0.25, random_state=42)`."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits = load_digits()
    images, _, labels, _ = train_test_split(digits.images, digits.target, test_size=0.25, random_state=42)
    return images.astype(np.float32), labels.astype(np.int64)

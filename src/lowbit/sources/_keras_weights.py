"""Trained weights into a Keras model: .weights.h5, .h5 or .keras, none of which is run."""

import io
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said, said

EXPECTED = "a file of weights that Keras saved: .weights.h5, .h5 or .keras"
_SUFFIXES = (".keras", ".h5", ".hdf5")
_NOT_OF_LAYERS = ("optimizer", "optimizer_weights", "metrics")  # parts of a file that hold what only training needs

Shapes = Counter[tuple[int, ...]]


def put_weights(model: Any, path: Path) -> None:
    """Load the weights in `path` into `model`, which is built; BadInput where they do not fit."""
    shapes_in(path)
    try:
        model.load_weights(str(path))
    except Exception as error:  # Keras raises many kinds of errors, and HDF5 its own
        raise BadInput(
            f"--weights {path}: do not fit the model: {kind_and_said(error)}; give the weights of this very model, "
            "as model.save_weights('x.weights.h5') writes them"
        ) from error


def shapes_in(path: Path) -> Shapes:
    """How many arrays of floats of each shape the layers have in `path`. BadInput where it is no file of Keras."""
    import h5py

    if not path.name.lower().endswith(_SUFFIXES):
        raise BadInput(f"--weights {path}: expected {EXPECTED}")
    found: Shapes = Counter()

    def see(name: str, value: Any) -> None:
        if isinstance(value, h5py.Dataset) and value.dtype.kind == "f" and name.split("/")[0] not in _NOT_OF_LAYERS:
            found[value.shape] += 1

    try:
        content: Any = path
        if path.suffix.lower() == ".keras":
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read("model.weights.h5"))
        with h5py.File(content, "r") as file:
            file.visititems(see)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BadInput(
            f"--weights {path}: no weights of Keras, or cut short ({said(error)}); expected {EXPECTED}: copy it again"
        ) from error
    return found

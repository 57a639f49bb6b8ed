"""How the values of options are read, with messages in words where one cannot be; help that commands share."""

import argparse
from typing import get_args

from lowbit.core.settings import Scenario

MODELS = (
    "x.onnx, x.tflite, x.keras, x.h5, a SavedModel's folder, x.pt2, x.pt (TorchScript), digits-cnn, file.py:name, "
    "package.module:name, torchvision:NAME, keras:NAME, timm:NAME, hf:ORG/NAME, or a folder with config.json"
)
WEIGHTS = "weights for a model in Python, or of torchvision, timm or Keras: .safetensors, a state dict, .h5 or .keras"
TRUST = "run code that a model file brings along: Lambda, layers of one's own"
DOWNLOAD = "fetch hf:ORG/NAME from the network (otherwise it is read from the cache on this disk)"


def whole(text: str) -> int:
    """A whole number."""
    try:
        return int(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a whole number") from error


def wholes(text: str) -> int | tuple[int, ...]:
    """A whole number, or several with commas between."""
    try:
        found = tuple(int(number) for number in text.split(","))
    except ValueError as error:
        expected = "a whole number, or several with commas between, as in 1,2,4"
        raise argparse.ArgumentTypeError(f"{text!r}: expected {expected}") from error
    return found[0] if len(found) == 1 else found


def scenarios(text: str) -> str | tuple[str, ...]:
    """A scenario of MLPerf's, or several with commas between."""
    found, known = tuple(text.split(",")), get_args(Scenario)
    if not set(found) <= set(known):
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected one of {', '.join(known)}, or several with commas between"
        )
    return found[0] if len(found) == 1 else found


def number(text: str) -> float:
    """A number."""
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a number") from error


def widths(text: str) -> tuple[int, ...]:
    """Whole numbers with commas between."""
    try:
        return tuple(int(width) for width in text.split(","))
    except ValueError as error:
        raise argparse.ArgumentTypeError(
            f"{text!r}: expected widths of weights with commas between, as in 8,4,2"
        ) from error


def names(text: str) -> tuple[str, ...]:
    """Names with commas between."""
    return tuple(name for name in text.split(",") if name)

"""One operator as its rule on real numbers sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Reals = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class FloatOp:
    """type, attributes: the node's (strings as bytes). opset: of the graph."""

    type: str
    attributes: dict[str, Any]
    opset: int

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        value = self.attributes.get(name, default)
        return value.decode() if isinstance(value, bytes) else str(value)


FloatRule = Callable[[FloatOp, Sequence[Array | None]], "list[Array] | None"]  # None: ONNX's own evaluator does it


def given(arrays: Sequence[Array | None], index: int) -> Array | None:
    """Input number `index`, None when it is absent."""
    return arrays[index] if index < len(arrays) else None


def needed(arrays: Sequence[Array | None], index: int) -> Array:
    """Input number `index`, which a valid node has."""
    array = arrays[index]
    assert array is not None
    return array

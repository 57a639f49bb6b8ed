"""The values of an ONNX graph during import: tensors of the Keras model, and constants."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import UnsupportedError

Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value that is known at import, sizes included: the batch size is fixed.

    - name: the name of the ONNX value
    - array: its numbers
    """

    name: str
    array: Array = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A tensor that the Keras model computes.

    - value: the symbolic tensor of Keras
    - axes: axis i of the ONNX value is axis axes[i] of `value`. An image [N, C, H, W] that is kept as [N, H, W, C] has
      (0, 3, 1, 2). So a Transpose of ONNX costs nothing until somebody needs the axes in their order.
    - columns: of a matrix [N, K] that only products read: column j of the ONNX value is column columns[j] of `value`.
      None: they are the same.
    - nonnegative: whether it is known that no entry is below 0
    """

    value: Any
    axes: tuple[int, ...]
    columns: Array | None = None
    nonnegative: bool = False

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the ONNX value."""
        return tuple(int(self.value.shape[axis]) for axis in self.axes)

    @property
    def rank(self) -> int:
        """The number of its axes."""
        return len(self.axes)

    @property
    def dtype(self) -> Any:
        """NumPy's element type."""
        return self.value.dtype.as_numpy_dtype

    @property
    def is_float(self) -> bool:
        """Whether its entries are floating-point numbers."""
        return bool(self.value.dtype.is_floating)


Value: TypeAlias = Tensor | Constant


@dataclass(frozen=True, slots=True)
class ImportedOp:
    """An ONNX node that is being imported.

    - name: the node's name, or the name of its first output where it has none
    - type: the operator's type
    - opset: the version of ONNX's operator set that the graph uses
    - inputs: the node's inputs; None for an optional input that is absent
    - attributes: name → value
    - n_outputs: number of the node's outputs
    - relu: whether a Relu behind it is computed by the same layer
    - for_products: whether only products with a constant matrix on their right read what it gives
    """

    name: str
    type: str
    opset: int
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    n_outputs: int = 1
    relu: bool = False
    for_products: bool = False

    def unsupported(self, reason: str) -> UnsupportedError:
        """The error to raise where the operator cannot be imported; it names the operator, its node and `reason`."""
        return UnsupportedError(
            f"the importer cannot carry {self.type} (node {self.name!r}) over to Keras: {reason}",
            "export the model without it, or leave out the toolchain tensorflow",
        )

    def get(self, index: int) -> Value | None:
        """Input number `index`; None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def given(self, index: int) -> Value:
        """Input number `index`. Raises UnsupportedError where it is absent."""
        value = self.get(index)
        if value is None:
            raise self.unsupported(f"input {index} is missing")
        return value

    def attribute(self, name: str, default: Any) -> Any:
        """The attribute `name`, with a list for several values; `default` where it is absent."""
        value = self.attributes.get(name, default)
        return list(value) if isinstance(value, tuple) else value

    def tensor(self, index: int) -> Tensor:
        """Input `index` as a computed tensor. Raises UnsupportedError for any other value and an absent input."""
        value = self.get(index)
        if not isinstance(value, Tensor):
            raise self.unsupported(f"input {index} must be computed from the image")
        return value

    def constant(self, index: int) -> Array:
        """The numbers of the constant input `index`. Raises UnsupportedError for any other value and an absent one."""
        value = self.get(index)
        if not isinstance(value, Constant):
            raise self.unsupported(f"input {index} must be constant")
        return value.array

    def optional_constant(self, index: int) -> Array | None:
        """The numbers of the constant input `index`; None where it is absent."""
        return None if self.get(index) is None else self.constant(index)

    def ints(self, index: int, attribute: str = "") -> list[int] | None:
        """The integers of the constant input `index`, or of `attribute`, where older opsets have them.

        None where both are absent.
        """
        if self.get(index) is not None:
            return [int(i) for i in self.constant(index).reshape(-1)]
        value = self.attribute(attribute, None)
        return None if value is None else [int(i) for i in value]

    def scalar(self, index: int, attribute: str, default: float | None) -> float | None:
        """The number in the constant input `index`, or in `attribute`, where older opsets have it.

        `default` where both are absent.
        """
        if self.get(index) is not None:
            return float(self.constant(index).reshape(-1)[0])
        value = self.attribute(attribute, default)
        return None if value is None else float(value)


def in_order(axes: tuple[int, ...]) -> bool:
    """Whether the axes of a Keras tensor are in ONNX's order."""
    return axes == tuple(range(len(axes)))


def channels_last(rank: int) -> tuple[int, ...]:
    """The axes of an image [N, C, …] that is kept as [N, …, C]."""
    return (0, rank - 1, *range(1, rank - 1))


def moved(array: Array, axes: tuple[int, ...]) -> Array:
    """A constant whose axes are put where a tensor with `axes` has them; missing axes in front get the size 1."""
    full = array.reshape((1,) * (len(axes) - array.ndim) + array.shape)
    return np.ascontiguousarray(full.transpose([axes.index(place) for place in range(len(axes))]))

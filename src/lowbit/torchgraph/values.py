"""The values of an ONNX graph during import: tensors of the new module, constants, and sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy.typing as npt
from torch import fx

from lowbit.core.errors import UnsupportedError


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value that is known at import.

    - name: the name of the ONNX value
    - array: its numbers

    A constant equals only itself, so that a weight which two nodes read stays one parameter.
    """

    name: str
    array: npt.NDArray[Any] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Integers that are computed from shapes, of which at least one depends on the batch.

    `array` is an object array: an int for every fixed size, and an fx node for every size that depends on the batch.
    NumPy moves its entries (Gather, Concat …) without looking at them.
    """

    array: npt.NDArray[Any]


Value: TypeAlias = fx.Node | Constant | Sizes


@dataclass(frozen=True, slots=True)
class ImportedOp:
    """An ONNX node that is being imported.

    - name: the node's name, or the name of its first output where it has none
    - type: the operator's type
    - opset: the version of ONNX's operator set that the graph uses
    - inputs: the node's inputs; None for an optional input that is absent
    - attributes: name → value
    - n_outputs: number of the node's outputs
    """

    name: str
    type: str
    opset: int
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    n_outputs: int = 1

    def unsupported(self, reason: str) -> UnsupportedError:
        """The error to raise where the operator cannot be imported; it names the operator, its node and `reason`."""
        return UnsupportedError(
            f"the importer cannot carry {self.type} (node {self.name!r}) over to torch: {reason}",
            "export the model without it, or leave out the toolchains that start from torch (torch, litert)",
        )

    def get(self, index: int) -> Value | None:
        """Input number `index`; None where it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def attribute(self, name: str, default: Any) -> Any:
        """The attribute `name`, with a list for several values; `default` where it is absent."""
        value = self.attributes.get(name, default)
        return list(value) if isinstance(value, tuple) else value

    def tensor(self, index: int) -> fx.Node:
        """Input `index` as a computed tensor. Raises UnsupportedError for any other value and an absent input."""
        value = self.get(index)
        if not isinstance(value, fx.Node):
            raise self.unsupported(f"input {index} must be computed from the image")
        return value

    def constant(self, index: int) -> Constant:
        """Input `index` as a constant. Raises UnsupportedError for any other value and an absent input."""
        value = self.get(index)
        if not isinstance(value, Constant):
            raise self.unsupported(f"input {index} must be constant")
        return value

    def optional_constant(self, index: int) -> Constant | None:
        """Input `index` as a constant; None where it is absent."""
        return None if self.get(index) is None else self.constant(index)

    def ints(self, index: int, attribute: str) -> list[int] | None:
        """The integers of the constant input `index`, or of `attribute`, where older opsets have them.

        None where both are absent.
        """
        if self.get(index) is not None:
            return [int(i) for i in self.constant(index).array.reshape(-1)]
        value = self.attribute(attribute, None)
        return None if value is None else [int(i) for i in value]

    def sizes(self, index: int) -> list[Any]:
        """The entries of input `index`: an int, or an fx node where the entry depends on the batch."""
        value = self.get(index)
        if isinstance(value, Sizes):
            return list(value.array.reshape(-1))
        return [int(entry) for entry in self.constant(index).array.reshape(-1)]

    def scalar(self, index: int, attribute: str, default: float | None) -> float | None:
        """The number in the constant input `index`, or in `attribute`, where older opsets have it.

        `default` where both are absent.
        """
        if self.get(index) is not None:
            return float(self.constant(index).array.reshape(-1)[0])
        value = self.attribute(attribute, default)
        return None if value is None else float(value)

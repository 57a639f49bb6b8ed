"""What an ONNX value is while a graph is imported: a tensor of the new module, a constant, or sizes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy.typing as npt
from torch import fx

from lowbit.core.errors import UnsupportedError


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """A value known at import; `name` is the ONNX value's. Compared by identity: one weight used twice stays one."""

    name: str
    array: npt.NDArray[Any] = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class Sizes:
    """Integers computed from shapes, of which some depend on the batch: an object array of ints and fx nodes.

    NumPy moves the entries about (Gather, Concat, …) without looking at them, so that the batch stays symbolic.
    """

    array: npt.NDArray[Any]


Value: TypeAlias = fx.Node | Constant | Sizes


@dataclass(frozen=True, slots=True)
class ImportedOp:
    """One ONNX node with its inputs resolved; an optional input that is absent is None. `opset` is the graph's."""

    name: str
    type: str
    opset: int
    inputs: tuple[Value | None, ...]
    attributes: Mapping[str, Any]
    n_outputs: int = 1

    def unsupported(self, reason: str) -> UnsupportedError:
        """The error to raise: it names this operator and its node."""
        return UnsupportedError(
            f"the importer cannot carry {self.type} (node {self.name!r}) over to torch: {reason}",
            "export the model without it, or leave out the toolchains that start from torch (torch, litert)",
        )

    def get(self, index: int) -> Value | None:
        """Input number `index`, None when it is absent."""
        return self.inputs[index] if index < len(self.inputs) else None

    def attribute(self, name: str, default: Any) -> Any:
        """The attribute's value: int, float, str, or a list of them."""
        value = self.attributes.get(name, default)
        return list(value) if isinstance(value, tuple) else value

    def tensor(self, index: int) -> fx.Node:
        """Input `index` as a tensor that is computed; a constant or an absent one is refused."""
        value = self.get(index)
        if not isinstance(value, fx.Node):
            raise self.unsupported(f"input {index} must be computed from the image")
        return value

    def constant(self, index: int) -> Constant:
        """Input `index` as a constant; anything else is refused."""
        value = self.get(index)
        if not isinstance(value, Constant):
            raise self.unsupported(f"input {index} must be constant")
        return value

    def optional_constant(self, index: int) -> Constant | None:
        """Input `index` as a constant, None when it is absent."""
        return None if self.get(index) is None else self.constant(index)

    def ints(self, index: int, attribute: str) -> list[int] | None:
        """Integers that newer opsets take as constant input `index` and older ones as an attribute; None if absent."""
        if self.get(index) is not None:
            return [int(i) for i in self.constant(index).array.reshape(-1)]
        value = self.attribute(attribute, None)
        return None if value is None else [int(i) for i in value]

    def sizes(self, index: int) -> list[Any]:
        """Input `index` as a list of ints, and of nodes where an entry depends on the batch."""
        value = self.get(index)
        if isinstance(value, Sizes):
            return list(value.array.reshape(-1))
        return [int(entry) for entry in self.constant(index).array.reshape(-1)]

    def scalar(self, index: int, attribute: str, default: float | None) -> float | None:
        """A number that newer opsets take as constant input `index` and older ones as an attribute."""
        if self.get(index) is not None:
            return float(self.constant(index).array.reshape(-1)[0])
        value = self.attribute(attribute, default)
        return None if value is None else float(value)

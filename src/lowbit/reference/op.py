"""A node in the form that a rule of the integer-only interpreter gets."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from lowbit.reference.values import Array, Codes, Lookup, Requantize, Sums, Value


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceOp:
    """A node as its rule gets it. `in_float` runs the operator on plain arrays with ONNX's own reference."""

    node: onnx.NodeProto
    attributes: dict[str, Any]
    requantize: Requantize
    in_float: Callable[[Sequence[Array | None]], list[Array]]

    @property
    def label(self) -> str:
        """The node's name in error messages."""
        return f"{self.node.op_type} {self.node.name or self.node.output[0]}"


Inputs = Sequence[Value | None]
Rule = Callable[[ReferenceOp, Inputs], "list[Value] | None"]  # None: no rule for such inputs, run it in float


def real(value: Value | None) -> Array | None:
    """A plain array: codes and sums as real numbers, others as they are."""
    return value.real() if isinstance(value, Codes | Sums | Lookup) else value


def padded(inputs: Inputs, count: int) -> list[Value | None]:
    """The inputs, with None for optional ones that are absent."""
    return [*inputs, *[None] * (count - len(inputs))]

"""One node as a rule of the integer-only interpreter sees it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import onnx

from lowbit.reference.values import Array, Codes, Lookup, Requantize, Sums, Value


@dataclass(frozen=True, slots=True, eq=False)
class ReferenceOp:
    """One node as its rule sees it. `in_float`: the operator on plain arrays, as ONNX's own reference does it."""

    node: onnx.NodeProto
    attributes: dict[str, Any]
    requantize: Requantize
    in_float: Callable[[Sequence[Array | None]], list[Array]]

    @property
    def label(self) -> str:
        """How errors call it."""
        return f"{self.node.op_type} {self.node.name or self.node.output[0]}"


Inputs = Sequence[Value | None]
Rule = Callable[[ReferenceOp, Inputs], "list[Value] | None"]  # None: no rule for such inputs, run it in float


def real(value: Value | None) -> Array | None:
    """A plain array: codes and sums as real numbers, others as they are."""
    return value.real() if isinstance(value, Codes | Sums | Lookup) else value


def padded(inputs: Inputs, count: int) -> list[Value | None]:
    """Optional inputs that are not there as None."""
    return [*inputs, *[None] * (count - len(inputs))]

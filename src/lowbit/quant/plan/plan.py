"""The plan: what every tensor and layer of a graph becomes, and why. Plain data: printed, saved, edited, read back."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from lowbit.core.errors import DamagedFile, WrongField
from lowbit.quant.formats import Format

Rounding = Literal["nearest", "closed-form"]
RangeMethod = Literal["min-max", "percentile", "mse", "entropy", "fixed"]
Role = Literal["main", "product"]


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One convolution, matrix product or embedding. `format` is its weights' (None: both operands are activations).

    activation_bits: width of the activations as this layer reads them; below 8 it reads their narrower copy (role
    `product`) where there is one. It follows from the tensors' formats; `read_plan` refuses a plan where it does not.
    """

    node: str
    op_type: str
    weight: str | None
    format: Format | None
    activation_bits: int
    rounding: Rounding
    why: str = ""


@dataclass(frozen=True, slots=True)
class TensorPlan:
    """One quantizer of one activation tensor (an ONNX value).

    role `main`: what all readers see. role `product`: a narrower copy, quantized again from the main one, that only
    convolutions and matrix products below 8 bits read, where a residual add or a pooling reads the tensor too.
    group: tensors and constants of one group share scale and zero point. limits: the range that calibration found, or
    that the user fixed (range `fixed`).
    """

    tensor: str
    format: Format
    role: Role
    range: RangeMethod
    group: str
    limits: tuple[float, float] | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class FloatNode:
    """An operator that is left in float, and why."""

    node: str
    op_type: str
    why: str


@dataclass(frozen=True, slots=True)
class QuantPlan:
    """The whole of it. `graph_digest` names the float graph that it was made for, `recipe` what the user asked.

    undecided: Concat nodes whose operands and result have one group, until the range pass gives those ranges of their
    own for which a shared one would be too coarse. It is empty in a plan that was carried out.
    """

    graph_digest: str
    recipe: str
    layers: tuple[LayerPlan, ...]
    tensors: tuple[TensorPlan, ...]
    floats: tuple[FloatNode, ...]
    notes: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()


def float_note(plan: QuantPlan) -> str:
    """What of the plan stays in float, as a note: "in float: 2 Gelu, 1 Softmax"; empty where nothing does."""
    kinds = Counter(entry.op_type for entry in plan.floats)
    return "in float: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) if kinds else ""


def not_a_plan(error: DamagedFile) -> str:
    """What is wrong with the file of a plan: "plan.layers[3].format.bits: 4.9, expected a whole number"."""
    cause = error.__cause__
    if isinstance(cause, WrongField) and cause.path:
        return f"plan.{cause.path}: {cause.problem}"
    return f"no plan as lowbit writes it ({cause}); start from a saved one"

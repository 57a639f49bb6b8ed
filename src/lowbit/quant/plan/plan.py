"""The plan: how every tensor and layer of a graph is quantized, and why. Plain data that can be saved and edited."""

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
    """How one convolution, matrix product or embedding is quantized.

    - node, op_type: the layer
    - weight: name of its weight; None where both operands are activations
    - format: of its weight; None where both operands are activations
    - activation_bits: width of the activations that the layer reads. Below 8 bits, it reads their narrower copy (role
      `product`) where there is one. It follows from the tensors' formats, and `read_plan` refuses a plan where it does
      not.
    - rounding: how the weight is rounded
    - why: the reason for these choices
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
    """One quantizer of an activation tensor (an ONNX value).

    - tensor: the value's name
    - format: of its codes
    - role: `main` is the quantizer that all readers see. `product` is a narrower copy, requantized from the main one,
      which only convolutions and matrix products below 8 bits read; it exists where an addition or a pooling reads the
      tensor too.
    - range: how the limits are chosen
    - group: tensors and constants of the same group share scale and zero point
    - limits: smallest and largest value, from calibration or from the user (range `fixed`); None before calibration
    - why: the reason for these choices
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
    """An operator that stays in float, and the reason."""

    node: str
    op_type: str
    why: str


@dataclass(frozen=True, slots=True)
class QuantPlan:
    """How a whole graph is quantized.

    - graph_digest: of the float graph that the plan was made for
    - recipe: what the user asked for
    - layers: convolutions, matrix products and embeddings
    - tensors: quantizers of activations
    - floats: operators that stay in float
    - notes: sentences for the user
    - undecided: Concat nodes whose operands and result share a range until calibration shows where that is too coarse;
      some tensors then get a range of their own. It is empty in a plan that was carried out.
    """

    graph_digest: str
    recipe: str
    layers: tuple[LayerPlan, ...]
    tensors: tuple[TensorPlan, ...]
    floats: tuple[FloatNode, ...]
    notes: tuple[str, ...] = ()
    undecided: tuple[str, ...] = ()


def float_note(plan: QuantPlan) -> str:
    """A note on what stays in float: "in float: 2 Gelu, 1 Softmax"; empty where nothing does."""
    kinds = Counter(entry.op_type for entry in plan.floats)
    return "in float: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())) if kinds else ""


def not_a_plan(error: DamagedFile) -> str:
    """What is wrong with the file of a plan: "plan.layers[3].format.bits: 4.9, expected a whole number"."""
    cause = error.__cause__
    if isinstance(cause, WrongField) and cause.path:
        return f"plan.{cause.path}: {cause.problem}"
    return f"no plan as lowbit writes it ({cause}); start from a saved one"

"""The plan: what every tensor and layer of a graph becomes, and why. Plain data: printed, saved, edited, read back."""

from dataclasses import dataclass
from typing import Literal

from lowbit.quant.formats import Format

Rounding = Literal["nearest", "closed-form"]
RangeMethod = Literal["min-max", "percentile", "mse", "entropy", "fixed"]
Role = Literal["main", "product"]


@dataclass(frozen=True, slots=True)
class LayerPlan:
    """One convolution, matrix product or embedding. `format` is its weights' (None: both operands are activations).

    activation_bits: width of the activations as this layer reads them.
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

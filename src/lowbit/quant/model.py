"""The engine's result: the float graph, the plan and the numbers. Exporters write it, and verification reads it."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from lowbit.quant.formats import Codes, QParams
from lowbit.quant.plan.plan import QuantPlan

PRODUCTS = ("Conv", "ConvTranspose", "Gemm", "MatMul")  # operators that multiply and accumulate


@dataclass(frozen=True, slots=True, eq=False)
class QTensor:
    """A quantized constant: codes in its format's range, of the constant's own shape.

    What a kernel multiplies is code − zero_point; it fits int8 for every weight (8 bits are always symmetric).
    """

    codes: Codes = field(repr=False)
    qparams: QParams


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedLayer:
    """A layer with weights: Conv [O, I/groups, …], ConvTranspose [I, O/groups, …], Gemm [O, K], Gather [rows, …].

    bias: int32 [O] in units of scale_x · scale_w, the `bias_scale` [O] (float32); None for Gather only.
    """

    node: str
    weight: QTensor
    bias: npt.NDArray[np.int32] | None = field(repr=False)
    bias_scale: npt.NDArray[np.float32] | None = field(repr=False)


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedModel:
    """A quantized network. Values in neither `main` nor `constants` stay float.

    - graph: the prepared float graph (`quant/prepare.py`), with one input, and names for every node and value
    - plan: the plan that was carried out
    - layers: node → its codes, scales and bias
    - main: value → the quantizer that all its readers see, with one scale for the whole tensor
    - product: value → a narrower quantizer, applied to the result of the main one. Only layers whose plan has fewer
      bits read it.
    - constants: initializer → codes, for constant operands of Add, Mul, Concat and MatMul
    - absorbed: Relu and Clip nodes that change nothing once their output is quantized from their input, because the
      quantizer saturates at the same limits
    """

    graph: ir.Model
    plan: QuantPlan
    layers: dict[str, QuantizedLayer] = field(repr=False)
    main: dict[str, QParams] = field(repr=False)
    product: dict[str, QParams] = field(repr=False)
    constants: dict[str, QTensor] = field(repr=False)
    absorbed: frozenset[str] = field(repr=False)

    def read_as(self, node: ir.Node, value: ir.Value) -> QParams | None:
        """The quantizer through which `node` reads `value`; None where it reads float."""
        name = str(value.name)
        if node.name in self.narrow and name in self.product:
            return self.product[name]
        if name in self.constants:
            return self.constants[name].qparams
        return self.main.get(name)

    @property
    def narrow(self) -> frozenset[str]:
        """Nodes that read the narrower copy of a tensor where there is one."""
        return frozenset(layer.node for layer in self.plan.layers if layer.activation_bits < 8)

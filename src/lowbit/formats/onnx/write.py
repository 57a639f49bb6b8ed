"""The ONNX exporter: one file of standard operators that ONNX Runtime and OpenVINO both run on integer kernels.

value → QuantizeLinear → [Min of codes below 8 bits] → DequantizeLinear → its readers; a narrower copy is quantized
again from there. Weights: `_onnx_weights`. Bias: int32 → DequantizeLinear. The runtimes fuse this form into integer
kernels; a Relu or Clip on floats before QuantizeLinear would leave those of ONNX Runtime in float.
"""

from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.files import aside
from lowbit.formats.onnx.builder import GraphWriter
from lowbit.formats.onnx.weights import stored_weight, weight_name, write_dequantized, write_grouped, write_weight
from lowbit.formats.part import part_of
from lowbit.graph.values import constant
from lowbit.quant.finish import clamp_limits
from lowbit.quant.formats import Format, QParams
from lowbit.quant.model import QuantizedLayer, QuantizedModel
from lowbit.quant.plan import kinds

_OPSET_OF_16_BITS = 21  # the first with uint16 in QuantizeLinear, and with blocks in DequantizeLinear
_IR_OF_16_BITS = 10
_OLDEST_OPSET = 14  # the first with int8 in Add; operators of 13 read the same there
_OLDEST_IR = 8

Cut = Literal["codes", "floats"]
"""Where activations are cut to fewer than 8 bits, and by a Relu or Clip that their quantizer's saturation does not do:
their codes, or the floats before, which only OpenVINO fuses (MobileNetV2 at w4a4: 1.17× its w8a8, 1.21× by codes)."""

Ends = tuple[int, int]
"""Lowest and highest code."""


def export_onnx(
    model: QuantizedModel,
    path: Path,
    *,
    packed: bool = True,
    cut: Cut = "codes",
    metadata: dict[str, str] | None = None,
) -> None:
    """Write `model` to `path`. Equal models give equal bytes.

    packed: weights below 8 bits take exactly their bits; otherwise one int8 initializer a layer, found by
    `weight_names`. cut: "floats" for OpenVINO alone. metadata: the file's `metadata_props`.
    """
    proto = _whole(model, packed=packed, cut=cut)
    for key, value in sorted((metadata or {}).items()):
        proto.metadata_props.add(key=key, value=value)
    with aside(path) as temporary:
        temporary.write_bytes(proto.SerializeToString(deterministic=True))


def weight_names(model: QuantizedModel) -> dict[str, str]:
    """Layer → the initializer with its int8 weights, code − zero_point, in a file that is not packed.

    It is `<node>:w`; layers with equal weights share the initializer of the first of them. With granularity `group` it
    is code − lowest − 2ⁿ⁻¹, and the zero points stand in DequantizeLinear.
    """
    names: dict[tuple[tuple[int, ...], bytes], str] = {}
    found = {}
    for node in model.graph.graph:
        layer = model.layers.get(str(node.name))
        if layer is not None:
            stored = stored_weight(layer.weight)
            found[layer.node] = names.setdefault((stored.shape, stored.tobytes()), weight_name(layer.node))
    return found


def layer_file(model: QuantizedModel, node: str, *, cut: Cut = "codes") -> onnx.ModelProto:
    """One part of the model alone (`formats.part`): the codes that it reads, `x`, `x1` … → `y`, its result's codes.

    Codes are uint8 (uint16 at 16 bits, int8 where the format is signed), of the quantizer `read_as` and of the result's
    main one. A side that the model leaves in float is float here.
    """
    alone = part_of(model, node).model
    graph = alone.graph.graph
    names = ["x", *(f"x{number}" for number in range(1, len(graph.inputs)))]
    export = _Export(alone, GraphWriter((*names, "y")), packed=True, cut=cut)
    (result,) = graph.outputs
    gives = alone.main.get(str(result.name))
    inputs = []
    for name, value in zip(names, graph.inputs, strict=True):
        reads = alone.main.get(str(value.name))
        if reads is None:
            export.floats[str(value.name)] = name
        else:
            codes = name
            if gives is None:  # OpenVINO keeps to integers only where it finds a quantizer
                codes = export.quantize(export.dequantize(name, reads), reads, clip=False)
            export.codes[str(value.name)] = codes
        inputs.append(_declared(value, name, reads))
    for other in graph:
        export.node(other)
    made = export.source(result) if gives is None else export.codes_of(result)
    return export.finish(inputs, [(made, _declared(result, "y", gives))])


def _whole(model: QuantizedModel, *, packed: bool, cut: Cut) -> onnx.ModelProto:
    graph = model.graph.graph
    ends = [str(value.name) for value in (*graph.inputs, *graph.outputs)]
    export = _Export(model, GraphWriter(ends), packed=packed, cut=cut)
    for node in graph:
        export.node(node)
    outputs = [(export.read(None, value), _declared(value, str(value.name), None)) for value in graph.outputs]
    return export.finish([_declared(value, str(value.name), None) for value in graph.inputs], outputs)


class _Export:
    """Writes nodes one after the other, and remembers under which name each value of the model is written as float."""

    def __init__(self, model: QuantizedModel, writer: GraphWriter, *, packed: bool, cut: Cut) -> None:
        self.model = model
        self.writer = writer
        self.packed = packed
        self.cut = cut
        self.narrow = model.narrow
        self.ends, self.skipped = _clamped(model) if cut == "codes" else ({}, model.absorbed)
        self.floats = {str(value.name): str(value.name) for value in model.graph.graph.inputs}
        self.codes: dict[str, str] = {}  # values that come as codes of their main quantizer, not as floats

    def node(self, node: ir.Node) -> None:
        """One node of the model, and the quantizers of what it reads."""
        name = str(node.name)
        layer = self.model.layers.get(name)
        if self._pads_channels(node):
            self.codes[str(node.outputs[0].name)] = self._padded(node)
            return
        if name in self.skipped:
            made = [self.read(node, node.inputs[0])]
        elif layer is None:
            made = self.copy(node, self.operands(node))
        elif node.op_type == "Gather":
            made = [self.embedding(node, layer)]
        else:
            made = [self.layer(node, layer, self.read(node, node.inputs[0]))]
        for value, written in zip(node.outputs, made, strict=True):
            self.floats[str(value.name)] = written

    def operands(self, node: ir.Node) -> list[str]:
        """What the node reads. The operands of a Concat of codes have the result's scale and zero point already."""
        seen = [self.read(node, value) for value in node.inputs]
        if not self._joined(node.outputs[0]):
            return seen
        own = self.model.main[str(node.outputs[0].name)]
        return [
            given if value is None or _is_equal(self.model.read_as(node, value), own) else self.quantized(given, own)
            for value, given in zip(node.inputs, seen, strict=True)
        ]

    def read(self, node: ir.Node | None, value: ir.Value | None) -> str:
        """The float that `node` (None: the graph's caller) reads for `value`, after the quantizers in between."""
        if value is None:
            return ""
        name = str(value.name)
        if name in self.codes or (name in self.model.main and not self._joined(value)):
            seen = self.dequantize(self.codes_of(value), self.model.main[name])
        else:
            seen = self.source(value)
        if node is not None and node.name in self.narrow and name in self.model.product:
            seen = self.quantized(seen, self.model.product[name])
        return seen

    def codes_of(self, value: ir.Value) -> str:
        """The codes of `value` in its main quantizer."""
        name = str(value.name)
        if name in self.codes:
            return self.codes[name]
        ends, clip = self.ends.get(name), not self.moved(value)
        return self.quantize(self.source(value), self.model.main[name], ends, clip=clip)

    def source(self, value: ir.Value | None) -> str:
        """`value` before any quantizer: what was computed, or a constant."""
        if value is None:
            return ""
        name = str(value.name)
        if name in self.floats:
            return self.floats[name]
        if name in self.model.constants:
            constant = self.model.constants[name]
            codes = self.writer.constant(constant.codes.astype(_storage(constant.qparams.format)))
            return self.dequantize(codes, constant.qparams)
        if value.const_value is None:
            raise UnsupportedError(f"value {name!r} is not computed before it is read", "export the model again")
        return self.writer.constant(value.const_value.numpy())

    def quantized(self, value: str, qparams: QParams, ends: Ends | None = None, *, clip: bool = True) -> str:
        return self.dequantize(self.quantize(value, qparams, ends, clip=clip), qparams)

    def quantize(self, value: str, qparams: QParams, ends: Ends | None = None, *, clip: bool = True) -> str:
        """The codes of a value.

        Saturation cuts codes at the ends of the integer type. Where the format's limits, or `ends`, are closer, the
        codes are cut there too.
        """
        form = qparams.format
        stored = np.iinfo(_storage(form))
        if ends is None:
            saturates = not clip or form.bits in (8, 16)
            ends = (stored.min, stored.max) if saturates else (form.lowest, form.highest)
        low, high = ends[0] > stored.min, ends[1] < stored.max
        if (low or high) and self.cut == "floats":
            floats = qparams.dequantize(np.array(ends))
            value = self.writer.emit("Clip", [value, *(self.writer.constant(end) for end in floats)])
            low = high = False
        codes = self.writer.emit("QuantizeLinear", [value, *self._operands(value, qparams)])
        if low:  # a Clip would cost OpenVINO more
            codes = self.writer.emit("Max", [codes, self.writer.constant(np.array(ends[0], stored.dtype))])
        if high:
            codes = self.writer.emit("Min", [codes, self.writer.constant(np.array(ends[1], stored.dtype))])
        return codes

    def dequantize(self, codes: str, qparams: QParams) -> str:
        return self.writer.emit("DequantizeLinear", [codes, *self._operands(codes, qparams)])

    def layer(self, node: ir.Node, layer: QuantizedLayer, x: str) -> str:
        """A convolution or Gemm of the float `x`, with its weights and bias as integers; its float result."""
        assert layer.bias is not None
        assert layer.bias_scale is not None
        if layer.weight.qparams.format.granularity == "group":
            weight = write_grouped(self.writer, layer.node, layer.weight, packed=self.packed)
        else:
            integers = write_weight(self.writer, layer.node, layer.weight, packed=self.packed)
            weight = write_dequantized(self.writer, integers, layer.weight)
        numbers = [self.writer.constant(layer.bias), self.writer.constant(layer.bias_scale)]
        bias = self.writer.emit("DequantizeLinear", numbers, axis=0)
        return self.copy(node, [x, weight, bias])[0]

    def embedding(self, node: ir.Node, layer: QuantizedLayer) -> str:
        """An embedding: rows are looked up as integers, so that no runtime holds the whole table as float."""
        if layer.weight.qparams.scale.ndim:
            raise BadInput(f"embedding {layer.node!r} has a scale a row: expected granularity 'tensor'")
        integers = write_weight(self.writer, layer.node, layer.weight, packed=self.packed)
        rows = self.copy(node, [integers, self.read(node, node.inputs[1])])[0]
        return write_dequantized(self.writer, rows, layer.weight)

    def copy(self, node: ir.Node, inputs: list[str]) -> list[str]:
        """The node itself with other inputs; the names of its outputs."""
        proto = ir.serde.serialize_node(node)
        outputs = [self.writer.new_name() if name else "" for name in proto.output]
        fresh = helper.make_node(node.op_type, inputs, outputs, name=str(node.name), domain=node.domain)
        fresh.attribute.extend(proto.attribute)
        self.writer.append(fresh)
        return outputs

    def finish(
        self, inputs: list[onnx.ValueInfoProto], outputs: list[tuple[str, onnx.ValueInfoProto]]
    ) -> onnx.ModelProto:
        """The model in the graph's operator set, or in the first that knows 16 bits and blocks where it has them."""
        opsets = dict(self.model.graph.opset_imports)
        opsets[""] = max(opsets[""], _OLDEST_OPSET)
        ir_version = max(self.model.graph.ir_version or 0, _OLDEST_IR)
        if self._is_new() and opsets[""] < _OPSET_OF_16_BITS:
            _check_same_meaning(self.model.graph)
            opsets[""], ir_version = _OPSET_OF_16_BITS, max(ir_version, _IR_OF_16_BITS)
        return self.writer.finish(inputs, outputs, opsets, ir_version)

    def _joined(self, value: ir.Value) -> bool:
        """Whether `value` is a Concat of codes on its own grid, with no quantizer behind it but those of its readers.

        OpenVINO 2026.4 crashes on two quantizers behind a Concat: its own, and one for layers with fewer bits or behind
        a Relu. So the first one stands before it, where its operands have another. All
        other Concats are quantized behind, which ONNX Runtime does in one go.
        """
        node = value.producer()
        if node is None or node.op_type != "Concat" or value.name not in self.model.main:
            return False
        return value.name in self.model.product or any(kinds.is_clamp(reader) for reader, _ in value.uses())

    def _pads_channels(self, node: ir.Node) -> bool:
        """Whether zeros are put beside the channels of codes whose zero point is not 0.

        As floats behind DequantizeLinear, OpenVINO 2026.4 takes them for a zero point a channel, which the convolution
        behind does not subtract. In an IR it does not, since there a FakeQuantize stands for the pair.
        """
        if node.op_type != "Pad" or self.cut != "codes" or node.inputs[0] is None or len(node.inputs) > 3:
            return False
        own, pads = self.model.main.get(str(node.inputs[0].name)), constant(node.inputs[1])
        if own is None or pads is None or not self.moved(node.outputs[0]):
            return False
        channels = pads.reshape(2, -1)[:, 1:2]
        mode = node.attributes.get_string("mode", "constant")
        return mode == "constant" and bool(own.zero_point) and bool(channels.any())

    def _padded(self, node: ir.Node) -> str:
        value, pads = node.inputs[0], constant(node.inputs[1])
        if value is None or pads is None:
            raise UnsupportedError(f"Pad {node.name!r} has no constant amounts", "export the model again")
        own = self.model.main[str(value.name)]
        zero = self.writer.constant(own.zero_point.astype(_storage(own.format)), owner=node.name)
        inputs = [self.codes_of(value), self.writer.constant(pads), zero]
        return self.copy(node, inputs)[0]

    def _is_new(self) -> bool:
        quantizers = (*self.model.main.values(), *self.model.product.values())
        forms = [layer.weight.qparams.format for layer in self.model.layers.values()]
        return any(q.format.bits == 16 for q in quantizers) or any(form.granularity == "group" for form in forms)

    def moved(self, value: ir.Value) -> bool:
        """Whether `value` only holds entries of tensors that have its quantizer already: its codes need no clip."""
        node, own = value.producer(), self.model.main.get(str(value.name))
        if node is None or own is None or not kinds.is_passing(node):
            return False
        return all(_is_equal(self.model.read_as(node, given), own) for given in kinds.inputs_of(node))

    def _operands(self, value: str, qparams: QParams) -> list[str]:
        """Scale and zero point. OpenVINO 2026.4 cannot compile some graphs whose nodes share one that is not 0."""
        zero_point = qparams.zero_point.astype(_storage(qparams.format))
        owner = (value, qparams.scale.tobytes()) if zero_point.any() else None
        return [self.writer.constant(qparams.scale), self.writer.constant(zero_point, owner=owner)]


def _clamped(model: QuantizedModel) -> tuple[dict[str, Ends], frozenset[str]]:
    """Where codes must be cut for a Relu or Clip, and to which limits; and all Relus and Clips that are left out.

    Codes must be cut where the quantizer's saturation does not do it: where the quantizer shares its range with others
    (say a Concat's other operands), and that range is wider than the Relu's or Clip's.
    """
    found = {}
    skipped = set(model.absorbed)
    for node in model.graph.graph:
        cut = kinds.before_clamp(node) if kinds.is_clamp(node) else []
        layer = cut[0].producer() if cut else None
        result = str(node.outputs[0].name)
        qparams = model.main.get(result)
        if node.name in model.absorbed or layer is None or layer.name not in model.layers or qparams is None:
            continue
        if qparams.format.bits > 8:  # there are no kernels to keep, and no Max of 16 bits
            continue
        name = str(cut[0].name)
        if name in model.main and not _is_equal(model.main[name], qparams):
            continue
        if name in model.main or len(cut) == 1:
            low, high = (int(code) for code in qparams.quantize(np.array(clamp_limits(node))))
            found[name if name in model.main else result] = low, high
            skipped.add(str(node.name))
    return found, frozenset(skipped)


def _check_same_meaning(model: ir.Model) -> None:
    """Between operator sets 13 and 21 only Split and the reductions changed how they are written, at 18."""
    opset = model.opset_imports[""]
    for node in model.graph:
        if opset < 18 and (node.op_type == "Split" or node.op_type.startswith("Reduce")):
            raise UnsupportedError(
                f"16-bit activations and weights in groups need operator set {_OPSET_OF_16_BITS}, and {node.op_type} "
                f"{node.name!r} of operator set {opset} reads differently there",
                "export the float model with operator set 18 or later",
            )


def _is_equal(a: QParams | None, b: QParams) -> bool:
    return a is not None and a.equals(b)


def _declared(value: ir.Value, name: str, codes: QParams | None) -> onnx.ValueInfoProto:
    """`value` as an input or output: its shape, float or the type of its codes."""
    shape = None if value.shape is None else [size if isinstance(size, int) else size.value for size in value.shape]
    kind = TensorProto.FLOAT if codes is None else helper.np_dtype_to_tensor_dtype(_storage(codes.format))
    return helper.make_tensor_value_info(name, kind, shape)


def _storage(form: Format) -> np.dtype[np.signedinteger | np.unsignedinteger]:
    """The integer type that holds the codes."""
    return np.dtype(f"{'int' if form.signed else 'uint'}{16 if form.bits > 8 else 8}")

"""Counts what a float graph multiplies: the multiply–accumulates of each layer, for comparison with every runtime."""

from collections.abc import Callable, Mapping, Sequence
from math import prod

import numpy as np
import onnx

from lowbit.core.model import LayerMacs
from lowbit.graph.values import dims, image_input

Shape = tuple[int, ...]
Count = Callable[[onnx.NodeProto, Sequence[Shape], Shape], int]  # node, shapes of its inputs, shape of its first output


def layer_macs(model: onnx.ModelProto) -> tuple[LayerMacs, ...]:
    """The layers that multiply and accumulate, in the graph's order, with their counts for one sample.

    Only layers that depend on the input count: what stands on constants alone is computed once, before any image.
    Shapes are those of a run of one image in ONNX Runtime without optimizations. What the branches and bodies of If,
    Loop and Scan multiply is not counted: how often they run is not known.
    """
    nodes = [node for node in _depending_on_the_input(model) if node.op_type in _COUNTS and not node.domain]
    shapes = _shapes(model, {name for node in nodes for name in (*node.input, node.output[0])})
    counted = [
        LayerMacs(
            name=node.name or node.output[0],
            op_type=node.op_type,
            macs=_COUNTS[node.op_type](node, [shapes.get(name, ()) for name in node.input], shapes[node.output[0]]),
        )
        for node in nodes
    ]
    return tuple(layer for layer in counted if layer.macs)


def _depending_on_the_input(model: onnx.ModelProto) -> list[onnx.NodeProto]:
    reached, found = {image_input(model).name}, []
    for node in model.graph.node:
        if reached.intersection(node.input):
            reached.update(node.output)
            found.append(node)
    return found


def _shapes(model: onnx.ModelProto, wanted: set[str]) -> Mapping[str, Shape]:
    """Value → its shape for one image, for what is `wanted` and known."""
    import onnxruntime

    shapes: dict[str, Shape] = {tensor.name: tuple(tensor.dims) for tensor in model.graph.initializer}
    image = image_input(model)
    x = np.zeros((1, *[side if isinstance(side, int) else 1 for side in (dims(image) or [])[1:]]), np.float32)
    shapes[image.name] = x.shape
    unknown = sorted(wanted - shapes.keys() - {""})
    if not unknown:
        return shapes
    told = onnx.ModelProto()
    told.CopyFrom(model)
    del told.graph.output[:]
    told.graph.output.extend(onnx.ValueInfoProto(name=name) for name in unknown)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(told.SerializeToString(), options, providers=["CPUExecutionProvider"])
    values = session.run(unknown, {image.name: x})
    return shapes | {name: np.shape(value) for name, value in zip(unknown, values, strict=True)}


def _convolution(_node: onnx.NodeProto, shapes: Sequence[Shape], out: Shape) -> int:
    """Weights [O, I / groups, …]."""
    return prod(out) * prod(shapes[1][1:])


def _transposed_convolution(_node: onnx.NodeProto, shapes: Sequence[Shape], _out: Shape) -> int:
    """Weights [I, O / groups, …]."""
    return prod(shapes[0]) * prod(shapes[1][1:])


def _gemm(node: onnx.NodeProto, shapes: Sequence[Shape], out: Shape) -> int:
    transposed = any(attribute.name == "transA" and attribute.i == 1 for attribute in node.attribute)
    return prod(out) * shapes[0][0 if transposed else 1]


def _matmul(_node: onnx.NodeProto, shapes: Sequence[Shape], out: Shape) -> int:
    return prod(out) * shapes[0][-1]


def _einsum(node: onnx.NodeProto, shapes: Sequence[Shape], _out: Shape) -> int:
    """The product of all sizes for every operand after the first; none where nothing is summed up.

    The ellipsis stands for the axes that the letters leave.
    """
    equation = next(attribute.s.decode() for attribute in node.attribute if attribute.name == "equation")
    terms, _, result = equation.replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    for term, shape in zip(terms.split(","), shapes, strict=True):
        before, dots, after = term.partition("...")
        rest = len(shape) - len(before) - len(after)
        letters = [*before, *(f"...{rest - place}" for place in range(rest if dots else 0)), *after]
        for letter, size in zip(letters, shape, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    summed = {letter for letter in sizes if not letter.startswith("...") and letter not in result}
    return prod(sizes.values()) * (len(shapes) - 1) if summed else 0


def _recurrent(_node: onnx.NodeProto, shapes: Sequence[Shape], _out: Shape) -> int:
    """x [time, N, I] or [N, time, I], weights [directions, gates · H, I], [directions, gates · H, H]."""
    return prod(shapes[0][:2]) * (prod(shapes[1]) + prod(shapes[2]))


def _attention(node: onnx.NodeProto, shapes: Sequence[Shape], _out: Shape) -> int:
    """Queries [N, heads, L, D] or [N, L, heads · D]: their products with the keys, and with the values."""
    query, key, value = shapes[:3]
    if len(query) == 4:
        return prod(query[:3]) * key[2] * (query[3] + value[3])
    heads = {attribute.name: int(attribute.i) for attribute in node.attribute}
    wide = value[2] // heads["kv_num_heads"] * heads["q_num_heads"]
    return query[0] * query[1] * key[1] * (query[2] + wide)


_COUNTS: dict[str, Count] = {
    "Conv": _convolution,
    "DeformConv": _convolution,
    "ConvTranspose": _transposed_convolution,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Einsum": _einsum,
    "RNN": _recurrent,
    "GRU": _recurrent,
    "LSTM": _recurrent,
    "Attention": _attention,
}

"""A float .tflite file becomes an ONNX graph: the same operators, one by one, in the layout of the file.

Convolutions and poolings stand between two Transposes, since LiteRT's channels are last and ONNX's first; what of them
cancels, `graph.clean` leaves out. Weights in half precision become float32. The batch stays that of the file.
"""

from pathlib import Path

import onnx
from onnx import TensorProto, helper

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.formats.litert.reading import pointwise, products, shapes, windows
from lowbit.formats.litert.reading.builder import Builder, Unreadable
from lowbit.formats.litert.reading.content import LiteRTContent, LiteRTGraph, LiteRTOperator, read_content

OPSET = 20
_RULES = {**pointwise.RULES, **windows.RULES, **products.RULES, **shapes.RULES}
_COMPOSITE = "STABLEHLO_COMPOSITE"  # an operator that the file itself explains, by a graph of others
_WIDENED = "DEQUANTIZE"  # of weights in half precision
_READ = {*_RULES, *shapes.SEVERAL, _COMPOSITE, _WIDENED}


def read_float(path: Path, where: str) -> onnx.ModelProto:
    """The ONNX graph of the file at `path`, with input "input" and output "scores".

    BadInput, naming `where`, where the file is none that can be read, is quantized, takes or gives more than one
    tensor, or has operators that are not read, which the message lists.
    """
    try:
        content = read_content(path)
    except UnsupportedError as error:
        raise BadInput(f"{where}: {error}; expected a float .tflite file, whole: convert or copy it again") from error
    graph = content.graphs[0]
    _check(content, where)
    to = Builder(graph)
    (image,), (scores,) = graph.inputs, graph.outputs
    to.names[image] = "input"
    _write(to, content, graph.operators, where)
    to.nodes.append(helper.make_node("Identity", [to.value(scores)], ["scores"]))
    made = helper.make_graph(
        to.nodes,
        "litert",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, graph.tensors[image].shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, graph.tensors[scores].shape)],
        to.initializers,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=10)


def _check(content: LiteRTContent, where: str) -> None:
    graph = content.graphs[0]
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise BadInput(
            f"{where}: it has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs, one image and one row of "
            "scores are expected; convert the classifier alone"
        )
    quantized = [tensor for each in content.graphs for tensor in each.tensors if tensor.is_quantized]
    if quantized:
        kinds = ", ".join(sorted({tensor.kind.lower() for tensor in quantized}))
        raise BadInput(
            f"{where}: already quantized ({len(quantized)} of its tensors are {kinds}); lowbit starts from float: give "
            "the float model that it was made from, and this file beside it, as in `lowbit compare FLOAT.tflite "
            f"--given {where}`; `lowbit inspect` says what this file is"
        )
    custom = sorted({each.custom or "unnamed" for each in _operators(content) if each.kind == "CUSTOM"})
    if custom:
        raise BadInput(
            f"{where}: has custom operators: {', '.join(custom)}; expected LiteRT's own only: convert the model "
            "without select TensorFlow operators"
        )
    unknown = sorted({each.kind for each in _operators(content) if each.kind not in _READ})
    if unknown:
        raise BadInput(
            f"{where}: has operators that lowbit does not read: {', '.join(unknown)}; export the model to ONNX "
            f"instead, or compare this file as it is with --given {where}, beside a float model"
        )


def _operators(content: LiteRTContent) -> list[LiteRTOperator]:
    """The operators of the first graph and of those that explain composite ones of it."""
    found, waiting, seen = [], [0], {0}
    while waiting:
        for operator in content.graphs[waiting.pop()].operators:
            found.append(operator)
            inner = _inner(operator)
            if inner is not None and inner not in seen and inner < len(content.graphs):
                seen.add(inner)
                waiting.append(inner)
    return found


def _inner(operator: LiteRTOperator) -> int | None:
    """Which graph explains a composite operator."""
    return int(operator.options.decompositionSubgraphIndex) if operator.kind == _COMPOSITE else None


def _write(to: Builder, content: LiteRTContent, operators: tuple[LiteRTOperator, ...], where: str) -> None:
    for number, operator in enumerate(operators):
        if operator.kind == _WIDENED and (numbers := to.constant(operator.inputs[0])) is not None:
            to.is_const(operator.outputs[0], numbers)
            continue
        try:
            results = _results(to, content, operator, where)
        except Unreadable as error:
            raise BadInput(
                f"{where}: {operator.kind}, operator {number} of the file, cannot be read: {error}; export the model "
                "to ONNX instead"
            ) from error
        to.names.update(zip(operator.outputs, results, strict=True))


def _results(to: Builder, content: LiteRTContent, operator: LiteRTOperator, where: str) -> list[str]:
    """What the results of an operator are called, which is written by its rule."""
    inner = _inner(operator)
    if inner is not None:
        return _explained(to, content, content.graphs[inner], operator, where)
    if operator.kind == _WIDENED:
        return [to.value(operator.inputs[0])]
    if operator.kind in shapes.SEVERAL:
        return shapes.SEVERAL[operator.kind](to, operator)
    return [_RULES[operator.kind](to, operator)]


def _explained(
    to: Builder, content: LiteRTContent, graph: LiteRTGraph, operator: LiteRTOperator, where: str
) -> list[str]:
    """The operators of `graph` in the place of a composite one."""
    inside = Builder(graph, around=to)
    for here, outer in zip(graph.inputs, operator.inputs, strict=True):
        numbers = to.constant(outer)
        if numbers is not None:
            inside.is_const(here, numbers)
        else:
            inside.names[here] = to.value(outer)
    _write(inside, content, graph.operators, where)
    return [inside.value(tensor) for tensor in graph.outputs]

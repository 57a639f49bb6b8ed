"""A free batch size: most exporters write 1, quantizers and throughput runs need any.

Requires: one image input and one output; inferred shapes, where a constant shape is to be freed.
Ensures: the first axis of input and output is `batch`. Whether the graph then does the same for any number of images,
`lowbit.graph.batch.check_batch` finds out by running it.

| holds the batch size that was exported                    | becomes                                            |
|-----------------------------------------------------------|----------------------------------------------------|
| a Reshape to a constant shape [N, a, b]                    | to [-1, a, b]: "what is left"                      |
| a constant [N, a, b] that a Concat puts beside activations | its first entry, expanded to as many as images     |
| an Expand to a constant shape [N, a, b] (class tokens)     | the same, to as many as images                     |
"""

import numpy as np
import numpy.typing as npt
import onnx
from onnx import helper, numpy_helper

from lowbit.graph.nested import with_nested
from lowbit.graph.values import dims, image_input

BATCH = "batch"


def free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose batch size is free."""
    fixed = (dims(image_input(model)) or [None])[0]
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    if isinstance(fixed, int):
        _free_reshapes(freed)
        _free_tokens(freed, fixed)
        forget_shapes(freed.graph)
    for value in (image_input(freed), freed.graph.output[0]):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return freed


def forget_shapes(graph: onnx.GraphProto) -> None:
    """Drop inferred shapes, which carry the old batch size, also those of what goes in and out of nested graphs."""
    for each in with_nested(graph):
        del each.value_info[:]
        if each is not graph:
            for value in (*each.input, *each.output):
                for dim in value.type.tensor_type.shape.dim:
                    dim.Clear()


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    found = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type == "Constant":
            found |= dict.fromkeys(node.output, node.attribute[0].t)  # empty for numbers that are no tensor
    return found


def _free_reshapes(model: onnx.ModelProto) -> None:
    """The other sides by shape inference. Whether the first axis was the batch's, is not known here."""
    shapes = {value.name: dims(value) for value in (*model.graph.value_info, *model.graph.output)}
    constants = {tensor.name for tensor in model.graph.initializer}
    constants |= {node.output[0] for node in model.graph.node if node.op_type == "Constant"}
    for number, node in enumerate(model.graph.node):
        if node.op_type != "Reshape" or node.input[1] not in constants:
            continue
        sides = (shapes.get(node.output[0]) or [None])[1:]
        if all(isinstance(side, int) for side in sides):
            name = f"free_shape_{number}"
            model.graph.initializer.append(numpy_helper.from_array(np.array([-1, *sides], np.int64), name))
            node.input[1] = name


def _free_tokens(model: onnx.ModelProto, fixed: int) -> None:
    """Expand what is one for all images to as many as there are."""
    constants = _constants(model)
    nodes: list[onnx.NodeProto] = []
    for number, node in enumerate(model.graph.node):
        name = f"free_token_{number}"
        if node.op_type == "Concat" and not any(each.name == "axis" and each.i == 0 for each in node.attribute):
            for index, value in enumerate(node.input):
                token = _token(constants.get(value), fixed)
                if token is not None and not all(each in constants for each in node.input):
                    model.graph.initializer.append(numpy_helper.from_array(token, f"{name}_{index}_one"))
                    nodes += _expanded(model, f"{name}_{index}_one", token.shape[1:], f"{name}_{index}")
                    node.input[index] = f"{name}_{index}"
        if node.op_type == "Expand" and node.input[1] in constants:
            sides = [int(side) for side in numpy_helper.to_array(constants[node.input[1]]).reshape(-1)]
            if len(sides) > 1 and sides[0] == fixed:
                nodes += _expanded(model, node.input[0], sides[1:], node.output[0])
                continue
        nodes.append(node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _token(tensor: onnx.TensorProto | None, fixed: int) -> npt.NDArray[np.generic] | None:
    """The first entry of a constant [fixed, …] that is the same for every image; None for any other."""
    if tensor is None or len(tensor.dims) < 2 or tensor.dims[0] != fixed:
        return None
    array: npt.NDArray[np.generic] = numpy_helper.to_array(tensor)
    return np.ascontiguousarray(array[:1]) if (array == array[:1]).all() else None


def _expanded(
    model: onnx.ModelProto, source: str, sides: list[int] | tuple[int, ...], output: str
) -> list[onnx.NodeProto]:
    """Operators that expand `source` to [number of images, *sides]."""
    first, rest = f"{output}_first_axis", f"{output}_other_axes"
    model.graph.initializer.append(numpy_helper.from_array(np.array([0]), first))
    model.graph.initializer.append(numpy_helper.from_array(np.array(sides, np.int64), rest))
    return [
        helper.make_node("Shape", [image_input(model).name], [f"{output}_image"]),
        helper.make_node("Gather", [f"{output}_image", first], [f"{output}_batch"]),
        helper.make_node("Concat", [f"{output}_batch", rest], [f"{output}_shape"], axis=0),
        helper.make_node("Expand", [source, f"{output}_shape"], [output]),
    ]

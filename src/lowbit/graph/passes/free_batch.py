"""A free batch size: most exporters write 1, quantizers and throughput runs need any.

Requires: one image input and one output; inferred shapes, where a Reshape goes to a constant shape.
Ensures: the first axis of input and output is `batch`. Whether the graph then does the same for any number of images,
`lowbit.graph.batch.check_batch` finds out by running it.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from lowbit.graph.values import dims, image_input

BATCH = "batch"


def free_batch(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy whose batch size is free.

    A Reshape to a constant shape holds the batch size that was exported: its first axis becomes -1, "what is left", and
    the others what they were. Whether the first axis was the batch's, `check_batch` finds out.
    """
    fixed = (dims(image_input(model)) or [None])[0]
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    if isinstance(fixed, int):
        _free_reshapes(freed)
        forget_shapes(freed.graph)
    for value in (image_input(freed), freed.graph.output[0]):
        if value.type.tensor_type.shape.dim:
            value.type.tensor_type.shape.dim[0].dim_param = BATCH
    return freed


def _free_reshapes(model: onnx.ModelProto) -> None:
    """[N, a, b] becomes [-1, a, b] wherever a Reshape's target is a constant; a and b by shape inference."""
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


def forget_shapes(graph: onnx.GraphProto) -> None:
    """Inferred shapes carry the old batch size, also those of nested graphs and of what goes in and out of them."""
    del graph.value_info[:]
    for node in graph.node:
        for attribute in node.attribute:
            for nested in ([attribute.g] if attribute.HasField("g") else []) + list(attribute.graphs):
                for value in (*nested.input, *nested.output):
                    for dim in value.type.tensor_type.shape.dim:
                        dim.Clear()
                forget_shapes(nested)

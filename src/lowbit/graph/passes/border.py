"""What goes in and out: images become [N, C, H, W], scores [N, K], by an operator at the beginning or the end.

Requires: a checked model whose input and output have shapes.
Ensures: the same function; input and output keep their names.
"""

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer


def channels_first(model: ir.Model) -> None:
    """An input [N, H, W, C] becomes [N, C, H, W], and a Transpose behind it."""
    image = _image(model)
    n, height, width, channels = _sides(image)
    _behind(model.graph, image, ir.node("Transpose", [image], {"perm": [0, 2, 3, 1]}))
    image.shape = ir.Shape([n, channels, height, width])


def add_channel(model: ir.Model) -> None:
    """An input [N, H, W] becomes [N, 1, H, W], and a Reshape behind it."""
    image = _image(model)
    n, height, width = _sides(image)
    shape = initializer(model.graph, f"{image.name}_shape", np.array([-1, height, width], np.int64))
    _behind(model.graph, image, ir.node("Reshape", [image, shape]))
    image.shape = ir.Shape([n, 1, height, width])


def flat_scores(model: ir.Model) -> None:
    """An output [N, K, 1, 1] or [N, 1, K] becomes [N, K], by a Flatten before it."""
    (before,) = model.graph.outputs
    flatten = ir.node("Flatten", [before], {"axis": 1})
    after = flatten.outputs[0]
    after.name, before.name = before.name, f"{before.name}_unflattened"
    after.type = before.type
    model.graph.append(flatten)
    model.graph.outputs[0] = after


def _image(model: ir.Model) -> ir.Value:
    (image,) = (value for value in model.graph.inputs if not value.is_initializer())
    return image


def _sides(value: ir.Value) -> list[int | ir.SymbolicDim]:
    assert value.shape is not None  # `check_graph` refuses an input without one
    return list(value.shape)


def _behind(graph: ir.Graph, image: ir.Value, node: ir.Node) -> None:
    """Put `node` first; all that read the image reads what it gives, which has the image's old shape."""
    given = node.outputs[0]
    given.name, given.type, given.shape = f"{image.name}_as_given", image.type, image.shape
    image.replace_all_uses_with(given)
    node.replace_input_with(0, image)
    graph.insert_before(graph[0], node)

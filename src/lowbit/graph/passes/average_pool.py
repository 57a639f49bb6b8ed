"""An average that counts its padding becomes a Pad, and an average that counts its own entries only.

With count_include_pad a mean is taken over the entries inside the padded input, so that a window which hangs over the
end (ceil_mode) divides by fewer than the kernel has. OpenVINO's integer pooling averages in zeros that are not x's, and
ONNX Runtime's divides by the whole kernel; without count_include_pad both are right.

Requires: shapes are inferred, nodes are named. Ensures: no AveragePool has count_include_pad. Raises UnsupportedError
where the size of what such a one reads is not known.
"""

import numpy as np
import onnx_ir as ir

from lowbit.core.errors import UnsupportedError
from lowbit.graph.edit import infer_shapes_again, initializer
from lowbit.graph.values import shape_of
from lowbit.graph.windows import pool_windows


def pad_average_pool(model: ir.Model) -> None:
    """AveragePool with count_include_pad → the same over a padded x, whose zeros are entries like any others."""
    for node in list(model.graph):
        if node.op_type == "AveragePool" and node.attributes.get_int("count_include_pad", 0) == 1:
            outputs = _rewrite(model.graph, node)
            if (shape_of(node.outputs[0]) or [])[2:] != list(outputs):
                infer_shapes_again(model)


def _rewrite(graph: ir.Graph, node: ir.Node) -> tuple[int, ...]:
    """The sizes of what it gives."""
    windows = pool_windows(node)
    if windows is None:
        raise UnsupportedError(
            f"AveragePool {node.name!r} counts its padding, and the size of what it reads is not known",
            "export the model with a fixed image size",
        )
    for name in ("pads", "auto_pad", "count_include_pad", "ceil_mode"):
        node.attributes.pop(name, None)
    if any(windows.over):
        node.attributes["pads"] = ir.AttrInt64s("pads", [0] * len(windows.over) + list(windows.over))
    if any((*windows.before, *windows.after)):
        amounts = np.array([0, 0, *windows.before, 0, 0, *windows.after], np.int64)
        inputs = [node.inputs[0], initializer(graph, f"{node.name}_pads", amounts)]
        pad = ir.node("Pad", inputs, name=f"{node.name}_pad")
        graph.insert_before(node, [pad])
        node.replace_input_with(0, pad.outputs[0])
    return windows.outputs

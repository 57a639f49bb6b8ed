"""A pooling whose output size is rounded up says by padding where its last window ends.

Runtimes differ in what ceil_mode means: where a window would begin behind x, ONNX Runtime and torch drop it, OpenVINO's
MaxPool keeps it, and ONNX's shape inference before operator set 22 counts it. Padding at the end is exact: neither a
maximum nor an average without count_include_pad looks at it.

Requires: shapes are inferred. Ensures: a MaxPool or AveragePool without dilation whose input has a known size has no
ceil_mode, and shapes are right behind it; an AveragePool with count_include_pad is left to `pad_average_pool`.
"""

import onnx_ir as ir

from lowbit.graph.edit import infer_shapes_again
from lowbit.graph.values import shape_of
from lowbit.graph.windows import PoolWindows, pool_windows


def pad_instead_of_ceil_mode(model: ir.Model) -> None:
    """MaxPool and AveragePool with ceil_mode → the same with more padding at the end."""
    for node in list(model.graph):
        counts_padding = node.attributes.get_int("count_include_pad", 0) == 1
        if node.op_type not in ("MaxPool", "AveragePool") or counts_padding:
            continue
        if node.attributes.get_int("ceil_mode", 0) == 1:
            windows = pool_windows(node)
            dilations = node.attributes["dilations"].as_ints() if "dilations" in node.attributes else ()
            if windows is None or any(dilation != 1 for dilation in dilations):
                continue
            _rewrite(node, windows)
            if (shape_of(node.outputs[0]) or [])[2:] != list(windows.outputs):
                infer_shapes_again(model)


def _rewrite(node: ir.Node, windows: PoolWindows) -> None:
    for name in ("ceil_mode", "auto_pad"):
        node.attributes.pop(name, None)
    ends = [after + over for after, over in zip(windows.after, windows.over, strict=True)]
    node.attributes["pads"] = ir.AttrInt64s("pads", [*windows.before, *ends])

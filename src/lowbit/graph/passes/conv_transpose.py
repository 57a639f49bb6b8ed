"""A transposed convolution says its padding by numbers.

OpenVINO places the padding that output_shape implies at the other end (silently, another function), and cannot read
auto_pad's. Requires: shapes are inferred. Ensures: a ConvTranspose whose input has a known size has neither auto_pad
nor output_shape.
"""

import onnx_ir as ir

from lowbit.graph.values import constant, shape_of


def pads_of_conv_transpose(model: ir.Model) -> None:
    """ConvTranspose with auto_pad or output_shape → pads and output_padding, by the formula of ONNX's specification."""
    for node in model.graph:
        stated = node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET" or "output_shape" in node.attributes
        if node.op_type == "ConvTranspose" and stated:
            _rewrite(node)


def _rewrite(node: ir.Node) -> None:
    sizes, weight = (shape_of(node.inputs[0]) or [])[2:], constant(node.inputs[1])
    if weight is None or len(sizes) != weight.ndim - 2:
        return
    rank = len(sizes)
    strides, dilations, extra = (
        list(node.attributes[name].as_ints()) if name in node.attributes else [default] * rank
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    kind = node.attributes.get_string("auto_pad", "NOTSET")
    wanted = list(node.attributes["output_shape"].as_ints())[-rank:] if "output_shape" in node.attributes else None
    before, after = [0] * rank, [0] * rank
    for axis, size in enumerate(sizes):
        if size is None:
            return
        outputs = size * strides[axis] if wanted is None else wanted[axis]
        if wanted is None and kind == "VALID":
            continue
        total = strides[axis] * (size - 1) + extra[axis] + dilations[axis] * (weight.shape[2 + axis] - 1) + 1 - outputs
        if total < 0:  # more than the windows reach: zeros behind
            extra[axis], total = extra[axis] - total, 0
        before[axis] = total // 2 if kind == "SAME_UPPER" else total - total // 2
        after[axis] = total - before[axis]
    node.attributes.pop("auto_pad", None)
    node.attributes.pop("output_shape", None)
    node.attributes["pads"] = ir.AttrInt64s("pads", [*before, *after])
    if any(extra):
        node.attributes["output_padding"] = ir.AttrInt64s("output_padding", extra)

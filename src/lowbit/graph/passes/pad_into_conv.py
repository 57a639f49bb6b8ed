"""Zeros around an image become the padding of the convolution that reads them.

Keras pads before a convolution of stride 2 by an operator of its own, which every runtime would run as a copy.

Requires: constants as initializers, inferred ranks.
Ensures: no Conv without auto_pad reads a Pad that only puts zeros around height and width (or length).
"""

import onnx_ir as ir

from lowbit.graph.values import constant

_SPATIAL = 2  # the first axis behind batch and channels


def pad_into_conv(model: ir.Model) -> None:
    """Rewrite in place; a Pad that others read too stays for them."""
    for node in list(model.graph):
        if node.op_type != "Conv" or node.inputs[0] is None or "auto_pad" in node.attributes:
            continue
        pad = node.inputs[0].producer()
        if pad is None or pad.op_type != "Pad" or pad.inputs[0] is None:
            continue
        weight = node.inputs[1]
        rank = 0 if weight is None or weight.shape is None else len(weight.shape)
        ends = _zeros_around(pad, rank)
        if ends is None:
            continue
        own = list(node.attributes["pads"].as_ints()) if "pads" in node.attributes else [0] * len(ends)
        node.attributes["pads"] = ir.AttrInt64s("pads", [a + b for a, b in zip(own, ends, strict=True)])
        node.replace_input_with(0, pad.inputs[0])
        if not pad.outputs[0].uses() and not pad.outputs[0].is_graph_output():
            model.graph.remove(pad, safe=True)


def _zeros_around(pad: ir.Node, rank: int) -> list[int] | None:
    """How many zeros stand before and behind each spatial axis; None for any other Pad."""
    mode = pad.attributes["mode"].as_string() if "mode" in pad.attributes else "constant"
    pads = constant(pad.inputs[1])
    fill = constant(pad.inputs[2]) if len(pad.inputs) > 2 and pad.inputs[2] is not None else None
    computed = len(pad.inputs) > 2 and pad.inputs[2] is not None and fill is None
    if mode != "constant" or pads is None or computed or (fill is not None and fill.any()):
        return None
    axes = constant(pad.inputs[3]) if len(pad.inputs) > 3 and pad.inputs[3] is not None else range(len(pads) // 2)
    if axes is None:
        return None
    ends = [[0, 0] for _ in range(rank)]
    for place, axis in enumerate(axes):
        if not -rank <= axis < rank:
            return None
        ends[int(axis)] = [int(pads[place]), int(pads[place + len(pads) // 2])]
    if any(end for each in ends[:_SPATIAL] for end in each) or any(end < 0 for each in ends for end in each):
        return None
    return [each[0] for each in ends[_SPATIAL:]] + [each[1] for each in ends[_SPATIAL:]]

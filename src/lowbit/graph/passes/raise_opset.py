"""Bring old operator sets to the oldest that all the rest knows.

Requires: a valid model (`onnx.checker`).
Ensures: operator set `OLDEST_OPSET` or later, the same function. onnx's converter makes the Upsample and Resize of
before operator set 11 a Resize without saying where its samples lie, for which the default has changed since.
"""

import onnx

from lowbit.core.errors import BadInput
from lowbit.core.text import said

OLDEST_OPSET = 13  # the first with quantization per channel

_RESIZE_SAYS_WHERE = 11  # the first whose Resize says where its samples lie


def raise_opset(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """`model`, or a converted copy of it; BadInput, naming `where`, when it cannot be converted."""
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset >= OLDEST_OPSET:
        return model
    try:
        raised = onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except (RuntimeError, ValueError) as error:
        raise BadInput(
            f"{where}: operator set {opset} cannot be converted to {OLDEST_OPSET}, the oldest that lowbit reads "
            f"({said(error)}); export it with opset {OLDEST_OPSET} or later"
        ) from error
    if opset < _RESIZE_SAYS_WHERE:
        for node in raised.graph.node:
            if node.op_type == "Resize":
                node.attribute.append(onnx.helper.make_attribute("coordinate_transformation_mode", "asymmetric"))
                node.attribute.append(onnx.helper.make_attribute("nearest_mode", "floor"))
    return raised

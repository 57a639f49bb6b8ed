"""Bring old operator sets to the oldest that all the rest knows.

Requires: a valid model (`onnx.checker`).
Ensures: operator set `OLDEST_OPSET` or later.
"""

import onnx

from lowbit.core.errors import BadInput
from lowbit.core.text import said

OLDEST_OPSET = 13  # the first with quantization per channel


def raise_opset(model: onnx.ModelProto, where: str) -> onnx.ModelProto:
    """`model`, or a converted copy of it; BadInput, naming `where`, when it cannot be converted."""
    opset = max(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    if opset >= OLDEST_OPSET:
        return model
    try:
        return onnx.version_converter.convert_version(model, OLDEST_OPSET)
    except (RuntimeError, ValueError) as error:
        raise BadInput(
            f"{where}: operator set {opset} cannot be converted to {OLDEST_OPSET}, the oldest that lowbit reads "
            f"({said(error)}); export it with opset {OLDEST_OPSET} or later"
        ) from error

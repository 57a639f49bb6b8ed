"""Finds where the numbers of a quantized tensor are computed: the values to observe for its range."""

from collections.abc import Iterable, Mapping

import onnx_ir as ir

from lowbit.quant.plan import kinds
from lowbit.quant.plan.plan import QuantPlan

Origins = Mapping[str, tuple[str, ...]]
"""Tensor → the values and constants whose entries it holds."""


def origins(model: ir.Model, plan: QuantPlan) -> Origins:
    """The origins of every tensor that `plan` quantizes.

    A tensor whose entries were only moved is observed where they were computed. The input of a Relu or Clip that has
    the same quantizer has no origins of its own: the quantizer does the clipping, and has the range of the clipped
    result.
    """
    groups = {tensor.tensor: tensor.group for tensor in plan.tensors if tensor.role == "main"}
    found: dict[str, tuple[str, ...]] = {}
    for value in model.graph.inputs:
        found[str(value.name)] = (str(value.name),)
    for node in model.graph:
        moved = _merged(found[str(value.name)] for value in kinds.inputs_of(node)) if kinds.is_passing(node) else ()
        if node.op_type == "Concat":
            moved = _merged((moved, tuple(str(value.name) for value in kinds.float_constants(node))))
        for value in node.outputs:
            name = str(value.name)
            clamp = kinds.clamp_of(value)
            cut = clamp is not None and name in groups and groups[name] == groups.get(str(clamp.outputs[0].name))
            found[name] = () if cut else moved if kinds.is_passing(node) else (name,)
    return {name: found[name] for name in groups}


def _merged(parts: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """All origins, each once, in order."""
    return tuple(dict.fromkeys(name for part in parts for name in part))

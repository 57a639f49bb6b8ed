"""One operator on plain arrays. ONNX's reference evaluator knows most; what it lacks, or has wrong, is here.

Each rule was written because the evaluator of onnx 1.23.2 differs from ONNX Runtime, and is compared with the latter.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from lowbit.core.errors import UnsupportedError
from lowbit.core.text import kind_and_said
from lowbit.reference.floats import grids, norms, pads, pools, recurrent, resize
from lowbit.reference.floats.rule import Array, FloatOp, FloatRule

RULES: dict[str, FloatRule] = {
    **grids.RULES,
    **norms.RULES,
    **pads.RULES,
    **pools.RULES,
    **recurrent.RULES,
    **resize.RULES,
}


def evaluate(node: onnx.NodeProto, arrays: Sequence[Array | None], opsets: Mapping[str, int]) -> list[Array]:
    """The outputs of one node on plain arrays; an output that nobody named is empty.

    Raises UnsupportedError for an operator that neither ONNX's evaluator nor a rule of ours knows.
    """
    attributes = {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
    op = FloatOp(node.op_type, attributes, opsets.get("", 0))
    rule = RULES.get(node.op_type)
    with np.errstate(all="ignore"):
        results = rule(op, arrays) if rule is not None and node.domain in ("", "ai.onnx") else None
        if results is None:
            return _by_onnx(node, arrays, opsets)
    return [array.astype(result_type(op, arrays), copy=False) for array in results[: len(node.output)]]


def result_type(op: FloatOp, arrays: Sequence[Array | None]) -> Any:
    """What the rules give has the type of the first input (GridSample's grid and Resize's scales have their own)."""
    assert arrays[0] is not None, op.type
    return arrays[0].dtype


def _by_onnx(node: onnx.NodeProto, arrays: Sequence[Array | None], opsets: Mapping[str, int]) -> list[Array]:
    names = [name for name in node.output if name]
    free = [f"input_{number}" if array is not None else "" for number, array in enumerate(arrays)]
    alone = onnx.NodeProto()
    alone.CopyFrom(node)
    del alone.input[:]
    alone.input.extend(free)
    feeds: dict[str, Any] = {name: array for name, array in zip(free, arrays, strict=True) if name}
    graph = helper.make_graph(
        [alone],
        "one operator",
        [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in feeds.items()
        ],
        [helper.make_empty_tensor_value_info(name) for name in names],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*opset) for opset in opsets.items()])
    try:
        found = dict(zip(names, ReferenceEvaluator(model).run(None, feeds), strict=True))
    except NotImplementedError as error:
        raise UnsupportedError(
            f"{node.op_type} {node.name}: the integer reference does not know this operator", "verify another model"
        ) from error
    except Exception as error:  # ONNX's implementations check nothing: NumPy's errors come through
        raise UnsupportedError(
            f"{node.op_type} {node.name}: ONNX's reference implementation fails ({kind_and_said(error)})",
            "verify another model",
        ) from error
    return [np.asarray(found[name]) if name else np.empty(0) for name in node.output]

"""Compute once what does not depend on the image.

Requires: weights are not listed among the inputs.
Ensures: what depends on constants alone is an initializer, unless it has more than `_LARGEST` elements.
"""

import logging

import onnx_ir as ir
import onnxscript.optimizer
from onnx_ir.passes import common

from lowbit.core.errors import BadInput
from lowbit.core.text import said

_LARGEST = 2**26  # elements; what folds to more (an expanded mask) stays computed


def fold_constants(model: ir.Model, where: str) -> None:
    """Fold in place, however large (Swin's tables of relative positions); BadInput for what cannot be computed."""
    level = logging.getLogger("onnxscript").level
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    try:
        onnxscript.optimizer.fold_constants(
            model,
            onnx_shape_inference=True,
            output_size_limit=_LARGEST,
            should_fold=lambda _node: True,  # by default large inputs and ConstantOfShape are left
        )
    except RuntimeError as error:
        raise BadInput(f"{where}: a constant part of it cannot be computed ({said(error)}); export it again") from error
    finally:
        logging.getLogger("onnxscript").setLevel(level)
    common.RemoveUnusedNodesPass()(model)
    common.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)(model)

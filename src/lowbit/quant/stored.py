"""A quantized model on disk, complete, so that a later process can write its layers again and verify them.

The folder holds `graph.onnx`, the prepared float graph; `arrays.npz`, the arrays; and `model.json`, everything else.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_origin

import numpy as np
import onnx_ir as ir
from cattrs.preconf.json import make_converter

from lowbit.core.files import folder_aside
from lowbit.quant.formats import QParams
from lowbit.quant.model import QTensor, QuantizedLayer, QuantizedModel
from lowbit.quant.plan.plan import QuantPlan

_GRAPH, _MODEL, _ARRAYS = "graph.onnx", "model.json", "arrays.npz"


@dataclass(frozen=True, slots=True)
class _Numbers:
    """Everything of a QuantizedModel but its graph."""

    plan: QuantPlan
    layers: dict[str, QuantizedLayer]
    main: dict[str, QParams]
    product: dict[str, QParams]
    constants: dict[str, QTensor]
    absorbed: tuple[str, ...]


def save_quantized(model: QuantizedModel, folder: Path) -> None:
    """Write `folder`, whole or not at all."""
    arrays: dict[str, np.ndarray] = {}

    def set_aside(array: np.ndarray) -> dict[str, str]:
        name = f"array_{len(arrays)}"
        arrays[name] = _small(array)
        return {"array": name, "dtype": array.dtype.str}

    converter = make_converter()
    converter.register_unstructure_hook_func(_is_array, set_aside)
    numbers = _Numbers(
        model.plan, model.layers, model.main, model.product, model.constants, tuple(sorted(model.absorbed))
    )
    with folder_aside(folder) as temporary:
        (temporary / _MODEL).write_text(json.dumps(converter.unstructure(numbers)))
        np.savez(temporary / _ARRAYS, **arrays)  # type: ignore[arg-type]  # its stub takes allow_pickle for an array
        ir.save(model.graph, temporary / _GRAPH)


def load_quantized(folder: Path) -> QuantizedModel:
    """The model that `save_quantized` wrote into `folder`."""
    with np.load(folder / _ARRAYS) as arrays:

        def put_back(plain: dict[str, str], _: Any) -> np.ndarray:
            array: np.ndarray = arrays[plain["array"]].astype(plain["dtype"])
            array.setflags(write=False)
            return array

        converter = make_converter()
        converter.register_structure_hook_func(_is_array, put_back)
        numbers = converter.structure(json.loads((folder / _MODEL).read_text()), _Numbers)
    return QuantizedModel(
        graph=ir.load(folder / _GRAPH),
        plan=numbers.plan,
        layers=numbers.layers,
        main=numbers.main,
        product=numbers.product,
        constants=numbers.constants,
        absorbed=frozenset(numbers.absorbed),
    )


def _is_array(kind: Any) -> bool:
    return kind is np.ndarray or get_origin(kind) is np.ndarray


def _small(array: np.ndarray) -> np.ndarray:
    """Integers in the narrowest type that holds them: codes are held as int32 in memory."""
    if array.dtype.kind not in "iu" or not array.size:
        return array
    return array.astype(np.promote_types(np.min_scalar_type(array.min()), np.min_scalar_type(array.max())))

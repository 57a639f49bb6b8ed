"""torchvision beside a torch that its compiled part was not built for."""

import ctypes
import importlib
import importlib.util
from functools import cache
from pathlib import Path
from typing import Any

import torch


@cache
def declare_torchvision_operators() -> None:
    """Let `import torchvision` work where its compiled part does not load (a CUDA build beside a CPU torch).

    Its Python side decorates two operators on import, which must exist by then; classifiers use neither.
    """
    spec = importlib.util.find_spec("torchvision")
    folders = (spec.submodule_search_locations if spec is not None else None) or ()
    for library in (file for folder in folders for file in Path(folder).glob("_C*.so")):
        try:
            ctypes.CDLL(str(library))
        except OSError:
            for operator in ("nms", "qnms"):
                if not hasattr(torch.ops.torchvision, operator):
                    torch.library.define(
                        f"torchvision::{operator}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor"
                    )


def import_transformers() -> Any:
    """transformers, which imports torchvision where that is installed."""
    declare_torchvision_operators()
    return importlib.import_module("transformers")

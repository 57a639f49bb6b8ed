"""What torch executes: every operator that reaches its dispatcher, with the types and shapes that it was given.

A loaded trace keeps no layer types, and packed weights have no shape from outside: the dispatcher sees both.
"""

from collections import Counter
from math import prod
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from lowbit.core.adapter import OpPrecision

_SHORT = {
    torch.float32: "f32",
    torch.float16: "f16",
    torch.bfloat16: "bf16",
    torch.quint8: "u8",
    torch.qint8: "s8",
    torch.qint32: "s32",
}
_CONVOLUTIONS = ("convolution", "_convolution", "conv1d", "conv2d", "conv2d_relu")
_PRODUCTS = {  # matrix products → the place of the left operand [..., K]
    "linear": 0,
    "linear_relu": 0,
    "linear_dynamic": 0,
    "linear_relu_dynamic": 0,
    "linear_dynamic_fp16": 0,
    "linear_relu_dynamic_fp16": 0,
    "matmul": 0,
    "mm": 0,
    "bmm": 0,
    "addmm": 1,
    "baddbmm": 1,
}


class Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch gives its base class no types
    """Collects in `operators` one OpPrecision for every operator that makes a tensor. Run it on `batch` samples."""

    def __init__(self, batch: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._batch = batch
        self.operators: list[OpPrecision] = []
        self._seen: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Run `func` unchanged and record what it did."""
        result = func(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            kind = func._schema.name  # "aten::relu", "quantized::conv2d_relu"
            self.operators.append(_precision(f"{kind}:{self._seen[kind]}", kind, args, result, self._batch))
            self._seen[kind] += 1
        return result


def _precision(name: str, kind: str, args: Any, result: torch.Tensor, batch: int) -> OpPrecision:
    """The precision of one call, with the multiply–accumulates of one of its `batch` samples."""
    space, _, short = kind.partition("::")
    quantized = space == "quantized"
    if short in _CONVOLUTIONS:
        weight = args[1].unpack()[0] if quantized else args[1]
        transposed = not quantized and short.endswith("convolution") and args[6]
        macs = (args[0] if transposed else result).numel() * prod(weight.shape[1:]) // batch
        left = args[0]
    elif short in _PRODUCTS:
        left = args[_PRODUCTS[short]]
        macs = result.numel() * left.shape[-1] // batch
    else:
        word = _word(result)
        return OpPrecision(
            name, kind, word, result.is_quantized, reason="" if result.is_quantized else "its values are float"
        )
    if not quantized or short.endswith("_fp16"):
        stored = " (weights stored in half precision)" if quantized else ""
        return OpPrecision(name, kind, _word(left), False, macs=macs, reason=f"its operands are float{stored}")
    hybrid = short.endswith("_dynamic")
    return OpPrecision(name, kind, "u8s8", True, macs=macs, hybrid=hybrid)


def _word(tensor: torch.Tensor) -> str:
    """Short name of a tensor's type: f32, bf16, u8 …"""
    return _SHORT.get(tensor.dtype, str(tensor.dtype).removeprefix("torch."))

"""A tensor's forms while the graph is rewritten: float, and integers with one or more pairs of scale and zero point."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import UnsupportedError
from lowbit.formats.litert.file import TFLiteFile
from lowbit.quant.formats import QParams

_BOTTOM, _TOP = -128, 127  # of int8


@dataclass(frozen=True, slots=True)
class IntegerGrid:
    """real = scale · (code − zero_point), codes `lowest` … 127 in int8.

    The highest code of any width is 127, where int8 itself saturates; below 8 bits only the lower end needs a clamp.
    """

    scale: float
    zero_point: int
    lowest: int

    @classmethod
    def of(cls, qparams: QParams) -> "IntegerGrid":
        """The same real numbers in int8: our code c becomes c + 127 − highest (u8: c − 128)."""
        if qparams.format.bits > 8 or qparams.scale.ndim:
            raise UnsupportedError(
                f"LiteRT cannot take {qparams.format.bits}-bit activations with {qparams.scale.size} scales: "
                "its int8 kernels read at most 8 bits on one scale",
                "choose at most 8 bits a tensor for activations",
            )
        shift = _TOP - qparams.format.highest
        return cls(float(qparams.scale), int(qparams.zero_point) + shift, qparams.format.lowest + shift)

    @property
    def floor(self) -> float:
        """The smallest real number that it can represent."""
        return self.scale * (self.lowest - self.zero_point)

    def encode(self, x: npt.NDArray[np.float32]) -> npt.NDArray[np.int8]:
        """int8 codes of x."""
        codes = np.rint(x / np.float32(self.scale)) + self.zero_point
        return np.asarray(np.clip(codes, self.lowest, _TOP), np.int8)


class Forms:
    """Every tensor's forms. A form that is missing is made when it is first asked for.

    `planned`: tensor → the grid (scale and zero point) that the plan gives it. A tensor that was written on another
    grid, or in float, is requantized to the planned one before anything reads it.
    """

    def __init__(self, file: TFLiteFile, planned: dict[int, IntegerGrid]) -> None:
        self.file = file
        self.planned = planned
        self._written: dict[int, IntegerGrid] = {}  # the grid on which its operator writes a tensor; absent: float
        self._integers: dict[tuple[int, IntegerGrid], int] = {}
        self._dequantized: dict[int, int] = {}

    def grid(self, tensor: int) -> IntegerGrid | None:
        """The grid that its readers see: the planned one, else the one it was written on; None for a float tensor."""
        return self.planned.get(tensor, self._written.get(tensor))

    def floats(self, tensor: int) -> int:
        """The tensor in float, with the values that its readers see."""
        grid = self.grid(tensor)
        if grid is None:
            return tensor
        if tensor not in self._dequantized:
            codes, name = self.integers(tensor, grid), f"{self.file.name(tensor)}/float"
            self._dequantized[tensor] = self.file.add(name, self.file.shape(tensor), self.file.types.FLOAT32)
            self.file.new("DEQUANTIZE", [codes], self._dequantized[tensor])
        return self._dequantized[tensor]

    def integers(self, tensor: int, grid: IntegerGrid) -> int:
        """The tensor's codes on `grid`, requantized where its readers see another grid."""
        if (tensor, grid) not in self._integers:
            seen, written = self.grid(tensor), self._written.get(tensor)
            if seen is not None and seen != grid:
                source, floor = self.integers(tensor, seen), seen.floor
            elif written is not None:
                source, floor = self._integers[tensor, written], written.floor
            else:
                source, floor = tensor, -np.inf
            out = self._codes(tensor, grid)
            self.file.new("QUANTIZE", [source], out)
            self._integers[tensor, grid] = self._clamped(tensor, out, grid, floor)
        return self._integers[tensor, grid]

    def start(self, tensor: int, grid: IntegerGrid) -> None:
        """The graph's input `tensor` is int8 on `grid`."""
        self.planned[tensor] = self._written[tensor] = grid
        self._integers[tensor, grid] = self._become(tensor, grid)

    def write(self, kind: str, operator: Any, grid: IntegerGrid, floor: float = -np.inf) -> None:
        """Append `operator`, whose outputs become int8 on `grid`; it writes no number below `floor`."""
        tensors = [int(tensor) for tensor in operator.outputs]
        for tensor in tensors:
            self._become(tensor, grid)
        self.file.append_integer(kind, operator)
        for tensor in tensors:
            self._written[tensor] = grid
            self._integers[tensor, grid] = self._clamped(tensor, tensor, grid, floor)

    def _become(self, tensor: int, grid: IntegerGrid) -> int:
        self.file.set_type(tensor, self.file.types.INT8, np.array(grid.scale, np.float32), grid.zero_point)
        return tensor

    def _codes(self, tensor: int, grid: IntegerGrid) -> int:
        name = f"{self.file.name(tensor)}/codes{sum(known == tensor for known, _ in self._integers)}"
        return self._become(self.file.add(name, self.file.shape(tensor), self.file.types.INT8), grid)

    def _clamped(self, tensor: int, codes: int, grid: IntegerGrid, floor: float) -> int:
        """`codes` without those below the lowest of fewer than 8 bits; at the top int8 itself ends."""
        if grid.lowest == _BOTTOM or floor >= grid.floor - 0.49 * grid.scale:  # which rounds to the lowest code
            return codes
        lowest = self.file.add("lowest", (), self.file.types.INT8, np.array(grid.lowest, np.int8))
        out = self._codes(tensor, grid)
        self.file.new("MAXIMUM", [codes, self._become(lowest, grid)], out)
        return out

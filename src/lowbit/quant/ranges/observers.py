"""Observe activations while the float network runs: exact limits and histograms, in bounded memory."""

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import torch

from lowbit.core.errors import BadInput
from lowbit.quant.formats import Format
from lowbit.quant.plan.plan import RangeMethod
from lowbit.quant.ranges.limits import BINS, FINEST, Histogram, Range, coarser, limits
from lowbit.quant.simulate import in_memory_order

_PIECE = 1 << 18  # values counted at once: what lies between must stay in the cache, and small pieces cost calls


class Observers:
    """What many activation tensors look like, fed batch by batch; memory grows with neither their number nor size.

    methods: tensor → how its limits will be chosen. `min-max` keeps two numbers and reads each value once; all others
    keep a histogram (2 · 2,048 + 1 bins), from which every method can answer.
    """

    def __init__(self, methods: Mapping[str, RangeMethod]) -> None:
        self._methods = dict(methods)
        self._ranges = defaultdict[str, Range](Range)
        self._tallies = defaultdict[str, _Tally](_Tally)
        self._steps = torch.empty(_PIECE)  # memory that stays in the cache
        self._codes = torch.empty(_PIECE, dtype=torch.int16)

    @torch.no_grad()
    def observe(self, name: str, x: torch.Tensor, images: int = 1) -> torch.Tensor:
        """Count x, float32 of any shape, possibly empty: so many images, one after the other, if it can be divided.

        Returns the largest magnitude of each image [images]. BadInput names a tensor with NaN or infinity.
        """
        if x.numel() == 0:
            return torch.zeros(images)
        x = in_memory_order(x)
        by_image = x.reshape(images if x.numel() % images == 0 else 1, -1)
        each = torch.stack((by_image.amin(1), by_image.amax(1)))  # torch.aminmax along an axis takes ten times as long
        lo, hi = float(each[0].min()), float(each[1].max())  # a NaN anywhere comes out of both
        if not (math.isfinite(lo) and math.isfinite(hi)):
            raise BadInput(
                f"activation {name!r} has values from {lo} to {hi} on the calibration pictures; expected finite "
                "numbers: look for NaN or infinity in the model's weights, and check the preprocessing"
            )
        seen = self._ranges[name] = self._ranges[name].merge(Range(lo, hi))
        if self._methods[name] != "min-max":
            tally = self._tallies[name]
            tally.widen(seen.exponent)
            for piece in torch.split(x.reshape(-1), _PIECE):
                self._count(piece, tally, signed=lo < 0)
        return each.abs().amax(0).expand(images)

    def _count(self, x: torch.Tensor, tally: "_Tally", *, signed: bool) -> None:
        """Add x [at most _PIECE] to a tally whose bins hold it.

        Scaling by a power of two and rounding away from zero are exact in float32. Codes in 16 bits and `bincount` cost
        1.2 ns a value on one core (1.5 with signs); torch.histc costs 5.5.
        """
        size, zero = (2 * BINS + 1, BINS) if signed else (BINS + 1, 0)
        steps, codes = self._steps[: len(x)], self._codes[: len(x)]
        torch.mul(x, 2.0**-tally.exponent, out=steps)
        if signed:
            torch.copysign(steps.abs_().ceil_(), x, out=steps).add_(zero)
        else:
            steps.ceil_()
        codes.copy_(steps)
        tally.counts[BINS - zero :] += torch.bincount(codes, minlength=size)

    def merge(self, other: "Observers") -> None:
        """Add what another one with the same methods observed. The result is exact and independent of order."""
        for name, seen in other._ranges.items():
            self._ranges[name] = self._ranges[name].merge(seen)
        for name, tally in other._tallies.items():
            own = self._tallies[name]
            exponent = max(own.exponent, tally.exponent)
            own.widen(exponent)
            own.counts += tally.at(exponent)

    def limits(self, name: str, kind: Format, method: RangeMethod | None = None) -> tuple[float, float]:
        """The limits of one tensor by its method, or by `method`, as `ranges.limits` gives them."""
        return self.limits_of((name,), kind, method)

    def limits_of(self, names: Sequence[str], kind: Format, method: RangeMethod | None = None) -> tuple[float, float]:
        """One pair of limits for all values of several tensors, which must share a method unless one is given.

        BadInput when nothing was observed of any of them, or methods differ, or the method needs a histogram that was
        not asked for.
        """
        methods = {self._methods[name] for name in names} if method is None else {method}
        if len(methods) > 1:
            raise BadInput(
                f"tensors {', '.join(names)} share one range, but not its method ({', '.join(sorted(methods))}); "
                "give them the same one"
            )
        unseen = [name for name in names if name not in self._ranges]
        if unseen:
            raise BadInput(
                f"nothing was observed of activation {unseen[0]!r}: an empty calibration set; give it some pictures"
            )
        (chosen,) = methods
        if chosen == "min-max":
            seen = reduce(Range.merge, (self._ranges[name] for name in names))
            return seen.lo, seen.hi
        without = [name for name in names if name not in self._tallies]
        if without:
            raise BadInput(
                f"activation {without[0]!r} was observed for min-max only; range method {chosen!r} needs a histogram: "
                "ask for it before the network runs"
            )
        histograms = (self._tallies[name].histogram(self._ranges[name]) for name in names)
        return limits(reduce(Histogram.merge, histograms), chosen, kind)


@dataclass(slots=True)
class _Tally:
    """The counts of a `Histogram` that is still growing: int64 [2 · BINS + 1], bins of width 2^exponent."""

    exponent: int = FINEST
    counts: torch.Tensor = field(default_factory=lambda: torch.zeros(2 * BINS + 1, dtype=torch.int64))

    def histogram(self, seen: Range) -> Histogram:
        """The same, of values in the range `seen`."""
        return Histogram(seen, self.exponent, self.counts.numpy())

    def at(self, exponent: int) -> torch.Tensor:
        """The counts in bins of that width, which is not finer."""
        return torch.from_numpy(coarser(self.counts.numpy(), exponent - self.exponent))

    def widen(self, exponent: int) -> None:
        if exponent != self.exponent:
            self.counts, self.exponent = self.at(exponent), exponent

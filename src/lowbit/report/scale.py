"""Axes: from values to percent of a plot's length, with round ticks, linear or logarithmic."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10

_LOG_FROM = 4.0  # a span beyond this factor is drawn on a logarithmic axis
_STEPS = (1, 2, 5)
_LOG_STEPS = (1, 1.5, 2, 3, 4, 5, 7)  # where 1, 2, 5 would leave fewer than five ticks
_FEWEST = 5
_NO_SPAN = 1e-6  # of the values' size (or of 1): below it, ticks could not be told apart


@dataclass(frozen=True, slots=True)
class Scale:
    """low < high in the value's own unit; logarithmic scales are positive; ticks lie within [low, high]."""

    low: float
    high: float
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def percent(self, value: float) -> float:
        """0 at low, 100 at high; values outside are held at the ends."""
        inside = min(max(value, self.low), self.high)
        if self.logarithmic:
            return 100 * (log10(inside) - log10(self.low)) / (log10(self.high) - log10(self.low))
        return 100 * (inside - self.low) / (self.high - self.low)


def linear(low: float, high: float, count: int = 5) -> Scale:
    """A scale that covers [low, high] and ends on ticks, about `count` of them; what is hardly a span is widened."""
    if high - low <= _NO_SPAN * max(1.0, abs(low), abs(high)):
        pad = max(abs(low) * 0.05, 1e-3)
        low, high = low - pad, high + pad
    step = _step((high - low) / count)
    first, last = floor(low / step + 1e-9), ceil(high / step - 1e-9)
    ticks = tuple(round(index * step, 12) for index in range(first, last + 1))
    return Scale(ticks[0], ticks[-1], ticks)


def latency(values: Sequence[float]) -> Scale:
    """A scale for positive times: logarithmic, with a margin, when they span more than a factor of four."""
    low, high = min(values), max(values)
    if high / low <= _LOG_FROM:
        return linear(low - (high - low) * 0.1, high + (high - low) * 0.1)
    low, high = low / 1.25, high * 1.25
    ticks = _log_ticks(low, high, _STEPS)
    if len(ticks) < _FEWEST:
        ticks = _log_ticks(low, high, _LOG_STEPS)
    return Scale(low, high, ticks, logarithmic=True)


def _log_ticks(low: float, high: float, steps: Sequence[float]) -> tuple[float, ...]:
    decades = range(floor(log10(low)), ceil(log10(high)) + 1)
    every = (round(step * 10.0**decade, 12) for decade in decades for step in steps)
    return tuple(tick for tick in every if low <= tick <= high)


def _step(raw: float) -> float:
    power = 10.0 ** floor(log10(raw))
    return next((step * power for step in _STEPS if step * power >= raw * (1 - 1e-9)), 10 * power)

"""What verification found: how far a built file, in its runtime, agrees with the integer-only reference."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerCheck:
    """One layer alone, on equal input codes. equal: share of equal output codes; largest: the largest difference.

    requantize: how the runtime's kernel turns sums into codes, one of the reference's: "float", "fixed-point" …
    Where the layer's result is float (a classifier's scores), a code is the nearest multiple of the 255th part of the
    reference's range.
    """

    node: str
    op_type: str
    codes: int
    equal: float
    largest: int
    requantize: str


@dataclass(frozen=True, slots=True)
class UncheckedLayer:
    """A layer that could not be compared, and why."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScoresCheck:
    """The whole file, end to end. `step`: of the quantizer at its output, or the 255th part of the reference's range.

    within_half_step: share of scores that differ by less than step / 2, which is equal codes where the output has
    codes; same_top1: share of images with the same best score, None where there is but one score; largest: the largest
    difference of a score; error: the root of the mean squared difference, as a share of the standard deviation of the
    reference's scores.
    """

    images: int
    scores: int
    step: float
    within_half_step: float
    same_top1: float | None
    largest: float
    error: float


@dataclass(frozen=True, slots=True)
class Verified:
    """A file in a runtime against the integer-only reference."""

    runtime: str
    layers: tuple[LayerCheck, ...]
    unchecked: tuple[UncheckedLayer, ...]
    scores: ScoresCheck

    @property
    def worst(self) -> LayerCheck | None:
        """The layer with the fewest equal codes; None where no layer could be compared."""
        return min(self.layers, key=lambda layer: layer.equal, default=None)

    @property
    def equal(self) -> float | None:
        """Share of equal codes in the worst layer; None where no layer could be compared."""
        return min((layer.equal for layer in self.layers), default=None)

    @property
    def largest(self) -> int | None:
        """The largest difference of a code in any layer."""
        return max((layer.largest for layer in self.layers), default=None)


@dataclass(frozen=True, slots=True)
class NotVerified:
    """A file that was not held against the reference in a runtime, or that the reference cannot judge; and why."""

    runtime: str
    reason: str

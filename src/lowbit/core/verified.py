"""The results of verification: how far a built file agrees, in a runtime, with the integer-only reference."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LayerCheck:
    """One layer run alone, in the runtime and in the reference, on the same input codes.

    - node: the layer's name
    - op_type: its type
    - codes: how many output codes were compared
    - equal: share of output codes that are equal
    - largest: largest difference between two codes
    - requantize: the reference's rounding that fits the runtime's kernel best: "float", "fixed-point" …

    Where the layer's result is float (a classifier's scores), a code is the score divided by 1/255 of the reference's
    range and rounded.
    """

    node: str
    op_type: str
    codes: int
    equal: float
    largest: int
    requantize: str


@dataclass(frozen=True, slots=True)
class UncheckedLayer:
    """A layer that could not be compared with the reference, and the reason."""

    node: str
    reason: str


@dataclass(frozen=True, slots=True)
class ScoresCheck:
    """The scores of the whole file compared with the reference's.

    - images: how many images
    - scores: how many scores were compared
    - step: scale of the quantizer at the output; 1/255 of the reference's range where the output is float
    - within_half_step: share of scores that differ by less than step / 2; for a quantized output, these codes are equal
    - same_top1: share of images with the same best class; None for a single score
    - largest: largest difference between two scores
    - error: root mean squared difference, divided by the standard deviation of the reference's scores
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
    """A file in a runtime, compared with the integer-only reference."""

    runtime: str
    layers: tuple[LayerCheck, ...]
    unchecked: tuple[UncheckedLayer, ...]
    scores: ScoresCheck

    @property
    def equal(self) -> float | None:
        """Share of equal codes in the worst layer; None where no layer could be compared."""
        return min((layer.equal for layer in self.layers), default=None)

    @property
    def largest(self) -> int | None:
        """The largest difference between two codes in any layer; None where no layer could be compared."""
        return max((layer.largest for layer in self.layers), default=None)


@dataclass(frozen=True, slots=True)
class NotVerified:
    """A file that was not compared with the reference in a runtime, and the reason."""

    runtime: str
    reason: str

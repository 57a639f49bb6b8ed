"""How far two files, each in a runtime, give the same scores: what `lowbit diff` finds."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lowbit.core.verified import UncheckedLayer

Verdict = Literal["equal", "agree", "close", "apart", "miscomputed"]


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two files, and where it ran.

    - path: the main file
    - format: its file format
    - digest: of its contents
    - made_by: toolchain/recipe where a manifest says so; empty otherwise
    - runtime: the runtime that computed its scores
    - versions: of the runtime's packages
    - threads: of its session
    - batch_size: images in one call
    """

    path: Path
    format: str
    digest: str
    made_by: str
    runtime: str
    versions: dict[str, str]
    threads: int
    batch_size: int


@dataclass(frozen=True, slots=True)
class PictureDifference:
    """One picture that both sides have scored.

    - index: its place among the compared pictures, from 0
    - name: the picture's name in the data
    - answers: the best output of the first and of the second side
    - largest: largest difference between two of its scores
    """

    index: int
    name: str
    answers: tuple[int, int]
    largest: float


@dataclass(frozen=True, slots=True)
class ScoresDifference:
    """The scores [N, outputs] of two sides on the same pictures.

    - images: how many pictures
    - outputs: scores of one picture
    - probabilities: whether the scores of each side are probabilities; logits otherwise
    - same_answers: pictures with the same best output
    - equal_images: pictures whose scores are all equal, bit by bit
    - largest, mean: largest and mean absolute difference between two scores
    - error: root mean squared difference, divided by the standard deviation of the first side's scores
    - kl, kl_back: mean Kullback–Leibler divergence of the second side's probabilities from the first's, in nats, and of
      the first's from the second's; None where no picture has finite scores on both sides
    - not_finite: pictures with NaN or infinity among their scores, of either side. They count as the largest
      difference that a float32 can hold.
    - farthest: the pictures that differ most, the farthest first; none that is equal
    """

    images: int
    outputs: int
    probabilities: tuple[bool, bool]
    same_answers: int
    equal_images: int
    largest: float
    mean: float
    error: float
    kl: float | None
    kl_back: float | None
    not_finite: tuple[int, int]
    farthest: tuple[PictureDifference, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerDifference:
    """One layer run alone by both sides, on equal inputs.

    - number: its place among the layers of the file, from 1
    - name, op_type: of the layer; the name of its result where the file names no layers
    - values: how many values of its result were compared
    - step: what counts as one step: the scale of the quantizer behind it, or 1/255 of the first side's range where that
      is larger
    - largest: largest difference between two values, in steps
    - beyond: share of the values that differ by more than one and a half steps, which rounding does not explain
    - error: root mean squared difference, divided by the standard deviation of the first side's values
    - parted: whether they differ by more than rounding explains
    - from_reference: error of the first and of the second side against plain arithmetic in NumPy; None where it was not
      asked or cannot compute the layer
    """

    number: int
    name: str
    op_type: str
    values: int
    step: float
    largest: float
    beyond: float
    error: float
    parted: bool
    from_reference: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class LayersDifference:
    """All layers that could be run alone, in the order in which they are computed.

    - images: how many pictures they were run on
    - same_numbers: whether both sides have the same weights and quantizers
    - layers: one entry for each layer
    - unchecked: layers that could not be run alone, and why
    - together: the layer at which the two sides part when everything before it runs along, where no layer alone parts;
      None where that was not asked or they part nowhere
    """

    images: int
    same_numbers: bool
    layers: tuple[LayerDifference, ...]
    unchecked: tuple[UncheckedLayer, ...] = ()
    together: str | None = None

    @property
    def first(self) -> LayerDifference | None:
        """The first layer at which the two sides part; None where they part at none."""
        return next((layer for layer in self.layers if layer.parted), None)


@dataclass(frozen=True, slots=True)
class Difference:
    """What `lowbit diff` finds.

    - verdict: equal: bit by bit; agree: as closely as kernels do that round differently; close: a little farther than
      that, at most a tenth of the scores' spread; apart: farther, as other functions; miscomputed: apart, although both
      sides run the same network, so that one of them computes it wrongly
    - first, second: the two sides
    - same_network: whether both sides run the same network: the same file, or files that the same quantized model was
      written to
    - data: as the user named it
    - scores: how their scores differ
    - float_model: the float model where one was given, and how the scores of each side differ from its scores
    - layers: the layers run one by one; None where that was not possible, and `no_layers` says why
    - class_names: name of each output, where the data's classes are the model's outputs; empty otherwise
    """

    verdict: Verdict
    first: Side
    second: Side
    same_network: bool
    data: str
    scores: ScoresDifference
    float_model: Side | None = None
    from_float: tuple[ScoresDifference, ScoresDifference] | None = None
    layers: LayersDifference | None = None
    no_layers: str = ""
    class_names: tuple[str, ...] = ()

    @property
    def wrong(self) -> Side | None:
        """The side that computes the network wrongly, where something says which one it is.

        Plain arithmetic decides at the first layer that parts; where it cannot, the float model does.
        """
        if self.verdict != "miscomputed":
            return None
        errors: tuple[float, float] | None = None
        if self.layers is not None and self.layers.first is not None:
            errors = self.layers.first.from_reference
        if errors is None and self.from_float is not None:
            errors = (self.from_float[0].error, self.from_float[1].error)
        if errors is None or errors[0] == errors[1]:
            return None
        return self.first if errors[0] > errors[1] else self.second

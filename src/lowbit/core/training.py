"""What training at low bits was asked for, and how it went."""

from dataclasses import dataclass, fields
from math import inf

from lowbit.core.errors import BadInput

MOST_TRAINED = 50_000  # pictures to train on, unless more are asked for: they are decoded to disk
FEWEST_PICTURES = 20  # to train on, the held-out ones included


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """How to train a quantized network on from its closed form.

    - epochs: passes over the training images
    - label_loss: weight of the labels' cross-entropy beside the distance to the float network; 0: no label is read
    - budget_s: seconds after which training ends; None: no limit
    - max_memory: bytes that the training process may take; None: what the machine has free
    """

    epochs: int
    label_loss: float = 0.0
    budget_s: float | None = None
    max_memory: int | None = None

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise BadInput(f"--epochs {self.epochs}: expected 1 or more; leave it out to quantize without training")
        if not 0 <= self.label_loss < inf:
            raise BadInput(f"--label-loss {self.label_loss:g}: expected 0 (no labels) or more; 0.2 is a good start")
        if self.budget_s is not None and not 0 < self.budget_s < inf:
            raise BadInput(f"--budget {self.budget_s:g}: expected seconds above 0, as in 20m")
        if self.max_memory is not None and self.max_memory < 1:
            raise BadInput(f"--max-memory {self.max_memory}: expected bytes above 0, as in 4GB")

    def for_recipe(self) -> dict[str, float | int]:
        """Everything but the epochs that differs from the defaults, as a recipe's options."""
        others = {each.name: (getattr(self, each.name), each.default) for each in fields(self) if each.name != "epochs"}
        return {name: value for name, (value, default) in others.items() if value != default}


@dataclass(frozen=True, slots=True)
class TrainingPoint:
    """Where training stood at one moment, on the held-out images.

    - seconds: since training began
    - images: seen by then, repeated ones counted again
    - loss: distance to the float network
    - agreement: share of images with the float network's answer
    - accuracy: share of right answers; None without labels
    """

    seconds: float
    images: int
    loss: float
    agreement: float
    accuracy: float | None = None


@dataclass(frozen=True, slots=True)
class Training:
    """How a training went.

    - options: what was asked for
    - images, held_out: how many there were to train on, and to choose the best moment by
    - batch: images a step
    - at_a_time: images in memory at a time; fewer than `batch` where memory would not do
    - points: at the beginning, on the way and at the end
    - best: which of them the file is
    - float_accuracy: share of the held-out images that the float network has right; None without labels
    - step_s, float_step_s: seconds that the forward and the backward pass of a step take, the teacher's included, and
      those of a float training step of the same images
    - kept_bytes, float_kept_bytes: what a step keeps for its backward pass, and a float step
    """

    options: TrainingOptions
    images: int
    held_out: int
    batch: int
    at_a_time: int
    points: tuple[TrainingPoint, ...]
    best: int
    float_accuracy: float | None
    step_s: float
    float_step_s: float
    kept_bytes: int
    float_kept_bytes: int

    @property
    def gained(self) -> bool:
        """Whether any moment was better than the closed form, which the file is otherwise."""
        return self.best > 0


@dataclass(frozen=True, slots=True)
class TrainingProgress:
    """How far a training is: images seen and to be seen, the running loss, seconds left, the latest held-out point."""

    images: int
    total: int
    loss: float
    seconds_left: float
    latest: TrainingPoint

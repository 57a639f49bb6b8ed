"""What the user asked for, checked as far as it can be without running anything."""

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import get_args

from lowbit.core.errors import BadInput
from lowbit.core.figures import Optimize
from lowbit.core.preprocess import Preprocess
from lowbit.core.settings import MULTI_STREAM_SAMPLES, Among, Scenario, Settings

_MOST_CALIBRATION = 1_000_000


@dataclass(frozen=True, slots=True)
class InputsAsk:
    """What every command that starts from a model and data asks for: the two, and how they are read.

    evaluated: how many pictures to evaluate, None for all and 0 for none; labelled: whether the data must have labels;
    structure_only: whether the float graph's numbers may be anything, since only its operators are looked at;
    input_size: height and width for a model that leaves them free.
    """

    model: str
    data: str
    preprocess: Preprocess
    weights: Path | None = None
    calibration_samples: int = 512
    evaluated: int | None = None
    labelled: bool = True
    structure_only: bool = False
    input_size: tuple[int, int] | None = None
    seed: int = 0
    threads: int = 1


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """One `lowbit compare`. Empty `toolchains`, `recipes`, `runtimes` mean all that are found.

    bits: widths N for which our own engine's wNa8 is made besides; threshold: of a model with one output for two
    classes, None for 0.5 of a probability and 0 of a logit; max_drop: points of top-1 that the winner may lose against
    float; min_agreement: percent of the images on which it must answer as float does, where any version does;
    time_limit_s: of every child process; input_size: height and width for a model that leaves them free.
    """

    model: str
    data: str
    out: Path
    preprocess: Preprocess
    weights: Path | None = None
    labels: Path | None = None
    among: Among = "model"
    threshold: float | None = None
    calibration_samples: int = 512
    limit: int | None = None
    toolchains: tuple[str, ...] = ()
    recipes: tuple[str, ...] = ()
    bits: tuple[int, ...] = ()
    runtimes: tuple[str, ...] = ()
    settings: Settings = field(default_factory=Settings)
    optimize: Optimize = "latency"
    max_drop: float = 1.0
    min_agreement: float = 90.0
    time_limit_s: float = 3600.0
    command: str = ""
    input_size: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        settings = self.settings
        for option, value, choices in (
            ("--scenario", settings.scenario, get_args(Scenario)),
            ("--among", self.among, get_args(Among)),
            ("--optimize", self.optimize, get_args(Optimize)),
        ):
            _check(value in choices, option, value, f"one of {', '.join(choices)}")
        _check(
            2 <= self.calibration_samples <= _MOST_CALIBRATION,
            "--calibration-samples",
            self.calibration_samples,
            "at least 2: ranges of one image say nothing about the others (512 is a good start)",
        )
        _check(self.limit is None or self.limit >= 2, "--limit", self.limit, "at least 2 images, or leave it out")
        _check(
            all(2 <= width <= 8 for width in self.bits) and len(set(self.bits)) == len(self.bits),
            "--bits",
            ",".join(map(str, self.bits)),
            "widths of weights from 2 to 8, each of them once",
        )
        _check(settings.seed >= 0, "--seed", settings.seed, "0 or more")
        _check(settings.threads >= 1, "--threads", settings.threads, "1 or more")
        _check(settings.batch_size >= 1, "--batch-size", settings.batch_size, "1 or more")
        _check(settings.rounds >= 0, "--rounds", settings.rounds, "1 or more, or 0 where nothing is timed")
        _check(0 < settings.min_duration_s < inf, "--min-duration", settings.min_duration_s, "seconds above 0")
        _check(self.max_drop >= 0, "--max-drop", self.max_drop, "points of top-1, 0 or more")
        _check(0 <= self.min_agreement <= 100, "--min-agreement", self.min_agreement, "a percentage from 0 to 100")
        _check(
            self.threshold is None or -inf < self.threshold < inf,
            "--threshold",
            self.threshold,
            "a finite number, in the unit of the model's only output",
        )
        _check(0 < self.time_limit_s < inf, "--time-limit", self.time_limit_s, "seconds above 0")
        _check(
            settings.scenario != "single-stream" or settings.batch_size == 1,
            "--batch-size",
            settings.batch_size,
            "1 in the single-stream scenario, where a query is one image; use --scenario multi-stream or offline",
        )
        _check(
            settings.scenario != "multi-stream" or settings.batch_size <= MULTI_STREAM_SAMPLES,
            "--batch-size",
            settings.batch_size,
            f"at most {MULTI_STREAM_SAMPLES} in the multi-stream scenario, where that is a query",
        )
        _check(
            self.input_size is None or min(self.input_size) >= 1,
            "--input-size",
            "x".join(map(str, self.input_size or ())),
            "height and width in pixels, 1 or more",
        )
        _check(not (self.out.exists() and not self.out.is_dir()), "-o", self.out, "a folder, not a file")

    @property
    def inputs(self) -> InputsAsk:
        """The part that is asked of model and data."""
        return InputsAsk(
            model=self.model,
            data=self.data,
            preprocess=self.preprocess,
            weights=self.weights,
            calibration_samples=self.calibration_samples,
            evaluated=self.limit,
            input_size=self.input_size,
            seed=self.settings.seed,
            threads=self.settings.threads,
        )


def _check(good: bool, option: str, value: object, expected: str) -> None:
    if not good:
        raise BadInput(f"{option} {value}: expected {expected}")

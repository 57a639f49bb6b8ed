"""What the user asked for, checked as far as possible without running anything."""

from dataclasses import dataclass, field
from math import inf
from pathlib import Path
from typing import get_args

from lowbit.core.errors import BadInput
from lowbit.core.figures import Optimize
from lowbit.core.preprocess import Preprocess
from lowbit.core.settings import MULTI_STREAM_SAMPLES, Among, Round, Scenario, Settings
from lowbit.core.training import FEWEST_PICTURES, MOST_TRAINED
from lowbit.measure.rules import ROUNDS

_MOST_CALIBRATION = 1_000_000


@dataclass(frozen=True, slots=True)
class InputsAsk:
    """The part of a request that concerns model and data, which all commands share.

    - model, data: as the user named them
    - preprocess: how a picture becomes the model's input
    - weights: a file of weights for the model
    - calibration_samples: how many pictures to calibrate with
    - evaluated: how many pictures to evaluate; None: all; 0: none
    - labelled: whether the data must have labels
    - structure_only: whether only the float graph's operators are needed, so that its numbers are not checked
    - input_size: (height, width) for a model that leaves them free
    - seed: of every random order
    - threads: of each job
    - trust: whether code that a model file brings along may run
    - training_samples: how many pictures to train on, at most
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
    trust: bool = False
    training_samples: int = 0


@dataclass(frozen=True, slots=True)
class StudyRequest:
    """What one `lowbit compare` asks for.

    - model, data: as the user named them
    - out: the study's folder
    - preprocess: how a picture becomes the model's input
    - weights: a file of weights for the model
    - labels: a file that maps the data's classes to the model's outputs
    - among: whether a prediction is the argmax over the outputs of the "model" or over the classes of the "data"
    - threshold: of a model with one output for two classes; None: 0.5 for a probability, 0 for a logit
    - calibration_samples: how many images to calibrate with
    - limit: how many images to evaluate; None: all
    - toolchains, runtimes: names; empty: all that are installed
    - recipes: names; empty: all of these toolchains that are not made on request only
    - bits: widths N of weights for which our own engine's recipe wNa8 is added
    - settings: how cells are measured; in a sweep the first settings, among whose rows the winner is chosen
    - other_settings: all others of a sweep
    - budget_s: seconds in which the study is to end, by fewer rounds and shorter runs; None: no limit
    - random_weights: whether nobody trained the model, so that no accuracy is printed and labels do not matter
    - optimize: what the chosen row should have least of
    - max_drop: percentage points of top-1 accuracy that the chosen row may lose
    - min_agreement: percent of images on which it must predict the float model's class, if any row does
    - time_limit_s: seconds that each child process may take
    - command: the command line that repeats the study
    - input_size: (height, width) for a model that leaves them free
    - given: files of others that are measured beside what is made
    - profile: whether every cell that is timed is profiled too
    - epochs: how often recipes that train do so, which are then made without being named; None: as each says itself
    - trust: whether code that a model file brings along may run
    - train_samples: how many images our own engine trains on at most, the held-out ones included
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
    other_settings: tuple[Settings, ...] = ()
    budget_s: float | None = None
    random_weights: bool = False
    given: tuple[Path, ...] = ()
    profile: bool = False
    epochs: int | None = None
    trust: bool = False
    train_samples: int = MOST_TRAINED

    def __post_init__(self) -> None:
        settings = self.settings
        for each in self.all_settings:
            _check_settings(each)
        for option, value, choices in (
            ("--rules", settings.rules, get_args(Round)),
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
        _check(self.epochs is None or self.epochs >= 1, "--epochs", self.epochs, "1 or more, or leave it out")
        _check(
            self.train_samples >= FEWEST_PICTURES, "--train-samples", self.train_samples,
            f"at least {FEWEST_PICTURES}, or leave it out",
        )  # fmt: skip
        _check(settings.seed >= 0, "--seed", settings.seed, "0 or more")
        _check(settings.rounds >= 0, "--rounds", settings.rounds, "1 or more, or 0 where nothing is timed")
        _check(0 < settings.min_duration_s < inf, "--min-duration", settings.min_duration_s, "seconds above 0")
        _check(
            self.budget_s is None or not settings.official,
            "--budget",
            self.budget_s,
            "no --official beside it: MLPerf's rounds prescribe how long runs are",
        )
        _check(
            not self.profile or settings.rounds > 0,
            "--profile",
            "with --no-timing",
            "timed rounds: a profile stands beside the latency that was measured without it",
        )
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
            self.input_size is None or min(self.input_size) >= 1,
            "--input-size",
            "x".join(map(str, self.input_size or ())),
            "height and width in pixels, 1 or more",
        )
        _check(not (self.out.exists() and not self.out.is_dir()), "-o", self.out, "a folder, not a file")

    @property
    def all_settings(self) -> tuple[Settings, ...]:
        """The settings of all cells, the first ones first."""
        return (self.settings, *self.other_settings)

    @property
    def inputs(self) -> InputsAsk:
        """The part that concerns model and data."""
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
            trust=self.trust,
        )


def _check_settings(settings: Settings) -> None:
    """What may differ between the cells of a sweep."""
    scenarios = get_args(Scenario)
    _check(settings.scenario in scenarios, "--scenario", settings.scenario, f"one of {', '.join(scenarios)}")
    _check(settings.threads >= 1, "--threads", settings.threads, "1 or more")
    _check(settings.batch_size >= 1, "--batch-size", settings.batch_size, "1 or more")
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
        not settings.official or settings.scenario in ROUNDS[settings.rules],
        "--scenario",
        settings.scenario,
        f"one of {', '.join(ROUNDS[settings.rules])}: MLPerf {settings.rules} has no other at the edge",
    )
    _check(0 < settings.target_latency_ms < inf, "--target-latency", settings.target_latency_ms, "ms above 0")
    _check(
        settings.target_qps is None or 0 < settings.target_qps < inf,
        "--target-qps",
        settings.target_qps,
        "queries per second above 0",
    )


def _check(good: bool, option: str, value: object, expected: str) -> None:
    if not good:
        raise BadInput(f"{option} {value}: expected {expected}")

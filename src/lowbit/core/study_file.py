"""A study as a file: which models, cells and settings are measured, and which published figures stand beside them."""

from dataclasses import dataclass, field, fields
from typing import Any

from lowbit.core.figure import Figure, Source
from lowbit.core.figures import Optimize
from lowbit.core.settings import Among, Round, Scenario


@dataclass(frozen=True, slots=True)
class Options:
    """What `lowbit compare` takes, under the names that `lowbit.compare` has for it; None: not said here."""

    data: str | None = None
    preprocess: str | None = None
    input_size: str | None = None
    weights: str | None = None
    trust: bool | None = None
    download: bool | None = None
    labels: str | None = None
    among: Among | None = None
    threshold: float | None = None
    calibration_samples: int | None = None
    seed: int | None = None
    limit: int | None = None
    toolchains: tuple[str, ...] | None = None
    recipes: tuple[str, ...] | None = None
    bits: tuple[int, ...] | None = None
    epochs: int | None = None
    train_samples: int | None = None
    given: tuple[str, ...] | None = None
    runtimes: tuple[str, ...] | None = None
    scenario: tuple[Scenario, ...] | None = None
    threads: tuple[int, ...] | None = None
    batch_size: tuple[int, ...] | None = None
    isa: tuple[str, ...] | None = None
    min_duration: float | None = None
    rounds: int | None = None
    official: bool | None = None
    rules: Round | None = None
    target_latency: float | None = None
    target_qps: float | None = None
    timing: bool | None = None
    profile: bool | None = None
    optimize: Optimize | None = None
    max_drop: float | None = None
    min_agreement: float | None = None
    time_limit: float | None = None

    def said(self) -> dict[str, Any]:
        """The options that are not None."""
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}


@dataclass(frozen=True, slots=True)
class Need:
    """Something that the study cannot bring along, such as trained weights.

    - name: how the file refers to it ($name), and how `--with NAME=VALUE` gives it
    - what: what it is, in a few words
    - otherwise: what is used where it is not given; empty: the option is left away; None: the models that need it are
      left out
    - then: what that means for the result, in a sentence
    """

    name: str
    what: str
    otherwise: str | None = None
    then: str = ""


@dataclass(frozen=True, slots=True)
class Part:
    """Cells of a model that are measured alike: `options` over those of the model."""

    options: Options = field(default_factory=Options)


@dataclass(frozen=True, slots=True)
class Entry:
    """A model of the study.

    - name: how figures and folders name it
    - model: as `lowbit compare` takes it
    - title: heading of its section; empty: its name
    - random_weights: whether nobody trained it, unless `weights` are given: no accuracy is printed
    - options: what all its parts have in common, over the file's defaults
    - parts: sets of cells; none: one, with the model's own options
    """

    name: str
    model: str
    title: str = ""
    random_weights: bool = False
    options: Options = field(default_factory=Options)
    parts: tuple[Part, ...] = ()


@dataclass(frozen=True, slots=True)
class StudyFile:
    """The contents of a study file.

    - title: of the page
    - about: a sentence on what the study asks
    - source: of the published figures
    - needs: what the user must give, or what is used instead
    - defaults: options of all models
    - models: what is measured, a section each
    - published: figures of others, with the cells that stand beside them
    """

    title: str
    models: tuple[Entry, ...]
    about: str = ""
    source: Source | None = None
    needs: tuple[Need, ...] = ()
    defaults: Options = field(default_factory=Options)
    published: tuple[Figure, ...] = ()

"""A finished study as data: the report draws it, and the Python API returns it."""

from dataclasses import dataclass, field

from lowbit.core.figure import Claim, Source
from lowbit.core.figures import Optimize
from lowbit.core.host import Host
from lowbit.core.model import FloatModel
from lowbit.core.peak import Peak
from lowbit.core.preprocess import Preprocess
from lowbit.core.profile import TimeSpent
from lowbit.core.row import Row
from lowbit.core.settings import Settings


@dataclass(frozen=True, slots=True)
class Reference:
    """The float model's own accuracy, always measured in ONNX Runtime: hits among `n_samples` images."""

    n_samples: int
    correct: int
    correct_top5: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which row to ship, and by which criteria.

    - row: index into the study's rows; None when no row that was measured in a runtime its file is meant for loses at
      most `max_drop`
    - optimize: the quantity that is minimized
    - max_drop: percentage points of top-1 accuracy that the row may lose
    - min_agreement: percent of images on which the row must predict the float model's class. Ignored where no row
      within `max_drop` does so.
    - tied: names of other rows that are as good: with the winner's size or memory, or with a latency that differs from
      the winner's by no more than the spread of the rounds
    """

    row: int | None
    optimize: Optimize
    max_drop: float
    min_agreement: float = 0.0
    tied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that a table or a page shows.

    - title: of the table and the page
    - model, data, preprocess, host: what was measured, and where
    - settings: how it was measured; in a sweep the first settings, among whose rows the winner is chosen
    - other_settings: all others of a sweep
    - versions: of every package that took part
    - command: the command line that repeats the study
    - created: date and time in ISO 8601, UTC
    - n_samples, calibration_samples: how many images evaluated and calibrated
    - class_names: of the data
    - among: whether a prediction is the argmax over the outputs of the "model" or over the classes of the "data"
    - reference: the float model's accuracy; None for random weights
    - rows: one per cell
    - choice: the row to ship
    - warnings: what must stand below the title (random weights, one round only)
    - threshold: of a model with one output for two classes; None for models with more outputs
    - profiles: row's name → where its time goes, of rows that were profiled
    - peaks: of this machine's matrix products, with the threads of the rows that were profiled
    """

    title: str
    model: FloatModel
    data: str
    preprocess: Preprocess
    settings: Settings
    host: Host
    versions: dict[str, str]
    command: str
    created: str
    n_samples: int
    calibration_samples: int
    class_names: tuple[str, ...]
    among: str
    reference: Reference | None
    rows: tuple[Row, ...]
    choice: Choice
    warnings: tuple[str, ...] = field(default=())
    threshold: float | None = None
    other_settings: tuple[Settings, ...] = ()
    profiles: dict[str, TimeSpent] = field(default_factory=dict)
    peaks: tuple[Peak, ...] = ()

    @property
    def all_settings(self) -> tuple[Settings, ...]:
        """The settings of all rows, the first ones first."""
        return (self.settings, *self.other_settings)


@dataclass(frozen=True, slots=True)
class SectionReport:
    """A model of a study file.

    - name, title: of the model in the file
    - notes: what was used in place of something that was not given, or why the model was not measured
    - parts: one report a set of cells that were measured alike; empty: it was not measured
    """

    name: str
    title: str
    notes: tuple[str, ...]
    parts: tuple[Report, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """What the page and the terminal show of a study file.

    - title, about, source: of the study file
    - command: the command line that repeats the run
    - sections: one per model
    - claims: published figures with what was measured here
    """

    title: str
    about: str
    source: Source | None
    command: str
    sections: tuple[SectionReport, ...]
    claims: tuple[Claim, ...]

"""A finished study as data: what the report draws and the Python API returns."""

from dataclasses import dataclass, field

from lowbit.core.figures import Optimize
from lowbit.core.host import Host
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.row import Row
from lowbit.core.settings import Settings


@dataclass(frozen=True, slots=True)
class Reference:
    """The float model's own accuracy, always computed, in ONNX Runtime: counts on `n_samples` images."""

    n_samples: int
    correct: int
    correct_top5: int | None


@dataclass(frozen=True, slots=True)
class Choice:
    """Which row to ship, and by what. `row` indexes the study's rows, None when nothing meets `max_drop` (points).

    min_agreement: percent of the images on which the winner answers as float does, unless no row that meets `max_drop`
    does so. `tied` names the rows whose latency cannot be told from the winner's by the rounds' spread.
    """

    row: int | None
    optimize: Optimize
    max_drop: float
    min_agreement: float = 0.0
    tied: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """All that a table or a page shows. `command` repeats the study; `versions` of every package that took part.

    class_names of the data; among: argmax over the outputs of the "model" or of the "data"; threshold: of a model with
    one output for two classes, None where there are more; calibration_samples: how
    many images calibrated; warnings: what must stand in the title (random weights, one round only).
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

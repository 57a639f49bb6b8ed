"""A cell of a study is a build, a runtime and settings; and how a job can end, so that every cell gets a row."""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal, TypeVar

from lowbit.core.adapter import ToolchainInfo
from lowbit.core.errors import with_remedy
from lowbit.core.outcome import Status
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings
from lowbit.core.sweep import Swept, full_name

Result = TypeVar("Result")

End = Literal["done", "unsupported", "missing", "bad-input", "failed"]

_STATUS: dict[End, Status] = {
    "done": "measured",
    "unsupported": "unsupported",
    "missing": "unsupported",
    "bad-input": "failed",
    "failed": "failed",
}


@dataclass(frozen=True, slots=True)
class Build:
    """One artifact to be made: a toolchain and one of its recipes.

    - versions: of every package that the recipe needs
    - runtimes: all runtimes that read the artifact's format, those that it is meant for first
    - batch_size: the batch size that the file is made for, where a sweep makes one file for each; None otherwise
    - given: the file that the user gives, where the toolchain takes it as it is; None otherwise
    """

    toolchain: ToolchainInfo
    recipe: Recipe
    versions: dict[str, str]
    runtimes: tuple[str, ...]
    batch_size: int | None = None
    given: Path | None = None

    @property
    def name(self) -> str:
        """The name that users see: toolchain/recipe."""
        return f"{self.toolchain.name}/{self.recipe.name}"

    @property
    def folder(self) -> str:
        """Name of the artifact's folder under artifacts/."""
        size = "" if self.batch_size is None else f"-batch{self.batch_size}"
        return f"{self.toolchain.name}-{self.recipe.name}{size}"

    @property
    def fixes_batch(self) -> bool:
        """Whether a file is made for each batch size. A given file is used as it is, whatever the size."""
        return self.given is None and self.toolchain.fixes_batch(self.recipe)

    @property
    def made_for(self) -> tuple[str, ...]:
        """The runtimes that the file is meant for."""
        return self.toolchain.runtimes_for(self.recipe)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one row measures: a build in a runtime, with settings. `swept`: the settings that the study sweeps."""

    build: Build
    runtime: str
    settings: Settings
    swept: tuple[Swept, ...] = ()

    @property
    def name(self) -> str:
        """The name that users see: toolchain/recipe@runtime, and what tells it apart in a sweep."""
        return full_name(self.plain_name, self.settings, self.swept)

    @property
    def plain_name(self) -> str:
        """toolchain/recipe@runtime, which the cells of one sweep share."""
        return f"{self.build.name}@{self.runtime}"

    @property
    def intended(self) -> bool:
        """Whether the file is meant for this runtime."""
        return self.runtime in self.build.made_for


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a cell has no result.

    - log: path, within the study, of what the job printed; None where no job ran
    """

    status: Status
    reason: str
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """How a job ended. `value` is the job's result where `end` is "done", and None otherwise.

    - done: the job succeeded
    - unsupported: the vendor cannot do it; the study keeps this outcome
    - missing: a package is not installed; the next command tries again, since it may be installed by then
    - bad-input: the user's input cannot be used
    - failed: anything else, such as a crash or an exceeded time limit
    """

    end: End
    value: Result | None = None
    reason: str = ""
    remedy: str = ""
    log: str | None = None

    @property
    def failure(self) -> Failure | None:
        """The failure that the row shows; None where the job succeeded."""
        if self.end == "done":
            return None
        return Failure(_STATUS[self.end], with_remedy(self.reason, self.remedy), self.log)

    @property
    def result(self) -> Result:
        """The value of a job that succeeded; raises ValueError for any other."""
        if self.value is None:
            raise ValueError(f"a job that ended as {self.end!r} has no result ({self.reason})")
        return self.value

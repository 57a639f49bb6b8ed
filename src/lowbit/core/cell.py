"""A cell of a study, build × runtime × settings, and how a job can end: there is never a gap."""

from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

from lowbit.core.adapter import ToolchainInfo
from lowbit.core.errors import with_remedy
from lowbit.core.outcome import Status
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings

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
    """One artifact to be made, by a recipe of a toolchain.

    versions: of every package that the recipe needs; runtimes: all that read its format, intended ones first.
    """

    toolchain: ToolchainInfo
    recipe: Recipe
    versions: dict[str, str]
    runtimes: tuple[str, ...]

    @property
    def name(self) -> str:
        """How a person calls it: toolchain/recipe."""
        return f"{self.toolchain.name}/{self.recipe.name}"

    @property
    def folder(self) -> str:
        """The folder's name under artifacts/."""
        return f"{self.toolchain.name}-{self.recipe.name}"

    @property
    def made_for(self) -> tuple[str, ...]:
        """The runtimes that the file is meant for."""
        return self.toolchain.runtimes_for(self.recipe)


@dataclass(frozen=True, slots=True)
class Cell:
    """What one row measures: a build, in a runtime, with settings."""

    build: Build
    runtime: str
    settings: Settings

    @property
    def name(self) -> str:
        """How a person calls it: toolchain/recipe@runtime."""
        return f"{self.build.name}@{self.runtime}"

    @property
    def intended(self) -> bool:
        """Whether the file is meant for this runtime."""
        return self.runtime in self.build.made_for


@dataclass(frozen=True, slots=True)
class Failure:
    """Why there is no result. log: what the job printed, as a path within the study; None where no job ran."""

    status: Status
    reason: str
    log: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome(Generic[Result]):
    """How a job ended. `value` is what it found where `end` is done, and None everywhere else.

    unsupported: a vendor's limit, which is kept; missing: a package that is not installed, which may be by the next
    command; bad-input: what the user gave cannot be used; failed: anything else, a crash or a time limit.
    """

    end: End
    value: Result | None = None
    reason: str = ""
    remedy: str = ""
    log: str | None = None

    @property
    def failure(self) -> Failure | None:
        """What a row says of it; None where the job was done."""
        if self.end == "done":
            return None
        return Failure(_STATUS[self.end], with_remedy(self.reason, self.remedy), self.log)

    @property
    def result(self) -> Result:
        """The value of a job that was done."""
        if self.value is None:
            raise ValueError(f"a job that ended as {self.end!r} has no result ({self.reason})")
        return self.value


AnyOutcome = Outcome[Any]

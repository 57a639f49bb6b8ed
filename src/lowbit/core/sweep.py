"""Sweeps: which settings may differ between the cells of one study, and how their rows are told apart."""

from collections.abc import Sequence
from typing import Literal, Protocol, TypeVar

Swept = Literal["scenario", "isa", "batch_size", "threads"]

SWEEPABLE: tuple[Swept, ...] = ("scenario", "isa", "batch_size", "threads")  # in the order in which names list them


class Measured(Protocol):
    """What settings and rows have in common: how something is measured."""

    @property
    def scenario(self) -> str:
        """MLPerf LoadGen's scenario."""
        ...

    @property
    def isa(self) -> str | None:
        """The instruction set that the runtime is limited to; None: whatever the processor has."""
        ...

    @property
    def batch_size(self) -> int:
        """Images in one call."""
        ...

    @property
    def threads(self) -> int:
        """Threads of one session."""
        ...


M = TypeVar("M", bound=Measured)


def group(measured: Measured) -> tuple[str, str | None, int, int]:
    """What must be equal for two rows to be compared with each other."""
    return measured.scenario, measured.isa, measured.batch_size, measured.threads


def swept_in(settings: Sequence[Measured]) -> tuple[Swept, ...]:
    """The settings that differ among these; none where there is only one."""
    return tuple(name for name in SWEEPABLE if len({getattr(one, name) for one in settings}) > 1)


def values_of(name: Swept, settings: Sequence[Measured]) -> tuple[str | int | None, ...]:
    """The values of one setting, each once, in the order in which they come."""
    return tuple(dict.fromkeys(getattr(one, name) for one in settings))


def setting(name: Swept, measured: Measured) -> str:
    """One setting as a name contains it: "batch 8", "2 threads", "avx2"."""
    if name == "batch_size":
        return f"batch {measured.batch_size}"
    if name == "threads":
        return f"{measured.threads} thread" if measured.threads == 1 else f"{measured.threads} threads"
    return measured.scenario if name == "scenario" else measured.isa or "no limit"


def told_apart(measured: Measured, swept: Sequence[Swept]) -> str:
    """The settings that are swept, as they stand in a row's name: "batch 8, 2 threads"; empty where nothing is."""
    return ", ".join(setting(name, measured) for name in swept)


def full_name(plain: str, measured: Measured, swept: Sequence[Swept]) -> str:
    """`plain` (toolchain/recipe@runtime) with what tells it apart in a sweep: "… [batch 8, 2 threads]"."""
    told = told_apart(measured, swept)
    return f"{plain} [{told}]" if told else plain

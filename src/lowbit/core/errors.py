"""The errors of lowbit, by who must act: the user (BadInput), nobody (UnsupportedError: a vendor's limit), or us."""

from pathlib import Path


class LowbitError(Exception):
    """Base of every error that lowbit raises on purpose."""


class BadInput(LowbitError):  # noqa: N818 - it is the user's input that is bad, not the program
    """The user's input cannot be used: the message says the value, what was expected and what to do. Exit code 2."""


class UnsupportedError(LowbitError):
    """This toolchain or runtime cannot do what was asked.

    - reason: the vendor's own words
    - remedy: what the user may do about it; empty where there is nothing
    """

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(with_remedy(reason, remedy))
        self.reason = reason
        self.remedy = remedy


class MissingPackage(UnsupportedError):  # noqa: N818 - the package is missing
    """A package is not installed. The user may install it at any time, so a study never keeps this outcome."""


class MeasurementError(LowbitError):
    """A model ran but cannot be measured: NaN outputs, constant outputs, or an unfinished LoadGen run."""


class JobError(LowbitError):
    """A job failed whose result the whole command needs. `log` is the file with what its process printed."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


class DamagedFile(LowbitError):  # noqa: N818 - the file is damaged
    """A file that lowbit wrote cannot be read: it was cut off, edited, or written by another version."""


class WrongField(LowbitError):  # noqa: N818 - the field is wrong
    """A field of plain data does not have its declared type, or should not be there.

    - path: names the field: `layers[3].format.bits`; of a field that should not be there, what holds it
    - problem: what is wrong with it
    - extra: names of fields that should not be there
    """

    def __init__(self, path: str, problem: str, extra: tuple[str, ...] = ()) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem
        self.extra = extra


def with_remedy(reason: str, remedy: str) -> str:
    """The reason, followed by the remedy where there is one, on one line."""
    return f"{reason}: {remedy}" if remedy else reason

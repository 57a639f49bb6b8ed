"""What can go wrong, by who must act: the user (BadInput), a vendor's limits (UnsupportedError), or a broken run."""

from pathlib import Path


class LowbitError(Exception):
    """Base of every error that lowbit raises on purpose."""


class BadInput(LowbitError):  # noqa: N818 - it is the user's input that is bad, not the program
    """The user's input cannot be used: the message says the value, what was expected and what to do. Exit code 2."""


class UnsupportedError(LowbitError):
    """This toolchain or runtime cannot do that: `reason` in the vendor's own words, `remedy` what the user may do."""

    def __init__(self, reason: str, remedy: str = "") -> None:
        super().__init__(with_remedy(reason, remedy))
        self.reason = reason
        self.remedy = remedy


class MissingPackage(UnsupportedError):  # noqa: N818 - the package is missing
    """A package that is not installed: true at this moment only, so this outcome is never kept."""


class MeasurementError(LowbitError):
    """A model loaded but what it did cannot be counted: NaN outputs, constant outputs, an unfinished LoadGen run."""


class JobError(LowbitError):
    """A job without which nothing goes on has failed; `log` is the file that holds what its process printed."""

    def __init__(self, message: str, log: Path) -> None:
        super().__init__(message)
        self.log = log


class DamagedFile(LowbitError):  # noqa: N818 - the file is damaged
    """A file that lowbit wrote is not what it was: cut off, edited, or of another version."""


class WrongField(LowbitError):  # noqa: N818 - the field is wrong
    """Plain data in which one field is not what its class declares. `path`: where, `layers[3].format.bits`."""

    def __init__(self, path: str, problem: str) -> None:
        super().__init__(f"{path}: {problem}" if path else problem)
        self.path = path
        self.problem = problem


def with_remedy(reason: str, remedy: str) -> str:
    """One line: the reason and, where there is one, what to do."""
    return f"{reason}: {remedy}" if remedy else reason

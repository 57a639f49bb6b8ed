"""`lowbit`: find the command, run it, turn errors into one clear message and an exit status.

0 done; 1 a gate was not met; 2 bad input; 3 done, but a cell failed in a runtime it was made for; 70 a crash of ours or
a job that failed; 130 interrupted.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lowbit import __version__
from lowbit.cli import compare, diff, doctor, inspect, profile, quantize, report, run
from lowbit.cli.crash import crash_message
from lowbit.core.errors import BadInput
from lowbit.core.text import one_line

_COMMANDS = (compare, run, quantize, inspect, profile, diff, report, doctor)
_BAD_INPUT, _CRASH, _INTERRUPTED = 2, 70, 130
_DISK_FULL = (errno.ENOSPC, errno.EDQUOT)
_OF_A_PATH = (
    errno.EACCES, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT, errno.ENOTDIR, errno.EPERM, errno.EROFS,
)  # fmt: skip


class Parser(argparse.ArgumentParser):
    """A parser that takes no abbreviated options, so that a new option breaks nobody's script.

    The parsers of commands are of this class too.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__(**options, allow_abbrev=False)


def parser() -> argparse.ArgumentParser:
    """The whole command line; each command's module adds its own part."""
    root = Parser(
        prog="lowbit",
        description="Every quantized version of an image classifier, measured on every runtime that can read it.",
    )
    root.add_argument("--version", action="version", version=f"lowbit {__version__}")
    commands = root.add_subparsers(metavar="COMMAND", required=True)
    for command in _COMMANDS:
        command.add_to(commands)
    return root


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except BadInput as error:
        return _say(str(error), _BAD_INPUT)
    except KeyboardInterrupt:
        kept = options.run in (compare.run, run.run) or getattr(options, "cache", None) is not None
        goes_on = "; everything finished is kept, and the same command goes on from there" if kept else ""
        return _say(f"interrupted{goes_on}", _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: `lowbit … | head`
        return 0
    except Exception as error:  # noqa: BLE001 - the boundary of the command: all ends as one sentence
        if isinstance(error, OSError) and error.errno in _DISK_FULL:
            place = error.filename or "the study's folder"
            return _say(f"{place}: no space left on the disk; free some and give the same command again", _BAD_INPUT)
        if isinstance(error, OSError) and error.errno in _OF_A_PATH and _is_the_users(error.filename, options):
            return _say(f"{error.filename}: {error.strerror}; check the path and its rights", _BAD_INPUT)
        return _say(crash_message(error, arguments), _CRASH)


def _is_the_users(filename: object, options: argparse.Namespace) -> bool:
    """Whether a path is one that the command line names, or lies below one. Others are ours, or the system's."""
    if not isinstance(filename, str | os.PathLike):
        return False
    path = Path(filename).absolute()
    given = [
        Path(value).absolute() for value in vars(options).values() if isinstance(value, str | os.PathLike) and value
    ]
    return any(path.is_relative_to(place) for place in given)


def _say(message: str, status: int) -> int:
    print(f"lowbit: {one_line(message)}", file=sys.stderr)
    return status

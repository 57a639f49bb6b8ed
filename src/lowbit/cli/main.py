"""`lowbit`: find the command, run it, turn errors into one clear message and an exit status.

0 done; 1 a gate was not met; 2 bad input; 3 done, but a cell failed in a runtime it was made for; 130 interrupted.
"""

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from lowbit import __version__
from lowbit.cli import compare, doctor, inspect, quantize, report
from lowbit.core.errors import LowbitError
from lowbit.core.text import one_line

_COMMANDS = (compare, quantize, inspect, report, doctor)
_BAD_INPUT, _INTERRUPTED = 2, 130


def parser() -> argparse.ArgumentParser:
    """The whole command line; each command's module adds its own part."""
    root = argparse.ArgumentParser(
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
    options = parser().parse_args(arguments)
    try:
        status: int = options.run(options)
        sys.stdout.flush()
        return status
    except LowbitError as error:
        return _say(str(error), _BAD_INPUT)
    except KeyboardInterrupt:
        kept = options.run is compare.run or getattr(options, "cache", None) is not None
        goes_on = "; everything finished is kept, and the same command goes on from there" if kept else ""
        return _say(f"interrupted{goes_on}", _INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nobody reads on: `lowbit … | head`
        return 0
    except OSError as error:
        if error.errno == errno.ENOSPC:
            place = error.filename or "the study's folder"
            return _say(f"{place}: no space left on the disk; free some and give the same command again", _BAD_INPUT)
        return _say(
            f"{error.filename or 'a file'}: {error.strerror or error}; check the path and its rights", _BAD_INPUT
        )


def _say(message: str, status: int) -> int:
    print(f"lowbit: {one_line(message)}", file=sys.stderr)
    return status

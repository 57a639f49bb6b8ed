"""The message for a failure that is not the user's fault, and the file with the full traceback."""

import shlex
import sys
import tempfile
import traceback
from collections.abc import Sequence

from lowbit import __version__
from lowbit.core.errors import JobError, LowbitError


def crash_message(error: BaseException, arguments: Sequence[str]) -> str:
    """One sentence on what went wrong, with the name of the file that the traceback was written to."""
    cause = " ".join(str(error).split())
    if isinstance(error, JobError):
        return f"{cause}; its log is {error.log}"
    if not isinstance(error, LowbitError):
        cause = f"lowbit crashed: {type(error).__name__}{': ' if cause else ''}{cause}"
    return f"{cause}; the traceback is in {_write_traceback(error, arguments)}"


def _write_traceback(error: BaseException, arguments: Sequence[str]) -> str:
    """The new file's name; where none can be written, the traceback goes to standard error."""
    story = (
        f"lowbit {__version__}, Python {sys.version.split()[0]}: {shlex.join(['lowbit', *arguments])}\n\n"
        f"{''.join(traceback.format_exception(error))}"
    )
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="lowbit-crash-", suffix=".log", delete=False, encoding="utf-8", errors="replace"
        ) as file:
            file.write(story)
        return file.name
    except OSError:
        sys.stderr.write(story)
        return "the lines above"

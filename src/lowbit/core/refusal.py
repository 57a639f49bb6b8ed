"""What a vendor raised: a refusal in its own words, or something that may end otherwise next time."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lowbit.core.errors import LowbitError, UnsupportedError
from lowbit.core.text import shortened

_OUT_OF_MEMORY = re.compile(
    r"bad_alloc|failed to allocate memory|out of memory|(can't|cannot) allocate memory|not enough memory", re.IGNORECASE
)


@contextmanager
def vendor_call(
    what: str, file: Path, remedy: str = "", errors: tuple[type[Exception], ...] = (Exception,)
) -> Iterator[None]:
    """Around a vendor's own call over `file`, and nothing else: what it raises out of `errors` is a `refusal`.

    What code of ours raises is no refusal but a fault, and must be raised outside of it.
    """
    try:
        yield
    except errors as error:
        raise refusal(what, error, file, remedy) from error


def refusal(what: str, error: Exception, file: Path, remedy: str = "") -> UnsupportedError:
    """What to raise for an `error` that a vendor raised over `file`; `what` begins the reason: "X cannot load it".

    A refusal is kept for good, so errors that are no refusal are raised by this function instead: lowbit's own errors
    and MemoryError as they are, OSError where `file` cannot be read, and MemoryError where the vendor's message says
    that memory ran out.
    """
    if isinstance(error, LowbitError | MemoryError | OSError):
        raise error
    file.open("rb").close()  # vendors say in many ways that a file is not there, Python in one
    if _OUT_OF_MEMORY.search(str(error)):
        raise MemoryError(_own_words(error, file)) from error
    return UnsupportedError(f"{what}: {_own_words(error, file)}", remedy)


def _own_words(error: Exception, file: Path) -> str:
    """The message on one line, without the places in the vendor's source, and with `file` by its name.

    A person reads it in a table, and passes the table on: where the file lay is nobody's business.
    """
    lines = [line.strip() for line in str(error).replace(str(file), file.name).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from ", "Check '"))] or lines
    return shortened(" ".join(telling)) or type(error).__name__

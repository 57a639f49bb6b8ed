"""Sorts what a vendor's package raises: a permanent refusal, or an error that may not occur again."""

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
    """Wrap one call of a vendor's package that works on `file`: exceptions of the types in `errors` become a `refusal`.

    Keep our own code outside the block: what it raises is a fault of ours and no refusal.
    """
    try:
        yield
    except errors as error:
        raise refusal(what, error, file, remedy) from error


def refusal(what: str, error: Exception, file: Path, remedy: str = "") -> UnsupportedError:
    """The UnsupportedError for an `error` that a vendor's package raised over `file`; `what` begins its reason.

    A study keeps a refusal and does not try again. So some errors do not count as refusals and are raised from here:
    lowbit's own errors, MemoryError and OSError unchanged; OSError where `file` cannot be read; and MemoryError where
    the vendor's message says that memory ran out.
    """
    if isinstance(error, LowbitError | MemoryError | OSError):
        raise error
    file.open("rb").close()  # a missing file raises Python's own OSError here, instead of one of many vendors' errors
    if _OUT_OF_MEMORY.search(str(error)):
        raise MemoryError(_own_words(error, file)) from error
    return UnsupportedError(f"{what}: {_own_words(error, file)}", remedy)


def _own_words(error: Exception, file: Path) -> str:
    """The vendor's message on one line, without places in the vendor's source, and with the name of `file` only.

    The message is shown in tables that users pass on, so the full path on this machine is left out.
    """
    lines = [line.strip() for line in str(error).replace(str(file), file.name).splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("Exception from ", "Check '"))] or lines
    return shortened(" ".join(telling)) or type(error).__name__

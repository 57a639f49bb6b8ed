"""Puts messages of vendors on one line: they contain line breaks, colours and indentation."""

from textwrap import shorten

_LONGEST = 300  # characters of a message; the log holds the whole of it


def one_line(text: str, limit: int = 0) -> str:
    """`text` without line breaks and control characters, cut to `limit` characters where that is not 0."""
    flat = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    return flat if not limit or len(flat) <= limit else flat[: limit - 1] + "…"


def shortened(text: str) -> str:
    """`text` on one line of about 300 characters, cut between words."""
    return shorten(one_line(text), _LONGEST, placeholder=" …")


def said(error: BaseException) -> str:
    """The exception's message on one line of at most 300 characters; the name of its class where there is none."""
    return shortened(str(error)) or type(error).__name__


def kind_and_said(error: BaseException) -> str:
    """The exception's class and its message, if any, on one line: "ValueError: no such axis"."""
    text = shortened(str(error))
    return f"{type(error).__name__}: {text}" if text else type(error).__name__

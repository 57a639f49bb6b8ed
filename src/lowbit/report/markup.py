"""HTML that is safe by construction: every text is escaped unless `el` made it."""

from collections.abc import Iterable
from html import escape


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


_VOID = frozenset({"circle", "line", "path", "rect", "br", "meta"})


def el(tag: str, *content: str, **attributes: str | float | bool | None) -> Markup:
    """One element. Python's `class_` and `data_row` become `class` and `data-row`; None and False leave one out.

    >>> el("b", "1 < 2", class_="note")
    '<b class="note">1 &lt; 2</b>'
    """
    written = "".join(_attribute(name, value) for name, value in attributes.items())
    if tag in _VOID and not content:
        return Markup(f"<{tag}{written}/>")
    return Markup(f"<{tag}{written}>{join(content)}</{tag}>")


def join(parts: Iterable[str]) -> Markup:
    """`parts` one after the other, escaped where they are not markup."""
    return Markup("".join(part if isinstance(part, Markup) else escape(part) for part in parts))


def _attribute(name: str, value: str | float | bool | None) -> str:
    if value is None or value is False:
        return ""
    plain = name.rstrip("_").replace("_", "-")
    if value is True:
        return f" {plain}"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return f' {plain}="{escape(text)}"'

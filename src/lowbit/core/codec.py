"""Converts dataclasses to JSON and back. Data crosses processes in no other form.

Reading is strict, because people edit these files by hand: a field accepts only values of its declared type. "false" is
not accepted as a bool, 4.9 not as an int, and a string not as a list of letters. The one exception: a whole number is
accepted as a float.
"""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeVar, get_args, get_origin

from cattrs import AttributeValidationNote, IterableValidationNote
from cattrs.errors import BaseValidationError, ClassValidationError, ForbiddenExtraKeysError, IterableValidationError
from cattrs.preconf.json import JsonConverter, make_converter

from lowbit.core.errors import DamagedFile, LowbitError, WrongField
from lowbit.core.files import write_text
from lowbit.core.preprocess import Crop, Resize

T = TypeVar("T")
_Hook = Callable[[Any, Any], Any]


@cache
def _converter() -> JsonConverter:
    converter = make_converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda value, _: Path(_of_type(value, "a text", str)))
    converter.register_structure_hook(str, lambda value, _: _of_type(value, "a text", str))
    converter.register_structure_hook(bool, lambda value, _: _of_type(value, "true or false", bool))
    converter.register_structure_hook(int, lambda value, _: _of_type(value, "a whole number", int))
    converter.register_structure_hook(float, lambda value, _: float(_of_type(value, "a number", int, float)))
    converter.register_structure_hook_func(_comes_from(Literal), _one_of)
    entries: _Hook = converter.get_structure_hook(tuple[str, ...])
    for sides in (Resize, Crop):  # a side or a pair of sides: the value's own type decides
        converter.register_structure_hook(sides, _sides)
    converter.register_structure_hook_func(
        _comes_from(tuple),
        lambda value, kind: entries(_of_type(value, "a list", list, tuple), kind),
    )
    return converter


def _sides(value: Any, _: Any) -> Any:
    """A side in pixels, a pair of them, or None."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(_sides(item, _) for item in value)
    return None if value is None else _of_type(value, "a side in pixels, two of them or null", int)


def _comes_from(generic: Any) -> Callable[[Any], bool]:
    """Whether a type is `generic[…]`."""

    def matches(kind: Any) -> bool:
        origin: Any = get_origin(kind)
        return origin is generic

    return matches


def _of_type(value: Any, expected: str, *types: type) -> Any:
    """`value`, if it is of one of these types; ValueError otherwise. A bool does not count as an int."""
    if not isinstance(value, types) or (isinstance(value, bool) and bool not in types):
        raise ValueError(f"{value!r}, expected {expected}")
    return value


def _one_of(value: Any, kind: Any) -> Any:
    choices = get_args(kind)
    if not any(value == choice and type(value) is type(choice) for choice in choices):
        raise ValueError(f"{value!r}, expected {' or '.join(map(repr, choices))}")
    return value


def to_plain(value: Any) -> Any:
    """`value` as dicts, lists, strings, numbers and None."""
    return _converter().unstructure(value)


def from_plain(cls: type[T], plain: Any) -> T:
    """The `cls` that `plain` describes. WrongField names the first wrong field and what was expected there."""
    try:
        return _converter().structure(plain, cls)
    except (BaseValidationError, AttributeError, TypeError, ValueError, LowbitError) as error:
        path, cause = _first_cause(error)
        extra = tuple(sorted(cause.extra_fields)) if isinstance(cause, ForbiddenExtraKeysError) else ()
        raise WrongField(path, _said(cause), extra) from error


def _first_cause(error: BaseException) -> tuple[str, BaseException]:
    """The path of the first wrong field, such as `layers[3].format.bits`, and the error raised for it."""
    path = ""
    while isinstance(error, ClassValidationError | IterableValidationError) and error.exceptions:
        # A key that is misspelt is missing too: what stands there says more than what does not.
        misspelt = (each for each in error.exceptions if isinstance(each, ForbiddenExtraKeysError))
        error = next(misspelt, error.exceptions[0])
        for note in getattr(error, "__notes__", ()):
            if isinstance(note, IterableValidationNote):
                path += f"[{note.index!r}]"
            elif isinstance(note, AttributeValidationNote):
                path += f".{note.name}" if path else note.name
    return path, error


def _said(cause: BaseException) -> str:
    if isinstance(cause, KeyError):
        return "missing"
    if isinstance(cause, ForbiddenExtraKeysError):
        return f"no field is called {' or '.join(map(repr, sorted(cause.extra_fields)))}"
    if isinstance(cause, AttributeError | TypeError):  # cattrs asks whatever it gets for its items
        return "expected an object, that is fields in braces"
    return str(cause)


def save_json(path: Path, value: Any) -> None:
    """Write `value` as indented JSON: to a temporary file first, which is then renamed."""
    write_text(path, json.dumps(to_plain(value), indent=1, allow_nan=False) + "\n")


def load_json(cls: type[T], path: Path) -> T:
    """Read a file that `save_json` wrote. Raises DamagedFile where its contents do not describe a `cls`."""
    try:
        return from_plain(cls, json.loads(path.read_text()))
    except (ValueError, WrongField) as error:
        raise DamagedFile(
            f"{path}: no longer a whole {cls.__name__} as this version of lowbit writes it ({error})"
        ) from error

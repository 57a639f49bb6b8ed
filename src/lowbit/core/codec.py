"""Dataclasses to JSON and back, the only form in which data crosses processes."""

import json
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from cattrs.errors import BaseValidationError
from cattrs.preconf.json import JsonConverter, make_converter

from lowbit.core.errors import DamagedFile
from lowbit.core.files import write_text
from lowbit.core.preprocess import Crop, Resize

T = TypeVar("T")


@cache
def _converter() -> JsonConverter:
    converter = make_converter(forbid_extra_keys=True)
    converter.register_unstructure_hook(Path, str)
    converter.register_structure_hook(Path, lambda value, _: Path(value))
    for sides in (Resize, Crop):  # one side or two: told by what lies there
        converter.register_structure_hook(sides, _sides)
    return converter


def _sides(value: Any, _: Any) -> Any:
    """A side in pixels, a pair of them, or None."""
    if isinstance(value, list | tuple) and len(value) == 2:
        return tuple(_sides(item, _) for item in value)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise ValueError(f"{value!r}: a side in pixels, two of them or null was expected")


def to_plain(value: Any) -> Any:
    """`value` as dicts, lists, strings, numbers and None."""
    return _converter().unstructure(value)


def from_plain(cls: type[T], plain: Any) -> T:
    """The `cls` that `plain` describes; raises cattrs' ClassValidationError when it does not."""
    return _converter().structure(plain, cls)


def save_json(path: Path, value: Any) -> None:
    """Write `value` as readable JSON, aside and renamed."""
    write_text(path, json.dumps(to_plain(value), indent=1, allow_nan=False) + "\n")


def load_json(cls: type[T], path: Path) -> T:
    """Read what `save_json` wrote; raises DamagedFile where that no longer is what lies there."""
    try:
        return from_plain(cls, json.loads(path.read_text()))
    except (ValueError, BaseValidationError) as error:
        raise DamagedFile(f"{path}: no longer a whole {cls.__name__} as this version of lowbit writes it") from error

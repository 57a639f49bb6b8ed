"""Dataclasses from JSON: strict types, and the path of the field that is wrong."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from lowbit.core.codec import from_plain, load_json, save_json, to_plain
from lowbit.core.errors import BadInput, DamagedFile, WrongField


@dataclass(frozen=True, slots=True)
class Part:
    """Every kind of field."""

    bits: int
    signed: bool = False
    scale: float = 1.0
    method: Literal["mse", "min-max"] = "mse"
    limits: tuple[float, float] | None = None
    names: tuple[str, ...] = ()
    counts: dict[str, int] = field(default_factory=dict)
    path: Path | None = None

    def __post_init__(self) -> None:
        if self.bits > 8:
            raise BadInput(f"{self.bits} bits: expected 8 or fewer")


@dataclass(frozen=True, slots=True)
class Whole:
    """Parts, and what has no type."""

    parts: tuple[Part, ...]
    options: dict[str, Any] = field(default_factory=dict)


def test_what_was_saved_comes_back(tmp_path: Path) -> None:
    part = Part(4, True, 0.5, "min-max", (0.0, 1.5), ("a", "b"), {"c": 3}, Path("d"))
    whole = Whole((part, Part(2)), {"layers": [1, 2.5, None, {"x": True}]})
    assert from_plain(Whole, to_plain(whole)) == whole
    save_json(tmp_path / "whole.json", whole)
    assert load_json(Whole, tmp_path / "whole.json") == whole


def test_a_whole_number_is_a_float_too() -> None:
    found = from_plain(Part, {"bits": 4, "scale": 2, "limits": [0, 1]})
    assert (found.scale, found.limits) == (2.0, (0.0, 1.0))
    assert type(found.scale) is float


@pytest.mark.parametrize(("change", "says"), [
    ({"bits": 4.9}, "parts[1].bits: 4.9, expected a whole number"),
    ({"bits": 4.0}, "parts[1].bits: 4.0, expected a whole number"),
    ({"bits": "4"}, "parts[1].bits: '4', expected a whole number"),
    ({"bits": True}, "parts[1].bits: True, expected a whole number"),
    ({"bits": None}, "parts[1].bits: None, expected a whole number"),
    ({"bits": 9}, "parts[1]: 9 bits: expected 8 or fewer"),
    ({"signed": "false"}, "parts[1].signed: 'false', expected true or false"),
    ({"signed": 0}, "parts[1].signed: 0, expected true or false"),
    ({"scale": "1.5"}, "parts[1].scale: '1.5', expected a number"),
    ({"scale": True}, "parts[1].scale: True, expected a number"),
    ({"method": "max"}, "parts[1].method: 'max', expected 'mse' or 'min-max'"),
    ({"limits": [0, "1"]}, "parts[1].limits[1]: '1', expected a number"),
    ({"limits": "01"}, "parts[1].limits: '01', expected a list"),
    ({"names": "ab"}, "parts[1].names: 'ab', expected a list"),
    ({"names": ["a", 3]}, "parts[1].names[1]: 3, expected a text"),
    ({"counts": {"c": "3"}}, "parts[1].counts['c']: '3', expected a whole number"),
    ({"path": 3}, "parts[1].path: 3, expected a text"),
    ({"colour": "red"}, "parts[1]: no field is called 'colour'"),
])  # fmt: skip
def test_a_wrong_field_is_named_with_its_path(change: dict[str, Any], says: str) -> None:
    with pytest.raises(WrongField) as caught:
        from_plain(Whole, {"parts": [{"bits": 2}, {"bits": 4} | change]})
    assert str(caught.value) == says


@pytest.mark.parametrize(("plain", "says"), [
    ({}, "parts: missing"), ({"parts": 3}, "parts: 3, expected a list"), ({"parts": [3]}, "parts[0]: expected"),
    ([], "expected an object"), (3, "expected an object"), (None, "expected an object"), ("x", "expected an object"),
])  # fmt: skip
def test_what_has_another_shape_is_refused(plain: Any, says: str) -> None:
    with pytest.raises(WrongField) as caught:
        from_plain(Whole, plain)
    assert str(caught.value).startswith(says)


def test_a_damaged_file_says_which_field_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "whole.json"
    path.write_text(json.dumps({"parts": [{"bits": "4"}]}))
    with pytest.raises(DamagedFile, match=r"whole.json: no longer a whole Whole .*parts.0..bits: '4', expected"):
        load_json(Whole, path)
    path.write_text("[]")
    with pytest.raises(DamagedFile, match="expected an object"):
        load_json(Whole, path)

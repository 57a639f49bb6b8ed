"""How a user declares preprocessing: `NAME[,key=value...]` or a YAML file of the same keys.

| name        | what it is                                                                                          |
|-------------|-----------------------------------------------------------------------------------------------------|
| imagenet    | shorter side 256, centre crop 224, 0..1, ImageNet's mean and std (torchvision, most of timm)        |
| imagenet-tf | the same crop, -1..1 (TensorFlow's and Google's models)                                             |
| cifar10     | no resizing, 0..1, CIFAR-10's mean and std                                                          |
| unit        | no resizing, 0..1                                                                                   |
| raw         | no resizing, 0..255                                                                                 |
| keras-tf    | no resizing, -1..1; these three are modes of `preprocess_input` in Keras Applications               |
| keras-caffe | no resizing, BGR, ImageNet's mean subtracted from 0..255                                            |
| keras-torch | no resizing, 0..1, ImageNet's mean and std                                                          |

Two sides are written as HEIGHTxWIDTH: `unit,resize=48x192`. docs/guide.md has a line for each recipe in common use.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, get_args

import yaml

from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Channels, Crop, CropRounding, Interpolation, Preprocess, Resize
from lowbit.core.text import said

_GENERAL = (
    Preprocess("imagenet", resize=256, crop=224, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
    Preprocess("imagenet-tf", resize=256, crop=224, mean=(0.5,), std=(0.5,)),
    Preprocess("cifar10", mean=(0.4914, 0.4822, 0.4465), std=(0.2470, 0.2435, 0.2616)),
    Preprocess("unit"),
    Preprocess("raw", scale=1.0),
)
_OF_KERAS = (  # the modes of its `preprocess_input`, which leave the size to others
    Preprocess("keras-tf", mean=(0.5,), std=(0.5,)),
    Preprocess("keras-caffe", scale=1.0, mean=(103.939, 116.779, 123.68), channels="bgr"),
    Preprocess("keras-torch", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
)
PRESETS = {preset.name: preset for preset in (*_GENERAL, *_OF_KERAS)}
_NO_SIDE = ("none", "null", "~")  # the last two are YAML's words for it
_SIDES = ("resize", "crop")  # keys whose two values are height and width
_LARGEST_SIDE = 8192  # pixels; more is a slip of the finger, and would fill the memory before anyone is told


def parse(text: str) -> Preprocess:
    """The preprocessing that `text` declares; raises BadInput with the choices for a wrong name, key or value.

    Its `name` says the same in the shortest form, so that two declarations of one thing are equal:

    >>> parse("imagenet,crop=224,resize=none").name
    'imagenet,resize=none'
    """
    if Path(text).suffix.lower() in (".yaml", ".yml"):
        name, changes = _read_yaml(Path(text))
    else:
        name, *pairs = (part.strip() for part in text.split(","))
        changes = dict(_pairs(pairs, text))
    if name not in PRESETS:
        raise BadInput(
            f"preprocessing {text!r}: {name!r} is none of {', '.join(PRESETS)}; "
            "say NAME[,key=value...] or give a .yaml file"
        )
    return _changed(PRESETS[name], changes, text)


def named(preprocess: Preprocess) -> Preprocess:
    """The same preprocessing under the shortest name that `parse` reads back and that is no framework's.

    >>> named(Preprocess("", resize=248, crop=224, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))).name
    'imagenet-tf,resize=248'
    """
    mean, std = (values[:1] if len(set(values)) == 1 else tuple(values) for values in (preprocess.mean, preprocess.std))
    plain = replace(preprocess, mean=mean, std=std)
    return replace(plain, name=min((_canonical(preset, plain) for preset in _GENERAL), key=len))


def _pairs(parts: Iterable[str], text: str) -> Iterable[tuple[str, str]]:
    seen = set()
    for part in parts:
        key, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise BadInput(f"preprocessing {text!r}: {part!r} is not key=value (keys: {', '.join(_READERS)})")
        if key in seen:
            raise BadInput(f"preprocessing {text!r}: {key} stands there twice; say it once")
        seen.add(key)
        yield key, value


def _read_yaml(path: Path) -> tuple[str, dict[str, Any]]:
    """The preset's name (`unit` when the file names none) and what the file changes in it.

    Scalars stay text, as on the command line: YAML would make a date of 2020-01-01 and 3,723 of 1:2:3.
    """
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), yaml.BaseLoader)
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"preprocessing file {path}: cannot be read ({said(error)})") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise BadInput(f"preprocessing file {path}: not YAML ({said(error)})") from error
    if not isinstance(content, dict):
        raise BadInput(
            f"preprocessing file {path}: lines of `key: value` were expected (keys: name, {', '.join(_READERS)})"
        )
    name = content.pop("name", "unit")
    return str(name), {str(key): value for key, value in content.items()}


def _changed(preset: Preprocess, changes: dict[str, Any], text: str) -> Preprocess:
    values: dict[str, Any] = {}
    for key, value in changes.items():
        if key not in _READERS:
            raise BadInput(f"preprocessing {text!r}: no key {key!r}; the keys are {', '.join(_READERS)}")
        reader, expected = _READERS[key]
        try:
            values[key] = reader(value)
        except (ValueError, ZeroDivisionError) as error:
            raise BadInput(f"preprocessing {text!r}: {key}={value!r} was given, {expected} expected") from error
    changed = replace(preset, **values)
    channels = 1 if changed.channels == "grey" else 3
    if changed.letterbox is not None and not isinstance(changed.resize, tuple):
        raise BadInput(
            f"preprocessing {text!r}: letterbox fills the rest of a rectangle, but resize={changed.resize or 'none'}; "
            "give resize=HEIGHTxWIDTH, as in resize=640x640,letterbox=114"
        )
    for key in ("mean", "std", "letterbox"):
        count = len(getattr(changed, key) or (0,))
        if count not in (1, channels):
            raise BadInput(
                f"preprocessing {text!r}: {key} has {count} values, but channels={changed.channels} has {channels}; "
                f"give {key} one value, or one a channel"
            )
    return replace(changed, name=_canonical(preset, changed))


def _canonical(preset: Preprocess, changed: Preprocess) -> str:
    """The preset's name and what differs from it, in the order of the fields: `parse` reads it back."""
    differences = [
        f"{field.name}={_as_text(field.name, getattr(changed, field.name))}"
        for field in fields(Preprocess)
        if field.name in _READERS and getattr(changed, field.name) != getattr(preset, field.name)
    ]
    return ",".join([preset.name, *differences])


def _as_text(key: str, value: Any) -> str:
    if isinstance(value, tuple):
        return ("x" if key in _SIDES else ":").join("none" if item is None else repr(item) for item in value)
    return "none" if value is None else str(value)


def _resize(value: Any) -> Resize:
    sides = _sides(value)
    if len(sides) == 1:
        return sides[0]
    if sides[0] is None or sides[1] is None:
        raise ValueError(value)
    return sides[0], sides[1]


def _crop(value: Any) -> Crop:
    """A square that is written as a rectangle is the same square; a rectangle without sides is no crop."""
    first, *others = _sides(value)
    return first if not others or others == [first] else (first, others[0])


def _sides(value: Any) -> list[int | None]:
    """One side, or height and width with an x between."""
    if not isinstance(value, str):
        raise ValueError(value)
    sides = [_side(part.strip()) for part in value.lower().split("x")]
    if len(sides) > 2:
        raise ValueError(value)
    return sides


def _side(text: str) -> int | None:
    if text in _NO_SIDE:
        return None
    side = int(text)
    if not 1 <= side <= _LARGEST_SIDE:
        raise ValueError(side)
    return side


def _fill(value: Any) -> tuple[int, ...] | None:
    """Values from 0 to 255 with colons between, or none."""
    if isinstance(value, str) and value.lower() in _NO_SIDE:
        return None
    fill = tuple(int(number) for number in _list_of(_number)(value))
    if fill != _list_of(_number)(value) or not all(0 <= number <= 255 for number in fill):
        raise ValueError(value)
    return fill


def _number(value: Any) -> float:
    """A finite number, or a fraction like 1/255."""
    if not isinstance(value, str):
        raise ValueError(value)
    above, slash, below = value.partition("/")
    number = float(above) / float(below) if slash else float(above)
    if not math.isfinite(number):
        raise ValueError(value)
    return number


def _positive(value: Any) -> float:
    number = _number(value)
    if number <= 0:
        raise ValueError(number)
    return number


def _list_of(read: Callable[[Any], float]) -> Callable[[Any], tuple[float, ...]]:
    def read_list(value: Any) -> tuple[float, ...]:
        if isinstance(value, str):
            value = value.split(":")
        return tuple(read(item) for item in value) if isinstance(value, list) else (read(value),)

    return read_list


def _one_of(choices: tuple[str, ...]) -> Callable[[Any], str]:
    def read_choice(value: Any) -> str:
        if value not in choices:
            raise ValueError(value)
        return str(value)

    return read_choice


_READERS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "resize": (_resize, f"the shorter side in pixels (1 to {_LARGEST_SIDE}), HEIGHTxWIDTH to stretch both, or none"),
    "crop": (
        _crop,
        f"the side of the centred square in pixels (1 to {_LARGEST_SIDE}), HEIGHTxWIDTH (one of them may be none), or "
        "none",
    ),
    "scale": (_positive, "a number above 0 that multiplies 0..255, like 1/255,"),
    "mean": (_list_of(_number), "one number, or one a channel with colons between, like 0.485:0.456:0.406,"),
    "std": (_list_of(_positive), "one number above 0, or one a channel with colons between, like 0.229:0.224:0.225,"),
    "channels": (_one_of(get_args(Channels)), f"one of {', '.join(get_args(Channels))}"),
    "interpolation": (_one_of(get_args(Interpolation)), f"one of {', '.join(get_args(Interpolation))}"),
    "letterbox": (_fill, "what fills the rest, 0 to 255, one value or one a channel with colons between, or none"),
    "crop_rounding": (_one_of(get_args(CropRounding)), f"one of {', '.join(get_args(CropRounding))}"),
}

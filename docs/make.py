"""`make docs`: write docs/cli.md from the command line's own help, and docs/reference.md from docstrings.

A test checks that both are current.
"""

import dataclasses
import inspect
import os
import sys
import types
import typing
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ["COLUMNS"] = "100"  # argparse wraps by it

import lowbit
from lowbit.cli.main import parser
from lowbit.core.artifact import Manifest
from lowbit.core.row import Row
from lowbit.quant.plan.plan import QuantPlan

FOLDER = Path(__file__).parent
FILES = (  # what a command writes, what it holds, and the dataclass that it is
    ("results.json", "`lowbit compare` writes it into the study: a list of rows, one a cell, measured or not.", Row),
    ("manifest.json", "Stands beside every artifact: how it was made, for whom, and what verification found.", Manifest),
    ("plan.json", "Stands beside what our own engine made; may be edited and given back with `--plan`.", QuantPlan),
)
JSON = {str: "text", int: "integer", float: "number", bool: "true or false", Path: "text, a path", type(None): "null", Any: "anything"}


def cli_page() -> str:
    """The help of `lowbit` and of each of its commands."""
    root = parser()
    parts = ["# Command line", "", "Written by `make docs`.", "", "```text", root.format_help().rstrip(), "```"]
    (commands,) = (action for action in root._actions if hasattr(action, "choices") and isinstance(action.choices, dict))
    for name, command in commands.choices.items():
        parts += ["", f"## lowbit {name}", "", "```text", command.format_help().rstrip(), "```"]
    return "\n".join(parts) + "\n"


def reference_page() -> str:
    """The Python API, and the schemas of what is written as JSON."""
    parts = ["# Reference", "", "Written by `make docs` from docstrings and dataclasses.", "", "## Python"]
    for name in lowbit.__all__:
        if not name.startswith("_"):
            parts += ["", *_python(name, getattr(lowbit, name))]
    parts += ["", "## Files"]
    told: set[type] = set()
    for file, about, kind in FILES:
        parts += ["", f"### {file}", "", about]
        for each in _with_parts(kind):
            if each not in told:
                told.add(each)
                parts += ["", *_schema(each)]
    return "\n".join(parts) + "\n"


def _python(name: str, thing: Any) -> Iterator[str]:
    yield f"### lowbit.{name}"
    yield ""
    if inspect.isfunction(thing):
        yield "```python"
        yield f"lowbit.{name}("
        previous = None
        for parameter in inspect.signature(thing).parameters.values():
            several = parameter.kind is inspect.Parameter.VAR_POSITIONAL
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY and previous not in (
                inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.VAR_POSITIONAL,
            ):
                yield "    *,"
            previous = parameter.kind
            default = "" if parameter.default is parameter.empty else f" = {_value(parameter.default)}"
            yield f"    {'*' if several else ''}{parameter.name}: {_hint(parameter.annotation)}{default},"
        yield f") -> {_hint(inspect.signature(thing).return_annotation)}"
        yield "```"
        yield ""
    yield inspect.getdoc(thing) or ""
    if dataclasses.is_dataclass(thing):
        yield ""
        for field in dataclasses.fields(thing):
            yield f"- `{field.name}`: {_hint(field.type)}"
    for member, value in vars(thing).items() if inspect.isclass(thing) else ():
        if member.startswith("_"):
            continue
        if isinstance(value, property):
            yield f"- `{member}`: {_hint(value.fget.__annotations__['return'])}. {inspect.getdoc(value)}"
        elif inspect.isfunction(value):
            yield f"- `{member}()`: {_hint(value.__annotations__['return'])}. {inspect.getdoc(value)}"


def _value(default: Any) -> str:
    """A default as it would be written; a function by what it is for."""
    return "..." if callable(default) else repr(default)


def _hint(hint: Any) -> str:
    """An annotation in Python's own words, without modules."""
    if isinstance(hint, str):
        return hint
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " | ".join(map(_hint, arguments))
    if origin is typing.Literal:
        return " | ".join(map(repr, arguments))
    if isinstance(hint, list):
        return f"[{', '.join(map(_hint, hint))}]"
    if origin is not None:
        return f"{getattr(origin, '__name__', origin)}[{', '.join(map(_hint, arguments))}]"
    return "None" if hint is type(None) else "..." if hint is ... else getattr(hint, "__name__", str(hint))


def _with_parts(kind: type) -> list[type]:
    """A dataclass and those that its fields hold, in the order in which they are met."""
    found, waiting = [], [kind]
    while waiting:
        one = waiting.pop(0)
        if one not in found:
            found.append(one)
            waiting += [part for hint in typing.get_type_hints(one).values() for part in _classes(hint)]
    return found


def _classes(hint: Any) -> list[type]:
    if dataclasses.is_dataclass(hint):
        return [typing.cast(type, hint)]
    return [found for argument in typing.get_args(hint) for found in _classes(argument)]


def _schema(kind: type) -> Iterator[str]:
    """A table of the fields as JSON has them."""
    yield f"#### {kind.__name__}"
    yield ""
    yield inspect.getdoc(kind) or ""
    yield ""
    yield "| field | holds | if left out |"
    yield "| --- | --- | --- |"
    hints = typing.get_type_hints(kind)
    for field in dataclasses.fields(kind):
        if field.default_factory is not dataclasses.MISSING:
            default = "empty"
        else:
            default = "" if field.default is dataclasses.MISSING else f"`{_json_value(field.default)}`"
        yield f"| `{field.name}` | {_json(hints[field.name])} | {default} |"


def _json(hint: Any) -> str:
    """A type in words, as JSON has it."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(map(_json, arguments))
    if origin is typing.Literal:
        return ", ".join(f"`{_json_value(each)}`" for each in arguments)
    if origin is tuple and ... not in arguments:
        return f"list: {', '.join(map(_json, arguments))}"
    if origin in (tuple, list):
        return f"list of {_json(arguments[0])}"
    if origin in (dict, Mapping):
        return f"object: {_json(arguments[0])} → {_json(arguments[1])}"
    if dataclasses.is_dataclass(hint):
        return f"[{hint.__name__}](#{hint.__name__.lower()})"
    return JSON.get(hint, getattr(hint, "__name__", str(hint)))


def _json_value(value: Any) -> str:
    words = {None: "null", True: "true", False: "false"}
    return words[value] if value is None or isinstance(value, bool) else "[]" if value == () else str(value)


PAGES = {"cli.md": cli_page, "reference.md": reference_page}

if __name__ == "__main__":
    for name, render in PAGES.items():
        (FOLDER / name).write_text(render())
        sys.stdout.write(f"{FOLDER / name}\n")

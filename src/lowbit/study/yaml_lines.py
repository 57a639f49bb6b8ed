"""YAML that remembers on which line each value stands, so that a message about a value can name its line."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from lowbit.core.errors import BadInput

Lines = Mapping[str, int]  # path of a value, such as models[1].recipes[0] → its line, from 1


def read_yaml(path: Path) -> tuple[Any, Lines]:
    """The file's contents as plain data, and the line of every value. Raises BadInput with file and line."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise BadInput(f"{path}: cannot be read ({reason}); expected a study file in YAML") from error
    loader = yaml.SafeLoader(text)
    lines: dict[str, int] = {}
    try:
        node = loader.get_single_node()
        if node is None:
            raise BadInput(f"{path}: is empty; expected a study file in YAML")
        _note(path, node, "", lines)
        plain = loader.construct_document(node)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark is not None else ""
        raise BadInput(f"{path}{line}: no YAML ({error.problem or error.context})") from error
    finally:
        loader.dispose()
    return plain, lines


def line_of(path: str, lines: Lines) -> int:
    """The line of the value at `path`, or of the nearest value that holds it."""
    while path and path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return lines.get(path, 1)


def _note(file: Path, node: yaml.Node, path: str, lines: dict[str, int]) -> None:
    lines.setdefault(path, node.start_mark.line + 1)
    if isinstance(node, yaml.MappingNode):
        seen: dict[str, int] = {}
        for key, value in node.value:
            name, line = str(key.value), key.start_mark.line + 1
            if name in seen:
                raise BadInput(f"{file}, line {line}: {name!r} stands here a second time, after line {seen[name]}")
            seen[name] = line
            inner = f"{path}.{name}" if path else name
            lines[inner] = line
            _note(file, value, inner, lines)
    elif isinstance(node, yaml.SequenceNode):
        for index, value in enumerate(node.value):
            _note(file, value, f"{path}[{index}]", lines)

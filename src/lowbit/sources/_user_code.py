"""The user's own Python: which files it is made of, found without running any of it."""

import ast
import importlib.util
from importlib.machinery import PathFinder
from pathlib import Path

from lowbit.core.errors import BadInput


def files_of(module: str) -> list[Path]:
    """The files behind `module`, which is a path to a .py file or a dotted name, in a fixed order.

    For a file: itself and what it imports from its own folder, again and again. For a dotted name: every .py file of
    the top-level package. BadInput when there is no such module. Nothing is imported: a package may pull in a vendor.
    """
    if module.endswith(".py"):
        path = Path(module)
        if not path.is_file():
            raise BadInput(f"{module}: no such file; expected file.py:name, a callable that returns an nn.Module")
        return _with_neighbours(path)
    top = module.partition(".")[0]
    spec = PathFinder.find_spec(top, [str(Path.cwd())]) or importlib.util.find_spec(top)
    if spec is None:
        raise BadInput(
            f"{module}: no such module; expected package.module:name that Python can import from here, or file.py:name"
        )
    folders = [Path(folder) for folder in spec.submodule_search_locations or ()]
    if folders:
        return sorted(file for folder in folders for file in folder.rglob("*.py"))
    return _with_neighbours(Path(spec.origin)) if spec.has_location and spec.origin else []


def _with_neighbours(path: Path) -> list[Path]:
    """`path` and the modules beside it that it imports, directly or through each other."""
    folder, found, waiting = path.parent, {path}, [path]
    while waiting:
        for name in _imported(waiting.pop()):
            package = folder / name
            files = sorted(package.rglob("*.py")) if package.is_dir() else [folder / f"{name}.py"]
            new = [file for file in files if file.is_file() and file not in found]
            found.update(new)
            waiting.extend(new)
    return sorted(found)


def _imported(path: Path) -> set[str]:
    """First parts of the names that a file imports; none where it is no valid Python, which importing it will say."""
    try:
        tree = ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return set()
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            names.add(node.module.partition(".")[0])
    return names

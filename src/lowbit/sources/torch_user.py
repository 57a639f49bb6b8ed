"""Run the user's code that makes a module: the one place where somebody else's Python is executed."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from torch import nn

from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said
from lowbit.sources.torch_operators import declare_torchvision_operators


def make_module(spec: str) -> nn.Module:
    """What `file.py:name` or `package.module:name` makes: `name()` or, when it is a module already, itself.

    BadInput when the code cannot be imported, raises, has no such name, or makes something else.
    """
    where, _, name = spec.rpartition(":")
    with _searched_first(Path(where).resolve().parent if where.endswith(".py") else Path.cwd()):
        return _made(where, name, spec)


@contextmanager
def _searched_first(folder: Path) -> Iterator[None]:
    """Search the user's own folder first for imports while their code is run, and last from then on.

    What their code imports later is still found, but what other packages import later is not taken from there.
    """
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        with suppress(ValueError):  # their code may have removed it
            sys.path.remove(str(folder))
        sys.path.append(str(folder))


def _made(where: str, name: str, spec: str) -> nn.Module:
    code = _imported(where, spec)
    if not hasattr(code, name):
        own = [key for key, value in vars(code).items() if not key.startswith("_") and _makes_modules(value, code)]
        has = f"it has {', '.join(own)}" if own else "it has no callable of its own"
        raise BadInput(f"{spec}: {where} has no {name!r}; {has}: name a callable that returns an nn.Module")
    found = getattr(code, name)
    if isinstance(found, nn.Module):
        return found
    if not callable(found):
        raise BadInput(f"{spec}: is a {type(found).__name__}, expected a callable that returns an nn.Module")
    try:
        made = found()
    except Exception as error:  # the user's code may raise anything
        raise BadInput(
            f"{spec}: calling it without arguments raised {kind_and_said(error)}; "
            "expected a callable that needs none: wrap yours in one"
        ) from error
    if not isinstance(made, nn.Module):
        raise BadInput(f"{spec}: returned a {type(made).__name__}, expected an nn.Module")
    return made


def _imported(where: str, spec: str) -> ModuleType:
    """The user's module."""
    path = Path(where)
    declare_torchvision_operators()  # the user's code may well import torchvision
    try:
        return _run_file(path) if where.endswith(".py") else importlib.import_module(where)
    except (Exception, SystemExit) as error:  # the user's code may raise anything, and a script may exit
        raise BadInput(
            f"{spec}: importing {where} raised {kind_and_said(error)}; "
            "expected Python that can be imported: keep training code under `if __name__ == '__main__'`"
        ) from error


def _run_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise FileNotFoundError(f"no such file: {path}")
    name = f"lowbit_user_{path.stem}"  # never a name that something else imports
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"Python has no loader for {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses and pickle look their module up by name
    spec.loader.exec_module(module)
    return module


def _makes_modules(value: object, code: ModuleType) -> bool:
    """A callable defined in `code` itself, not imported into it, or an instance of nn.Module."""
    return isinstance(value, nn.Module) or (callable(value) and getattr(value, "__module__", None) == code.__name__)

"""Run the user's code that makes a model: the one place where somebody else's Python is executed."""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import ModuleType

from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said

_EXPECTED = "an nn.Module or a Keras model"
_EXTRAS = {  # what their code may import → the extra that installs it
    "torch": "torch", "torchvision": "torch", "safetensors": "torch",
    "tensorflow": "tensorflow", "keras": "tensorflow", "tf_keras": "tensorflow",
}  # fmt: skip


def make_model(spec: str, is_model: Callable[[object], bool]) -> object:
    """What `file.py:name` or `package.module:name` makes: `name()` or, when it is a model already, itself.

    BadInput when the code cannot be imported, raises, has no such name, or makes something else than a model.
    """
    where, _, name = spec.rpartition(":")
    with searched_first(Path(where).resolve().parent if where.endswith(".py") else Path.cwd()):
        return _made(where, name, spec, is_model)


@contextmanager
def searched_first(folder: Path) -> Iterator[None]:
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


def _made(where: str, name: str, spec: str, is_model: Callable[[object], bool]) -> object:
    code = _imported(where, spec)
    if not hasattr(code, name):
        own = [
            key for key, value in vars(code).items()
            if not key.startswith("_") and (is_model(value) or _is_defined_in(code, value))
        ]  # fmt: skip
        has = f"it has {', '.join(own)}" if own else "it has no callable of its own"
        raise BadInput(f"{spec}: {where} has no {name!r}; {has}: name a callable that returns {_EXPECTED}")
    found = getattr(code, name)
    if is_model(found):
        return found
    if not callable(found):
        raise BadInput(f"{spec}: is a {type(found).__name__}, expected a callable that returns {_EXPECTED}")
    try:
        made: object = found()
    except Exception as error:  # the user's code may raise anything
        raise BadInput(
            f"{spec}: calling it without arguments raised {kind_and_said(error)}; "
            f"expected a callable that needs none: wrap yours in one{_remedy(error)}"
        ) from error
    if not is_model(made):
        raise BadInput(f"{spec}: returned a {type(made).__name__}, expected {_EXPECTED}")
    return made


def _imported(where: str, spec: str) -> ModuleType:
    """The user's module."""
    path = Path(where)
    try:
        return _run_file(path) if where.endswith(".py") else importlib.import_module(where)
    except (Exception, SystemExit) as error:  # the user's code may raise anything, and a script may exit
        raise BadInput(
            f"{spec}: importing {where} raised {kind_and_said(error)}; "
            "expected Python that can be imported: keep training code under `if __name__ == '__main__'`"
            f"{_remedy(error)}"
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


def _is_defined_in(code: ModuleType, value: object) -> bool:
    """Whether `value` is a callable of the module itself, not imported into it."""
    return callable(value) and getattr(value, "__module__", None) == code.__name__


def _remedy(error: BaseException) -> str:
    """How to install a framework that is missing; empty for any other error."""
    missing = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    return f"; pip install 'lowbit[{_EXTRAS[missing]}]'" if missing in _EXTRAS else ""

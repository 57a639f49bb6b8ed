"""torch and TensorFlow in one process fight for threads and memory, so neither is imported before the user's code does.

What must be done to a framework before it is used is done the moment somebody imports it.
"""

import random
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

import numpy as np


@contextmanager
def prepared(threads: int, seed: int) -> Iterator[None]:
    """While this lasts, torch and TensorFlow get `threads` threads and `seed` with their first import.

    What is loaded already gets them at once, and so do NumPy and Python.
    """
    from lowbit.sources._tensorflow import prepare

    def torch() -> None:
        from lowbit.sources.torch_operators import declare_torchvision_operators

        declare_torchvision_operators()  # their code may well import torchvision next
        sys.modules["torch"].set_num_threads(threads)
        sys.modules["torch"].manual_seed(seed)

    def tensorflow() -> None:
        prepare(sys.modules["tensorflow"], threads, seed)

    random.seed(seed)
    np.random.seed(seed)
    steps = {"torch": torch, "tensorflow": tensorflow}
    for name, step in steps.items():
        if name in sys.modules:
            step()
    finder = _Finder(steps)
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


class _Finder(MetaPathFinder):
    """Finds the frameworks as Python does, and carries out a step once each has been imported."""

    def __init__(self, steps: Mapping[str, Callable[[], None]]) -> None:
        self._steps = steps

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in self._steps:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self._steps[fullname])
        return spec


class _Loader(Loader):
    """Another loader, and a step behind it."""

    def __init__(self, loader: Loader, step: Callable[[], None]) -> None:
        self._loader = loader
        self._step = step

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """As the other one."""
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        """As the other one, whom the module then names as its loader."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        self._step()

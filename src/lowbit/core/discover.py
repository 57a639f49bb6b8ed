"""Finds adapters: by file name in a package of lowbit, and by the entry points of installed packages."""

import importlib
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib import metadata
from types import ModuleType
from typing import Protocol

from lowbit.core.errors import BadInput, MissingPackage
from lowbit.core.recipe import Recipe
from lowbit.core.text import kind_and_said

_HELPERS = ("_", "torch_")  # shared edge code, and modules that hold torch classes
_FINDER = "find"  # the module in each adapters' package that calls `adapters`


class Face(Protocol):
    """The fields that `ToolchainInfo` and `RuntimeInfo` have in common."""

    @property
    def name(self) -> str:
        """The name that users type."""
        ...

    @property
    def packages(self) -> tuple[str, ...]:
        """PyPI names."""
        ...

    @property
    def extra(self) -> str | None:
        """The pip extra of lowbit that installs them."""
        ...


def adapters(package: str, group: str, named: Sequence[str] = ()) -> dict[str, ModuleType]:
    """The adapters of `package` and of the entry points in `group`, by name. No vendor's package is imported for it.

    Without `named`: all adapters that are not hidden, in alphabetical order. With `named`: those adapters in that
    order, hidden or not. Raises BadInput for a name that no adapter has, for an entry point that cannot be imported,
    and for an entry point that takes the name of another adapter.
    """
    loaders = _loaders(package, group)
    for name in named:
        if name not in loaders:
            raise BadInput(
                f"no {package.rpartition('.')[2].rstrip('s')} is called {name!r}; choose from {_names(loaders)}"
            )
    if named:
        return {name: loaders[name]() for name in named}
    found = {name: load() for name, load in sorted(loaders.items())}
    return {name: module for name, module in found.items() if not module.INFO.hidden}


def versions(packages: Sequence[str]) -> dict[str, str]:
    """PyPI name → version of those `packages` that are installed. Nothing is imported."""
    found = {}
    for package in packages:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def require(info: Face, recipe: Recipe | None = None) -> dict[str, str]:
    """The versions of all packages that an adapter needs, and of those that `recipe` needs in addition.

    Raises MissingPackage, with the command that installs what is missing. Call it before any function of the adapter:
    those import the vendor's packages without checking again.
    """
    _require(info.packages, info.extra)
    if recipe is not None:
        _require(recipe.packages, recipe.extra or info.extra)
    return versions((*info.packages, *(recipe.packages if recipe is not None else ())))


def _require(packages: Sequence[str], extra: str | None) -> None:
    found = versions(packages)
    missing = [package for package in packages if package not in found]
    if missing:
        raise MissingPackage(
            f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
            f"pip install '{f'lowbit[{extra}]' if extra else 'lowbit'}'",
        )


def _loaders(package: str, group: str) -> dict[str, Callable[[], ModuleType]]:
    loaders: dict[str, Callable[[], ModuleType]] = {}
    for module in pkgutil.iter_modules(importlib.import_module(package).__path__):
        if module.name != _FINDER and not module.name.startswith(_HELPERS):
            loaders[module.name] = partial(importlib.import_module, f"{package}.{module.name}")
    for entry in metadata.entry_points(group=group):
        if entry.name in loaders:
            raise BadInput(
                f"the entry point {group}: {entry.name} = {entry.value} takes a name that another adapter has"
            )
        loaders[entry.name] = partial(_load, entry)
    return loaders


def _load(entry: metadata.EntryPoint) -> ModuleType:
    """The adapter behind `entry`; raises BadInput where there is none."""
    try:
        module: ModuleType = entry.load()
        module.INFO.hidden  # noqa: B018 - read here, so that the error for a missing INFO names the entry point
    except Exception as error:  # a foreign module may raise anything while it is imported
        raise BadInput(
            f"the entry point {entry.group}: {entry.name} = {entry.value} cannot be imported "
            f"({kind_and_said(error)}); repair or uninstall its package"
        ) from error
    return module


def _names(loaders: dict[str, Callable[[], ModuleType]]) -> str:
    return ", ".join(name for name, load in sorted(loaders.items()) if not load().INFO.hidden)

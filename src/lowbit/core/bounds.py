"""The versions that lowbit is made for, as its package's own metadata states them, against those that are installed."""

from collections.abc import Mapping
from importlib import metadata

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

PACKAGE = "lowbit"


def declared() -> dict[str, SpecifierSet]:
    """PyPI name → the versions that lowbit asks for, extras included; empty where lowbit is not installed."""
    try:
        stated = [Requirement(text) for text in metadata.requires(PACKAGE) or ()]
    except metadata.PackageNotFoundError:
        return {}
    bounds: dict[str, SpecifierSet] = {}
    for requirement in stated:
        name = canonicalize_name(requirement.name)
        if name != PACKAGE and requirement.specifier:
            bounds[name] = bounds.get(name, SpecifierSet()) & requirement.specifier
    return bounds


def outside(versions: Mapping[str, str]) -> tuple[str, ...]:
    """A sentence for each of these packages (name → version) whose version is not one that lowbit asks for."""
    bounds = declared()
    return tuple(
        f"{name} {version} is outside the versions that lowbit is made for ({bound})"
        for name, version in versions.items()
        if (bound := bounds.get(canonicalize_name(name))) is not None and not bound.contains(version, prereleases=True)
    )

"""Compares the installed versions of packages with the versions that lowbit's own package metadata asks for."""

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
    """One sentence for each package in `versions` (name → version) whose version lowbit was not made for."""
    bounds = declared()
    return tuple(
        f"{name} {version} is outside the versions that lowbit is made for ({bound})"
        for name, version in versions.items()
        if (bound := bounds.get(canonicalize_name(name))) is not None and not bound.contains(version, prereleases=True)
    )

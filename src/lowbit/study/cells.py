"""Which builds and cells a study has, decided before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
from lowbit.core.cell import Build
from lowbit.core.discover import require
from lowbit.core.errors import BadInput, MissingPackage
from lowbit.core.recipe import Recipe

OWN = "lowbit"  # the toolchain that is our own engine


@dataclass(frozen=True, slots=True)
class Impossible:
    """A combination that cannot be had, with the reason that its row will show."""

    toolchain: str
    recipe: str
    runtime: str
    reason: str
    weight_bits: int | None = None
    activation_bits: int | None = None


@dataclass(frozen=True, slots=True)
class CellsPlan:
    """All builds in order, the versions of each runtime that is installed, and what is impossible from the start.

    missing: runtime → why it cannot be used.
    """

    builds: tuple[Build, ...]
    runtimes: Mapping[str, Mapping[str, str]]
    missing: Mapping[str, str]
    impossible: tuple[Impossible, ...]


def plan_cells(
    toolchains: Sequence[ToolchainInfo],
    runtimes: Sequence[RuntimeInfo],
    recipes: Sequence[str] = (),
    swept: Sequence[str] = (),
) -> CellsPlan:
    """Every recipe of every toolchain on every runtime that reads it; `recipes` narrows, in the toolchains' order.

    swept: recipes of our own engine that are made besides.
    """
    known = {recipe.name for info in toolchains for recipe in info.recipes}
    known |= {name for info in toolchains for name in info.refuses}
    for name in recipes:
        if name not in known:
            choices = sorted({short for info in toolchains for short in (*short_names(info), *info.refuses)})
            raise BadInput(f"no recipe is called {name!r}; choose from {', '.join(choices)}")
    present: dict[str, Mapping[str, str]] = {}
    missing: dict[str, str] = {}
    for runtime in runtimes:
        try:
            present[runtime.name] = require(runtime)
        except MissingPackage as error:
            missing[runtime.name] = str(error)
    builds: list[Build] = []
    impossible: list[Impossible] = []
    for info in toolchains:
        intended = [name for name in info.made_for if name in present or name in missing]
        for name, reason in info.refuses.items():
            if not recipes or name in recipes:
                impossible += [Impossible(info.name, name, runtime, reason) for runtime in intended[:1]]
        wanted = [
            recipe
            for recipe in info.recipes
            if recipe.name in recipes
            or not (recipes or recipe.on_request)
            or (info.name == OWN and recipe.name in swept)
        ]
        for recipe in wanted:
            readers = _readers(info, recipe, runtimes)
            try:
                builds.append(Build(info, recipe, require(info, recipe), readers))
            except MissingPackage as error:  # of the toolchain, or of this recipe alone
                impossible += [
                    Impossible(info.name, recipe.name, runtime, str(error), recipe.weight_bits, recipe.activation_bits)
                    for runtime in readers[:1]
                ]
    if not any(build.runtimes for build in builds) and not impossible:
        raise BadInput(
            f"nothing to measure: none of the runtimes {', '.join(r.name for r in runtimes)} reads what "
            f"{', '.join(t.name for t in toolchains)} makes; widen --runtimes, --toolchains or --recipes"
        )
    return CellsPlan(tuple(build for build in builds if build.runtimes), present, missing, tuple(impossible))


def short_names(info: ToolchainInfo) -> tuple[str, ...]:
    """A toolchain's recipes for people: those made on request as one name a family, wNaM for w8a8, w4a8, w2a4 …"""
    return (*(each.name for each in info.recipes if not each.on_request), *info.families)


def _readers(info: ToolchainInfo, recipe: Recipe, runtimes: Sequence[RuntimeInfo]) -> tuple[str, ...]:
    readers = [runtime.name for runtime in runtimes if info.format_of(recipe) in runtime.reads]
    intended = info.runtimes_for(recipe)
    return tuple(sorted(readers, key=lambda name: (name not in intended, name)))

"""Which builds and cells a study has, decided before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
from lowbit.core.discover import require
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.recipe import Recipe

OWN = "lowbit"  # the toolchain that is our own engine


@dataclass(frozen=True, slots=True)
class PlannedBuild:
    """One artifact to be: `versions` of the toolchain's packages; `runtimes` that read its format, intended first."""

    toolchain: ToolchainInfo
    recipe: Recipe
    versions: Mapping[str, str]
    runtimes: tuple[str, ...]

    @property
    def name(self) -> str:
        """toolchain-recipe, the folder's name under artifacts/."""
        return f"{self.toolchain.name}-{self.recipe.name}"

    @property
    def made_for(self) -> tuple[str, ...]:
        """The runtimes that the file is meant for."""
        return self.recipe.made_for or self.toolchain.made_for


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
class Plan:
    """All builds in order, the versions of each runtime that is installed, and what is impossible from the start.

    missing: runtime → why it cannot be used.
    """

    builds: tuple[PlannedBuild, ...]
    runtimes: Mapping[str, Mapping[str, str]]
    missing: Mapping[str, str]
    impossible: tuple[Impossible, ...]


def make_plan(
    toolchains: Sequence[ToolchainInfo],
    runtimes: Sequence[RuntimeInfo],
    recipes: Sequence[str] = (),
    swept: Sequence[str] = (),
) -> Plan:
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
        except UnsupportedError as error:
            missing[runtime.name] = str(error)
    builds: list[PlannedBuild] = []
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
        try:
            versions = require(info)
        except UnsupportedError as error:
            impossible += [
                Impossible(info.name, each.name, runtime, str(error), each.weight_bits, each.activation_bits)
                for each in wanted
                for runtime in _readers(info, each, runtimes)[:1]
            ]
            continue
        for recipe in wanted:
            builds.append(PlannedBuild(info, recipe, versions, _readers(info, recipe, runtimes)))
    if not any(build.runtimes for build in builds) and not impossible:
        raise BadInput(
            f"nothing to measure: none of the runtimes {', '.join(r.name for r in runtimes)} reads what "
            f"{', '.join(t.name for t in toolchains)} makes; widen --runtimes, --toolchains or --recipes"
        )
    return Plan(tuple(build for build in builds if build.runtimes), present, missing, tuple(impossible))


def short_names(info: ToolchainInfo) -> tuple[str, ...]:
    """A toolchain's recipes for people: those made on request as one name a family, wNaM for w8a8, w4a8, w2a4 …"""
    return (*(each.name for each in info.recipes if not each.on_request), *info.families)


def _readers(info: ToolchainInfo, recipe: Recipe, runtimes: Sequence[RuntimeInfo]) -> tuple[str, ...]:
    readers = [runtime.name for runtime in runtimes if info.format_of(recipe) in runtime.reads]
    intended = recipe.made_for or info.made_for
    return tuple(sorted(readers, key=lambda name: (name not in intended, name)))

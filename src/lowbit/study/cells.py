"""Decides which builds and cells a study has, before anything runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
from lowbit.core.cell import Build
from lowbit.core.discover import require
from lowbit.core.errors import BadInput, MissingPackage
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings

OWN = "lowbit"  # the toolchain that is our own engine
GIVEN = "given"  # the toolchain that takes files as they are


_NONE: Mapping[str, Path] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Impossible:
    """A combination of toolchain, recipe and runtime that cannot be made, and the reason that its row shows."""

    toolchain: str
    recipe: str
    runtime: str
    reason: str
    weight_bits: int | None = None
    activation_bits: int | None = None


@dataclass(frozen=True, slots=True)
class CellsPlan:
    """What a study will make and measure.

    - builds: all artifacts to build, in order
    - runtimes: installed runtime → its packages' versions
    - missing: runtime that is not installed → the reason, with the command that installs it
    - impossible: combinations that are known not to work before anything runs
    - infos: every runtime that was asked for, installed or not
    """

    builds: tuple[Build, ...]
    runtimes: Mapping[str, Mapping[str, str]]
    missing: Mapping[str, str]
    impossible: tuple[Impossible, ...]
    infos: Mapping[str, RuntimeInfo]


def plan_cells(
    toolchains: Sequence[ToolchainInfo],
    runtimes: Sequence[RuntimeInfo],
    recipes: Sequence[str] = (),
    swept: Sequence[str] = (),
    given: Mapping[str, Path] = _NONE,
    epochs: int | None = None,
) -> CellsPlan:
    """Plan every recipe of every toolchain, on every runtime that reads its format.

    - recipes: only these are planned, in the toolchains' own order; empty: all that are not made on request only
    - swept: recipes of our own engine that are planned in addition
    - given: recipe of the toolchain `given` → the user's file. All of them are planned, whatever `recipes` says.
    - epochs: how often recipes that train do so; they are planned then, whatever `recipes` says, but for those that go
      on from a recipe that is not planned itself. None: as often as each says itself, and only where it is named.

    A recipe's control is planned with it. Raises BadInput for an unknown recipe, for a given file that no runtime
    reads, and where no runtime reads anything that would be made.
    """
    makers = [info for info in toolchains if info.name != GIVEN]
    known = {recipe.name for info in makers for recipe in info.recipes}
    known |= {name for info in makers for name in info.refuses}
    for name in recipes:
        if name not in known:
            choices = sorted({short for info in makers for short in (*short_names(info), *info.refuses)})
            raise BadInput(f"no recipe is called {name!r}; choose from {', '.join(choices)}")
    if epochs is not None and all(recipe.epochs is None for info in makers for recipe in info.recipes):
        asked = ", ".join(info.name for info in makers)
        raise BadInput(f"--epochs {epochs}: expected a toolchain that trains, but none of {asked} does")
    present: dict[str, Mapping[str, str]] = {}
    missing: dict[str, str] = {}
    for runtime in runtimes:
        try:
            present[runtime.name] = require(runtime)
        except MissingPackage as error:
            missing[runtime.name] = str(error)
    builds: list[Build] = []
    impossible: list[Impossible] = []
    for info in (_trained(each, epochs) for each in toolchains):
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
            or info.name == GIVEN
        ]
        if epochs is not None:
            wanted += [
                recipe for recipe in info.recipes if recipe.epochs is not None and _follows(recipe, info, wanted)
            ]
        controls = {recipe.control for recipe in wanted}
        wanted = [recipe for recipe in info.recipes if recipe in wanted or recipe.name in controls]
        for recipe in wanted:
            readers = _readers(info, recipe, runtimes)
            file = given.get(recipe.name) if info.name == GIVEN else None
            if file is not None and not readers:
                asked = ", ".join(each.name for each in runtimes)
                raise BadInput(f"--given {file}: expected a file that one of {asked} reads; widen --runtimes")
            try:
                builds.append(Build(info, recipe, require(info, recipe), readers, given=file))
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
    kept = tuple(build for build in builds if build.runtimes)
    return CellsPlan(kept, present, missing, tuple(impossible), {info.name: info for info in runtimes})


def _follows(recipe: Recipe, info: ToolchainInfo, wanted: Sequence[Recipe]) -> bool:
    """Whether a recipe that trains is made because others are: its control trains too, or is among the `wanted`."""
    controls = [each for each in info.recipes if each.name == recipe.control]
    return all(each.epochs is not None or each in wanted for each in controls)


def _trained(info: ToolchainInfo, epochs: int | None) -> ToolchainInfo:
    """The toolchain, whose recipes that train do so for `epochs`."""
    if epochs is None:
        return info
    recipes = (each if each.epochs is None else replace(each, epochs=epochs) for each in info.recipes)
    return replace(info, recipes=tuple(recipes))


def files_of(planned: Build, settings: Sequence[Settings]) -> list[tuple[Build, list[Settings]]]:
    """The files to make of one build, each with the settings that it serves. Only in a sweep folders name sizes."""
    if not planned.fixes_batch:
        return [(planned, list(settings))]
    by_size: dict[int, list[Settings]] = {}
    for each in settings:
        by_size.setdefault(each.batch_size, []).append(each)
    if len(by_size) == 1:
        return [(planned, list(settings))]
    return [(replace(planned, batch_size=size), served) for size, served in by_size.items()]


def short_names(info: ToolchainInfo) -> tuple[str, ...]:
    """The recipes' names for messages. Those made on request share one name per family: wNaM for w8a8, w4a8 …"""
    return (*(each.name for each in info.recipes if not each.on_request), *info.families)


def _readers(info: ToolchainInfo, recipe: Recipe, runtimes: Sequence[RuntimeInfo]) -> tuple[str, ...]:
    readers = [runtime.name for runtime in runtimes if info.format_of(recipe) in runtime.reads]
    intended = info.runtimes_for(recipe)
    return tuple(sorted(readers, key=lambda name: (name not in intended, name)))

"""The contract of a toolchain, held by every one that is found."""

from pathlib import Path

import numpy as np
import pytest

from lowbit.core import digest
from lowbit.core.adapter import SessionOptions
from lowbit.core.errors import UnsupportedError
from lowbit.core.files import TEMPORARY
from lowbit.core.samples import Samples
from lowbit.measure.host import facts
from tests.contract.adapters import (
    BATCH,
    RUNTIMES,
    TOOLCHAINS,
    Factory,
    expected,
    images,
    need,
    recipe_of,
)

# What lowbit promises of its own toolchains; a plug-in promises what it likes.
RECIPES = ("fp32", "fp16", "bf16", "int8-dynamic", "int8-static", "int8-mixed", "int16x8", "int8-weight-only")
PROMISED = {
    "onnxruntime": {"fp32", "fp16", "int8-dynamic", "int8-static", "int16x8"},
    "nncf": {"fp32", "fp16", "bf16", "int8-static", "int8-mixed", "int8-weight-only"},
    "litert": {"fp32", "fp16", "int8-dynamic", "int8-static", "int16x8", "int8-weight-only"},
    "tensorflow": {"fp32", "fp16", "int8-dynamic", "int8-static", "int8-integer-only", "int16x8"},
    "torch": {"fp32", "bf16", "int8-dynamic", "int8-static"},
}
ALONE = {"int8-integer-only", "int8-keras"}  # that others neither make nor refuse
ON_REQUEST = {  # of many
    "lowbit": ("w2a8", "w5a6", "w3a3-ir", "w4a8-tflite"),
    "tensorflow": ("int8-integer-only-uint8",),
    "torch": ("fp16-dynamic",),
}
EVERY = [
    (name, recipe.name)
    for name, toolchain in sorted(TOOLCHAINS.items())
    for recipe in toolchain.INFO.recipes
    if not recipe.on_request or recipe.name in ON_REQUEST.get(name, ())
]
BOUNDS = {2: 0.4, 3: 0.3, 4: 0.15}  # largest error by the narrowest width, as a share of the scores' spread
STATIC = [name for name, recipe in EVERY if recipe == "int8-static"]


def scores(toolchain: str, recipe: str, factory: Factory, samples: Samples) -> np.ndarray:
    """What the first runtime that the recipe is made for makes of the first batch."""
    info = TOOLCHAINS[toolchain].INFO
    runtime = RUNTIMES[(recipe_of(info, recipe).made_for or info.made_for)[0]]
    artifact = factory(toolchain, recipe)
    need(runtime.INFO)
    with runtime.open_session(artifact, SessionOptions(threads=1, batch_size=BATCH)) as session:
        return session.predict(images(samples)[:BATCH])


@pytest.mark.parametrize("name", sorted(TOOLCHAINS))
def test_face(name: str) -> None:
    info = TOOLCHAINS[name].INFO
    made = [recipe.name for recipe in info.recipes]
    assert info.name == name
    assert {recipe.control for recipe in info.recipes} <= {"", *made}
    assert len(set(made)) == len(made)
    assert not set(made) & set(info.refuses)
    assert all(reason for reason in info.refuses.values())
    for recipe in info.recipes:
        for runtime in recipe.made_for or info.made_for:
            assert info.format_of(recipe) in RUNTIMES[runtime].INFO.reads


@pytest.mark.parametrize("name", sorted(set(PROMISED) & set(TOOLCHAINS)))
def test_promised_recipes(name: str) -> None:
    info = TOOLCHAINS[name].INFO
    assert {recipe.name for recipe in info.recipes if not recipe.on_request} == PROMISED[name]
    assert set(info.refuses) - ALONE == set(RECIPES) - PROMISED[name]


@pytest.mark.parametrize(("name", "recipe"), EVERY)
def test_every_recipe_builds_and_runs(name: str, recipe: str, factory: Factory, tiny_samples: Samples) -> None:
    """Float stays float, and quantizing keeps the scores' pattern: its error is small against their spread.

    Below 8 bits a step is wider, and random weights have no slack: the bounds grow with it, the pattern must stay.
    """
    wanted = expected(factory.model, images(tiny_samples)[:BATCH])
    chosen = recipe_of(TOOLCHAINS[name].INFO, recipe)
    if (name, recipe) == ("nncf", "bf16") and not {"avx512_bf16", "amx_bf16"} & set(facts().isa):
        with pytest.raises(UnsupportedError, match="no bfloat16"):  # told, and not computed in another precision
            scores(name, recipe, factory, tiny_samples)
        return
    seen = scores(name, recipe, factory, tiny_samples)
    error = np.abs(seen - wanted).max()
    assert chosen.weight_bits is not None, "what lowbit makes has widths"
    assert chosen.activation_bits is not None
    if chosen.weight_bits == chosen.activation_bits == 32:
        assert error < 1e-5
    else:
        bits = min(chosen.weight_bits, chosen.activation_bits)
        assert error < BOUNDS.get(bits, 0.1) * np.ptp(wanted)
        assert np.corrcoef(seen.ravel(), wanted.ravel())[0, 1] > (0.99 if bits >= 4 else 0.95)
        assert error > 0  # nothing lost would mean that nothing was done


@pytest.mark.parametrize(("name", "recipe"), EVERY)
def test_main_file_lies_in_the_folder(name: str, recipe: str, factory: Factory) -> None:
    artifact = factory(name, recipe)
    assert artifact.path.is_file()
    assert artifact.path.parent.parent == factory.folder


@pytest.mark.parametrize(("name", "recipe"), EVERY)
def test_nothing_temporary_is_left(name: str, recipe: str, factory: Factory) -> None:
    """Every file in the folder is shipped."""
    folder = factory(name, recipe).path.parent
    assert [path for path in folder.iterdir() if path.name.startswith(TEMPORARY)] == []


@pytest.mark.parametrize("name", sorted(set(PROMISED) & set(TOOLCHAINS)))
def test_widths_mean_the_same_everywhere(name: str) -> None:
    """Weights as stored, activations as computed on: fp16 is storage only, and bf16 is the fp32 file."""
    widths = {"fp32": (32, 32), "fp16": (16, 32), "bf16": (32, 16), "int16x8": (8, 16), "int8-weight-only": (8, 32)}
    widths["fp16-dynamic"] = (16, 32)
    for recipe in TOOLCHAINS[name].INFO.recipes:
        assert (recipe.weight_bits, recipe.activation_bits) == widths.get(recipe.name, (8, 8)), recipe.name


@pytest.mark.parametrize("name", STATIC)
def test_same_bytes_twice(name: str, factory: Factory, tiny_samples: Samples) -> None:
    for recipe in ("fp32", "int8-static"):
        first = factory(name, recipe).path.parent
        again = factory.build(name, recipe, tiny_samples, f"{name}-{recipe}-again").path.parent
        assert _digest(first) == _digest(again)


@pytest.mark.parametrize("name", STATIC)
def test_every_calibration_image_counts(name: str, factory: Factory, tmp_path: Path) -> None:
    """A bright picture at the end of dark ones must widen the ranges."""
    dark = np.random.default_rng(0).integers(0, 20, (64, 8, 8, 3), dtype=np.uint8)
    bright = dark.copy()
    bright[-1] *= 12
    labels = np.zeros(64, np.int64)
    digests = [
        _digest(factory.build(name, "int8-static", _samples(tmp_path, case, labels), f"{name}-{case_name}").path.parent)
        for case_name, case in (("dark", dark), ("bright", bright))
    ]
    assert digests[0] != digests[1]


def _samples(folder: Path, pictures: np.ndarray, labels: np.ndarray) -> Samples:
    return Samples(folder, "calibration", "made here", ("a", "b", "c", "d"), pictures, labels)


def _digest(folder: Path) -> str:
    return digest.of_files(sorted(path for path in folder.rglob("*") if path.is_file()))

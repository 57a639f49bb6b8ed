"""What both contract suites stand on: every adapter that is found, its tiny artifacts, and the truth about them."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from lowbit.core import discover
from lowbit.core.adapter import BuildRequest, Floats, RuntimeInfo, ToolchainInfo
from lowbit.core.artifact import Artifact
from lowbit.core.errors import UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.samples import Samples
from lowbit.runtimes.find import runtimes
from lowbit.toolchains.find import toolchains

RUNTIMES = runtimes()
TOOLCHAINS = toolchains()
PREPROCESS = Preprocess("unit")
BATCH = 8


def need(info: RuntimeInfo | ToolchainInfo) -> None:
    """Skip without the vendor's packages (which fails where CI installs them all: see tests/conftest.py)."""
    try:
        discover.require(info)
    except UnsupportedError as error:
        pytest.skip(f"{info.name}: {error.reason}")


def images(samples: Samples) -> Floats:
    """What `Preprocess("unit")` makes of the samples: float32 [N, C, H, W], 0..1."""
    x: Floats = np.ascontiguousarray(samples.images.transpose(0, 3, 1, 2), dtype=np.float32)
    return x / np.float32(255)


def expected(model: FloatModel, x: Floats) -> Floats:
    """Scores of `tests.models.tiny_model`, in plain NumPy and double precision."""
    weights = {w.name: numpy_helper.to_array(w).astype(np.float64) for w in onnx.load(model.path).graph.initializer}

    def conv(x: np.ndarray, w: np.ndarray, b: np.ndarray) -> np.ndarray:
        padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)))
        windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(2, 3))
        return np.asarray(np.einsum("nihwyx,oiyx->nohw", windows, w) + b[:, None, None])

    first = np.maximum(conv(x, weights["w1"], weights["b1"]), 0)
    second = np.maximum(conv(first, weights["w2"], weights["b2"]) + first, 0)
    scores: Floats = (second.mean(axis=(2, 3)) @ weights["w3"].T + weights["b3"]).astype(np.float32)
    return scores


@dataclass(eq=False)
class Factory:
    """Builds artifacts of the tiny model, each of them once."""

    model: FloatModel
    samples: Samples
    folder: Path
    made: dict[tuple[str, str, int], Artifact] = field(default_factory=dict)

    def __call__(self, toolchain: str, recipe: str, batch_size: int = BATCH) -> Artifact:
        key = (toolchain, recipe, batch_size)
        if key not in self.made:
            self.made[key] = self.build(toolchain, recipe, self.samples, "-".join(map(str, key)), batch_size)
        return self.made[key]

    def build(self, toolchain: str, recipe: str, samples: Samples, folder: str, batch_size: int = BATCH) -> Artifact:
        """Build into `folder` from `samples`."""
        adapter = TOOLCHAINS[toolchain]
        need(adapter.INFO)
        out = self.folder / folder
        out.mkdir()
        cache = self.folder / "cache"
        cache.mkdir(exist_ok=True)
        chosen = recipe_of(adapter.INFO, recipe)
        built = adapter.build(
            BuildRequest(self.model, chosen, samples, PREPROCESS, out, cache, batch_size, threads=1, seed=0)
        )
        return Artifact(
            path=built.main,
            format=adapter.INFO.format_of(chosen),
            digest=folder,
            input_shape=self.model.input_shape,
            outputs=self.model.outputs,
            batch_size=batch_size if adapter.INFO.fixes_batch(chosen) else None,
            runtime_options=chosen.runtime_options,
        )


def recipe_of(info: ToolchainInfo, name: str) -> Recipe:
    return next(recipe for recipe in info.recipes if recipe.name == name)


def maker_for(runtime: str, recipe: str) -> str:
    """The toolchain that makes `recipe` for `runtime` before all; skips where there is none."""
    for name, toolchain in TOOLCHAINS.items():
        recipes = [r for r in toolchain.INFO.recipes if r.name == recipe]
        if recipes and (recipes[0].made_for or toolchain.INFO.made_for)[0] == runtime:
            return name
    pytest.skip(f"no toolchain makes {recipe} for {runtime} before all")

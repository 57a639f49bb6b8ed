"""The null adapters: a harness's own floor must behave, and misbehave exactly as it was told."""

import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.adapter import BuildRequest, Floats, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import LowbitError, UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples
from lowbit.runtimes import null as runtime
from lowbit.toolchains import null as toolchain
from tests import models

OPTIONS = SessionOptions()
IMAGES: Floats = np.random.default_rng(1).normal(size=(16, 3, 8, 8)).astype(np.float32)


def built(recipe: str, model: FloatModel, folder: Path) -> Artifact:
    chosen = next(r for r in toolchain.INFO.recipes if r.name == recipe)
    samples: Samples = models.tiny_samples(folder)
    request = BuildRequest(model, chosen, samples, Preprocess("unit"), folder, folder, 1, threads=1, seed=0)
    return Artifact(toolchain.build(request).main, "null", recipe, model.input_shape, model.outputs)


def scores(artifact: Artifact, images: Floats = IMAGES) -> Floats:
    with runtime.open_session(artifact, OPTIONS) as session:
        return session.predict(images)


def test_scores_are_deterministic_and_differ_from_image_to_image(tiny_model: FloatModel, tmp_path: Path) -> None:
    artifact = built("fp32", tiny_model, tmp_path)
    first = scores(artifact)
    assert first.shape == (16, 4)
    assert first.dtype == np.float32
    np.testing.assert_array_equal(first, scores(artifact))
    assert len(set(first.argmax(axis=1))) > 1
    np.testing.assert_allclose(
        np.concatenate([scores(artifact, IMAGES[i : i + 1]) for i in range(16)]), first, atol=1e-5
    )


def test_int8_is_near_to_float_but_not_the_same(tiny_model: FloatModel, tmp_path: Path) -> None:
    whole, eighth = (scores(built(recipe, tiny_model, tmp_path)) for recipe in ("fp32", "int8-static"))
    error = np.abs(whole - eighth).max()
    assert 0 < error < 0.05 * np.ptp(whole)


def test_executed_precision_is_one_product(tiny_model: FloatModel, tmp_path: Path) -> None:
    for recipe, integer in (("fp32", False), ("int8-static", True)):
        with runtime.open_session(built(recipe, tiny_model, tmp_path), OPTIONS) as session:
            (operator,) = session.executed_precision()
        assert operator.macs == sum(layer.macs for layer in tiny_model.layer_macs)
        assert operator.integer is integer
        assert bool(operator.reason) is not integer
    unknown = built("fp32", replace(tiny_model, layer_macs=()), tmp_path)
    with runtime.open_session(unknown, OPTIONS) as session:
        assert session.executed_precision()[0].macs == 3 * 8 * 4  # column means of three channels; four scores


def test_refuse_and_memory_fail_at_opening(tiny_model: FloatModel, tmp_path: Path) -> None:
    for recipe, error in (("refuse", UnsupportedError), ("memory", MemoryError)):
        with pytest.raises(error), runtime.open_session(built(recipe, tiny_model, tmp_path), OPTIONS):
            pass


def test_raise_fails_at_predicting(tiny_model: FloatModel, tmp_path: Path) -> None:
    with runtime.open_session(built("raise", tiny_model, tmp_path), OPTIONS) as session, pytest.raises(LowbitError):
        session.predict(IMAGES)


def test_nan_and_constant(tiny_model: FloatModel, tmp_path: Path) -> None:
    assert np.isnan(scores(built("nan", tiny_model, tmp_path))).all()
    assert np.ptp(scores(built("constant", tiny_model, tmp_path))) == 0


def test_crash_is_a_segmentation_fault(tiny_model: FloatModel, tmp_path: Path) -> None:
    assert _open_in_a_child(built("crash", tiny_model, tmp_path), 20) == -signal.SIGSEGV


def test_hang_does_not_end(tiny_model: FloatModel, tmp_path: Path) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        _open_in_a_child(built("hang", tiny_model, tmp_path), 2)
    assert _open_in_a_child(built("fp32", tiny_model, tmp_path), 20) == 0  # the same way of opening ends otherwise


@pytest.mark.parametrize("content", ["", "[]", "garbage", "{}", '{"outputs": 4, "weight_bits": 8, "behaviour": "fly"}'])
def test_other_files_are_refused(content: str, tmp_path: Path) -> None:
    path = tmp_path / "model.null.json"
    path.write_text(content)
    artifact = Artifact(path, "null", "x", (3, 8, 8), 4)
    with pytest.raises(UnsupportedError, match=path.name), runtime.open_session(artifact, OPTIONS):
        pass


def test_every_behaviour_has_a_recipe() -> None:
    asked = {recipe.options.get("behaviour", "well") for recipe in toolchain.INFO.recipes}
    assert asked == set(runtime.BEHAVIOURS)


def _open_in_a_child(artifact: Artifact, limit_s: float) -> int:
    code = f"""
from pathlib import Path
from lowbit.core.adapter import SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.runtimes import null
with null.open_session(Artifact(Path({str(artifact.path)!r}), "null", "x", (3, 8, 8), 4), SessionOptions()):
    pass
"""
    return subprocess.run([sys.executable, "-c", code], timeout=limit_s, check=False).returncode

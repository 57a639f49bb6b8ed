"""Calibration images that a network answers with numbers far beyond all others: found, left out, and said."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lowbit.quant import engine
from lowbit.quant.plan.placement import make_plan
from lowbit.quant.plan.scheme import Scheme
from lowbit.quant.prepare import prepare
from lowbit.quant.ranges.observe import Images
from lowbit.quant.ranges.outlying import outlying_images
from tests.models import tiny_model

RNG = np.random.default_rng(3)


def images_of(pictures: np.ndarray) -> Images:
    return Images(len(pictures), lambda size: iter([pictures[i : i + size] for i in range(0, len(pictures), size)]))


@pytest.mark.parametrize("outlying", [(), (7,), (0, 99)])
def test_the_rare_and_far_are_found_in_any_tensor(outlying: tuple[int, ...]) -> None:
    usual = torch.from_numpy(RNG.uniform(1, 3, (2, 100)).astype(np.float32))
    for number, image in enumerate(outlying):
        usual[number % 2, image] = 1_000.0
    found, times = outlying_images({"a": usual[0], "b": usual[1]})
    assert found == outlying
    assert times == pytest.approx(1_000 / 3, rel=0.05) if outlying else times == 1.0


@pytest.mark.parametrize(
    ("count", "far"),
    [(100, 3), (40, 1), (100, 100)],
    ids=["more than 2 %", "too few images to call one rare", "a tensor that is zero but for one"],
)
def test_what_is_not_rare_stays(count: int, far: int) -> None:
    largest = torch.zeros(count) if far == count else torch.ones(count)
    largest[: 1 if far == count else far] = 1_000.0
    assert outlying_images({"a": largest})[0] == ()


@pytest.mark.parametrize("size", [1, 3, 16])
def test_images_without_some_come_in_order_and_full_chunks(size: int) -> None:
    pictures = np.arange(10, dtype=np.float32).reshape(10, 1, 1, 1)
    kept = images_of(pictures).without((0, 4, 5))
    chunks = [chunk.numpy() for chunk in kept.chunks(size)]
    assert kept.count == 7
    assert np.concatenate(chunks).ravel().tolist() == [1, 2, 3, 6, 7, 8, 9]
    assert all(len(chunk) == size for chunk in chunks[:-1])


def test_one_outlying_picture_does_not_decide_the_ranges(tmp_path: Path) -> None:
    model = prepare(tiny_model(tmp_path / "tiny.onnx").path)
    pictures = RNG.uniform(-1, 1, (100, 3, 8, 8)).astype(np.float32)
    plan = make_plan(model, "", Scheme(8, 8))
    expected = engine.quantize(model, plan, images_of(pictures[:99]))
    pictures[99] *= 1_000
    found = engine.quantize(model, plan, images_of(pictures))
    assert [t.limits for t in found.plan.tensors] == [t.limits for t in expected.plan.tensors]
    assert any("1 of 100 calibration images are left out" in note for note in found.plan.notes)
    for name, layer in expected.layers.items():
        np.testing.assert_array_equal(found.layers[name].weight.codes, layer.weight.codes)

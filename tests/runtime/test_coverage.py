"""Calibration images that show little of what a network can answer: said where layers have fewer than 8 bits."""

from pathlib import Path

import numpy as np
import pytest
import torch

from lowbit.quant import engine
from lowbit.quant.plan.placement import make_plan
from lowbit.quant.plan.scheme import Scheme
from lowbit.quant.prepare import prepare
from lowbit.quant.ranges.coverage import Coverage, coverage
from lowbit.quant.ranges.observe import Images
from tests.models import tiny_model


def test_outputs_that_are_the_highest_of_some_image_are_counted_over_all_chunks() -> None:
    scores = torch.eye(7)[torch.tensor([2, 2, 5, 0, 5])]
    assert coverage([scores[:2], scores[2:]]) == Coverage(seen=3, outputs=7)


@pytest.mark.parametrize(
    ("scheme", "images", "said"),
    [(Scheme(4, 8), 1, True), (Scheme(8, 4), 1, True), (Scheme(8, 8), 1, False), (Scheme(4, 4), 200, False)],
    ids=["weights", "activations", "8 bits", "images of many kinds"],
)
def test_the_plan_says_when_images_cover_little(tmp_path: Path, scheme: Scheme, images: int, said: bool) -> None:
    model = prepare(tiny_model(tmp_path / "tiny.onnx").path)
    colors = np.random.default_rng(0).normal(0, 3, (images, 3, 1, 1)).astype(np.float32)
    pictures = np.tile(np.repeat(colors, -(-64 // images), axis=0), (1, 1, 8, 8))
    given = Images(len(pictures), lambda size: iter(np.array_split(pictures, -(-len(pictures) // size))))
    result = engine.quantize(model, make_plan(model, "", scheme), given)
    notes = [note for note in result.plan.notes if "of its 4 outputs" in note]
    assert bool(notes) is said
    if said:
        assert notes[0].startswith("the network answers with 1 of its 4 outputs")

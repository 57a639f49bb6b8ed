"""What quantizing activations alone costs: said where it is much, not where it is little."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from lowbit.quant.plan.plan import QuantPlan
from tests.runtime.networks import pictures, residual


def _said(notes: tuple[str, ...]) -> list[str]:
    return [note for note in notes if note.startswith("quantizing activations alone")]


def test_little_is_not_worth_a_note(tmp_path: Path) -> None:
    assert not _said(residual().quantized(tmp_path, "w4a8", pictures(60), rounding="nearest").plan.notes)


def test_a_range_that_is_much_too_wide_is_said_though_every_layer_would_verify(tmp_path: Path) -> None:
    def wide(plan: QuantPlan) -> QuantPlan:
        tensors = (replace(t, range="fixed", limits=(0.0, 5000.0)) if t.tensor == "r1" else t for t in plan.tensors)
        return replace(plan, tensors=tuple(tensors))

    notes = residual().quantized(tmp_path, "w8a8", pictures(60), rounding="nearest", change=wide).plan.notes
    (note,) = _said(notes)
    assert "% of the answers on 60 calibration images" in note


def test_scores_of_one_output_are_compared_by_their_error(tmp_path: Path) -> None:
    network = residual()
    graph = network.proto.graph
    for tensor in graph.initializer:
        if tensor.name in ("w7", "w7.b"):
            del tensor.dims[0]
            tensor.dims.insert(0, 1)
            tensor.raw_data = tensor.raw_data[: 4 * int(np.prod(tensor.dims))]
    assert not _said(network.quantized(tmp_path, "w8a8", pictures(60), rounding="nearest").plan.notes)
    (note,) = _said(network.quantized(tmp_path, "w8a2", pictures(60), rounding="nearest", ends=2).plan.notes)
    assert "changes 0.0 % of the answers" in note

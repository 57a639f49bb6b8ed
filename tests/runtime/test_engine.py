"""The engine: its simulation is what exported files compute, rounding pays off, results depend on nothing else."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from lowbit.formats.onnx.write import export_onnx
from lowbit.quant import walk
from lowbit.quant.engine import quantize
from lowbit.quant.plan.files import plan_for
from lowbit.quant.plan.plan import QuantPlan
from lowbit.quant.ranges import observe
from tests.runtime.networks import Network, conv, exported, head, images, node, pictures, residual, simulated

# -- the simulation is the file


@pytest.mark.parametrize("recipe", ["w8a8", "w4a8", "w4a4", "w3a6", "w2a4", "w2a16"])
def test_the_simulation_and_the_file_in_onnx_runtime_agree(tmp_path: Path, recipe: str) -> None:
    network = residual()
    model = network.quantized(tmp_path, recipe, pictures(40))
    x = pictures(200, seed=2)
    ours, theirs = simulated(model, x), exported(model, tmp_path, x)
    spread = network.scores(x).std()
    assert (ours.argmax(1) == theirs.argmax(1)).mean() >= 0.97
    assert np.abs(ours - theirs).mean() < (0.02 if "a8" in recipe or "a16" in recipe else 0.06) * spread


def test_w8a8_is_close_to_the_float_network(tmp_path: Path) -> None:
    network, x = residual(), pictures(200, seed=2)
    model = network.quantized(tmp_path, "w8a8", pictures(40))
    wanted = network.scores(x)
    assert np.abs(simulated(model, x) - wanted).mean() < 0.05 * wanted.std()


# -- rounding


@pytest.mark.parametrize(
    "recipe", [*(pytest.param(name, marks=pytest.mark.slow) for name in ("w8a8", "w3a8")), "w4a8", "w2a8", "w4a4"]
)
def test_the_closed_form_beats_nearest_on_fresh_images(tmp_path: Path, recipe: str) -> None:
    network, x, fresh = residual(), pictures(128), pictures(200, seed=2)
    wanted = network.scores(fresh)
    errors = {}
    for rounding in ("nearest", "closed-form"):
        model = network.quantized(tmp_path, recipe, x, rounding=rounding)
        errors[rounding] = float(np.square(simulated(model, fresh) - wanted).mean())
    assert errors["closed-form"] < (0.6 if recipe != "w8a8" else 1.0) * errors["nearest"]


def test_layers_have_the_widths_of_the_plan(tmp_path: Path) -> None:
    model = residual().quantized(tmp_path, "w3a5", pictures(10))
    assert list(model.layers) == [layer.node for layer in model.plan.layers]
    for layer in model.plan.layers:
        weight = model.layers[layer.node].weight
        assert weight.qparams.format == layer.format
        assert weight.codes.min() >= weight.qparams.format.lowest
        assert weight.codes.max() <= weight.qparams.format.highest
        assert np.abs(weight.qparams.centred(weight.codes)).max() <= 128
    assert model.absorbed == {"r1", "r2", "ra", "r4", "r5", "rh"}


@pytest.mark.parametrize("options", [{"group_size": 4}, {"symmetric": False}, {"symmetric": True}, {"ends": 3}])
@pytest.mark.parametrize("rounding", ["nearest", "closed-form"])
def test_other_formats_of_weights_agree_with_their_files_too(
    tmp_path: Path, options: dict[str, Any], rounding: str
) -> None:
    model = residual().quantized(tmp_path, "w3a8", pictures(20), rounding=rounding, **options)
    x = pictures(100, seed=2)
    ours, theirs = simulated(model, x), exported(model, tmp_path, x)
    assert np.abs(ours - theirs).mean() < 0.03 * ours.std()


# -- determinism, and what results may depend on


def files(network: Network, folder: Path, recipe: str, seed: int) -> bytes:
    export_onnx(network.quantized(folder, recipe, pictures(40), seed=seed), folder / "quantized.onnx")
    return (folder / "quantized.onnx").read_bytes()


def test_equal_seeds_give_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "COLUMNS", 400)  # so that places are drawn
    network = residual()
    first = files(network, tmp_path, "w3a4", 0)
    assert files(network, tmp_path, "w3a4", 0) == first
    assert files(network, tmp_path, "w3a4", 1) != first


@pytest.mark.parametrize("columns", [400, 16_384])
def test_the_number_of_images_at_a_time_changes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, columns: int
) -> None:
    monkeypatch.setattr(walk, "COLUMNS", columns)
    network, fresh = residual(), pictures(100, seed=2)
    found = []
    for size in (1, 4, 16):
        for module in (observe, walk):
            monkeypatch.setattr(module, "chunk_size", lambda *_, size=size: size)
        found.append(network.quantized(tmp_path, "w4a8", pictures(80)))
    limits = [np.array([tensor.limits for tensor in model.plan.tensors]) for model in found]
    for other, range_ in zip(found[1:], limits[1:], strict=True):
        np.testing.assert_allclose(range_, limits[0], rtol=1e-5, atol=1e-6)
        first = np.mean(other.layers["c1"].weight.codes == found[0].layers["c1"].weight.codes)
        assert first > 0.99  # a code that flips changes what the next layer reads
        a, b = simulated(other, fresh), simulated(found[0], fresh)
        assert np.abs(a - b).mean() < 0.02 * b.std()


def test_what_lies_on_disk_in_between_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    network, found = residual(), []
    for keep in (True, False):
        monkeypatch.setattr(walk.Walk, "_worth_keeping", lambda *_, keep=keep: keep)
        found.append(network.quantized(tmp_path, "w4a4", pictures(30)))
    for name, layer in found[0].layers.items():
        np.testing.assert_array_equal(layer.weight.codes, found[1].layers[name].weight.codes)
        np.testing.assert_array_equal(layer.bias, found[1].layers[name].bias)


def test_nothing_is_left_in_the_scratch_folder(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    model = residual().prepared(tmp_path)
    quantize(model, plan_for(model, "digest", "w4a8", {}), images(pictures(10)), scratch=scratch)
    assert not list(scratch.iterdir())


def test_settings_of_torch_are_as_they_were(tmp_path: Path) -> None:
    settings = torch.serialization.get_crc32_options, torch.get_num_threads, torch.are_deterministic_algorithms_enabled
    before = [setting() for setting in settings]
    residual().quantized(tmp_path, "w4a8", pictures(10))
    assert [setting() for setting in settings] == before


def test_progress_names_each_layer_once(tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    model = residual().prepared(tmp_path)
    plan = plan_for(model, "digest", "w4a8", {"rounding": "nearest"})
    quantize(model, plan, images(pictures(5)), progress=lambda *step: seen.append(step))
    assert [name for _, _, name in seen] == [*(layer.node for layer in plan.layers), ""]
    assert [done for done, _, _ in seen] == list(range(len(plan.layers) + 1))
    assert {total for _, total, _ in seen} == {len(plan.layers)}


def test_the_float_graph_is_as_it_was(tmp_path: Path) -> None:
    nodes = [conv("x", "w", "c"), node("Add", "c k", "a"), conv("a", "v", "d"), *head("d")]
    shapes = {"w": (4, 3, 3, 3), "w.b": (4,), "v": (4, 4, 3, 3), "v.b": (4,), "k": (10, 1), "g": (2, 4), "g.b": (2,)}
    model = Network(nodes, shapes).prepared(tmp_path)
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    quantize(model, plan_for(model, "digest", "w4a4", {}), images(pictures(5)))
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


# -- ranges


def _fixed(name: str, lo: float, hi: float) -> Callable[[QuantPlan], QuantPlan]:
    def change(plan: QuantPlan) -> QuantPlan:
        tensors = (replace(t, range="fixed", limits=(lo, hi)) if t.tensor == name else t for t in plan.tensors)
        return replace(plan, tensors=tuple(tensors))

    return change


def test_fixed_ranges_are_kept(tmp_path: Path) -> None:
    model = residual().quantized(tmp_path, "w8a8", pictures(10), change=_fixed("r2", -0.5, 1.25))
    kept = {tensor.tensor: tensor for tensor in model.plan.tensors}["r2"]
    assert (kept.range, kept.limits) == ("fixed", (-0.5, 1.25))
    assert model.main["r2"].scale == np.float32(1.75 / 255)
    assert "r2" not in model.absorbed  # the quantizer does not cut where the Relu does
    x = pictures(100, seed=2)
    ours, theirs = simulated(model, x), exported(model, tmp_path, x)
    assert np.abs(ours - theirs).mean() < 0.02 * ours.std()


def test_every_tensor_of_a_group_has_one_quantizer(tmp_path: Path) -> None:
    """Also a rectified one beside one that is not."""
    nodes = [
        conv("x", "w", "c"), node("Relu", "c", "r"), conv("r", "v", "d"), node("Concat", "r d", "j", axis=1),
        node("MaxPool", "j", "p", kernel_shape=[2, 2]), conv("p", "u", "e"), *head("e"),
    ]  # fmt: skip
    shapes = {"w": (4, 3, 3, 3), "v": (4, 4, 3, 3), "u": (4, 8, 3, 3), "g": (3, 4)}
    network = Network(nodes, shapes | {f"{name}.b": shape[:1] for name, shape in shapes.items()})
    for recipe in ("w8a8", "w4a4"):
        model = network.quantized(tmp_path, recipe, pictures(10), change=lambda plan: replace(plan, undecided=()))
        pairs = {(float(model.main[name].scale), int(model.main[name].zero_point)) for name in "rdjp"}
        assert len(pairs) == 1

"""The engine and what it may meet: bad input is told, unusual layers and shapes of networks come out right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lowbit.core.errors import BadInput
from lowbit.quant.engine import simulator
from tests.runtime.networks import (
    IMAGE,
    check,
    conv,
    exported,
    head,
    node,
    pictures,
    random,
    residual,
    simulated,
    small,
)


def test_no_images_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no calibration images"):
        residual().quantized(tmp_path, "w4a8", pictures(0))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_images_that_are_no_numbers_are_refused(tmp_path: Path, value: float) -> None:
    x = pictures(10)
    x[7, 1, 2, 3] = value
    with pytest.raises(BadInput, match="finite"):
        residual().quantized(tmp_path, "w4a8", x)


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("recipe", ["w8a8", "w4a4", "w2a4"])
def test_very_few_images_do(tmp_path: Path, count: int, recipe: str) -> None:
    model = residual().quantized(tmp_path, recipe, pictures(count))
    assert np.isfinite(simulated(model, pictures(4, seed=2))).all()


@pytest.mark.parametrize("rounding", ["nearest", "closed-form"])
@pytest.mark.parametrize("factor", [1.0, 100.0])
def test_a_dead_channel_gives_its_bias(tmp_path: Path, rounding: str, factor: float) -> None:
    """Whatever the range of the input: a channel of zeros has no scale of its own."""
    weight, bias = random(6, 3, 3, 3) / np.float32(factor), random(6, seed=1)
    weight[2], bias[2] = 0, 0.3
    model = check(small({"w": weight, "w.b": bias}), tmp_path, "w8a8", pictures(20) * np.float32(factor), 0.1,
                  rounding=rounding)  # fmt: skip
    layer = model.layers["c"]
    assert layer.bias is not None
    assert layer.bias_scale is not None
    assert layer.bias[2] * layer.bias_scale[2] == pytest.approx(0.3, rel=1e-3)


@pytest.mark.parametrize("recipe", ["w8a8", "w4a4", "w2a8"])
@pytest.mark.parametrize("rounding", ["nearest", "closed-form"])
def test_a_layer_of_zeros_gives_its_biases(tmp_path: Path, recipe: str, rounding: str) -> None:
    bias = random(6, seed=1)
    network = small({"v": np.zeros((6, 6, 3, 3), np.float32), "v.b": bias})
    model = network.quantized(tmp_path, recipe, pictures(10), rounding=rounding)
    x = pictures(20, seed=2)
    wanted = network.scores(x)
    assert np.abs(simulated(model, x) - wanted).max() < 0.1 * np.abs(wanted).max()
    assert np.abs(exported(model, tmp_path, x) - wanted).max() < 0.1 * np.abs(wanted).max()


@pytest.mark.parametrize("recipe", ["w8a8", "w4a8", "w2a8"])
@pytest.mark.parametrize("rounding", ["nearest", "closed-form"])
def test_activations_that_are_all_zero_leave_the_next_biases_alone(tmp_path: Path, recipe: str, rounding: str) -> None:
    """Everything before the second convolution is cut off by the first Relu."""
    network = small({"w.b": np.full(6, -1000, np.float32), "v.b": np.abs(random(6, seed=1))})
    model = network.quantized(tmp_path, recipe, pictures(10), rounding=rounding)
    x = pictures(20, seed=2)
    wanted = network.scores(x)
    assert np.abs(simulated(model, x) - wanted).max() < 0.05 * np.abs(wanted).max()


@pytest.mark.parametrize("recipe", ["w8a8", "w4a4"])
@pytest.mark.parametrize("value", [0.0, 2.5, -3.0])
def test_constant_images_are_no_reason_to_fail(tmp_path: Path, recipe: str, value: float) -> None:
    network, x = small({}), np.full((10, *IMAGE), value, np.float32)
    model = network.quantized(tmp_path, recipe, x)
    wanted = network.scores(x)
    within = 0.05 if recipe == "w8a8" else 0.3
    assert np.abs(simulated(model, x) - wanted).max() < within * np.abs(wanted).max()


@pytest.mark.parametrize("options", [{}, {"rounding": "nearest"}, {"group_size": 2}])
def test_a_bias_too_large_for_its_weights_widens_their_scale(tmp_path: Path, options: dict[str, Any]) -> None:
    tiny = random(3, 6)
    tiny[1] *= 1e-12
    network = small({"g": tiny, "g.b": np.array([0.1, 500, -0.2], np.float32)})
    model = check(network, tmp_path, "w8a8", pictures(20), 0.1, **options)
    assert any(note.startswith("1 channels have wider scales") and note.endswith(" y") for note in model.plan.notes)
    layer = model.layers["y"]
    assert layer.bias is not None
    assert np.abs(layer.bias.astype(np.int64)).max() <= 2**30 + 1


def test_a_shared_weight_is_stored_once_and_fits_both_users(tmp_path: Path) -> None:
    nodes = [conv("x", "w", "c"), node("Relu", "c", "r"), conv("r", "v", "d"), node("Relu", "d", "q"),
             conv("q", "v", "e"), node("Relu", "e", "s"), *head("s")]  # fmt: skip
    model = check(small({}, nodes), tmp_path, "w6a8", pictures(40), 0.25)
    np.testing.assert_array_equal(model.layers["d"].weight.codes, model.layers["e"].weight.codes)
    check(small({}, nodes), tmp_path, "w6a8", pictures(40), 0.5, rounding="nearest")


def test_a_shared_weight_has_the_width_that_each_user_asks_for(tmp_path: Path) -> None:
    nodes = [conv("x", "u", "c"), node("Relu", "c", "r"), conv("r", "u", "d"), node("Relu", "d", "q"),
             conv("q", "u", "e"), node("GlobalAveragePool", "e", "y")]  # fmt: skip
    network = small({"u": random(3, 3, 3, 3), "u.b": random(3)}, nodes)
    model = network.quantized(tmp_path, "w4a8", pictures(20))
    formats = [model.layers[name].weight.qparams.format.bits for name in "cde"]
    assert formats == [8, 4, 8]


def test_a_shared_weight_with_a_bias_too_large_for_its_second_user(tmp_path: Path) -> None:
    nodes = [conv("x", "w", "c"), node("Relu", "c", "r"), conv("r", "v", "d"), node("Relu", "d", "q"),
             node("Mul", "q small", "m"), node("Conv", "m v large", "e", pads=[1] * 4), node("Relu", "e", "s"),
             *head("s")]  # fmt: skip
    given = {"small": np.array(1e-7, np.float32), "large": np.full(6, 2000, np.float32)}
    model = check(small(given, nodes), tmp_path, "w8a8", pictures(20), 5.0)
    assert any(note.startswith("6 channels have wider scales") and note.endswith(" e") for note in model.plan.notes)


def test_a_normalization_of_its_own_is_exact_at_8_bits(tmp_path: Path) -> None:
    nodes = [node("BatchNormalization", "x s o m t", "n"), conv("n", "w", "c"), node("Relu", "c", "r"),
             node("BatchNormalization", "r s6 o6 m6 t6", "n2"), conv("n2", "v", "d"), node("Relu", "d", "q"),
             *head("q")]  # fmt: skip
    sizes = {"s": 3, "o": 3, "m": 3, "t": 3, "s6": 6, "o6": 6, "m6": 6, "t6": 6}
    given = {name: np.abs(random(size, seed=size)) + np.float32(0.5) for name, size in sizes.items()}
    model = check(small(given, nodes), tmp_path, "w4a8", pictures(40), 0.3)
    formats = {layer.node: layer.format.bits for layer in model.plan.layers if layer.format}
    assert formats == {"n": 8, "c": 8, "n2": 8, "d": 4, "y": 8}


def test_an_input_that_two_convolutions_read(tmp_path: Path) -> None:
    nodes = [conv("x", "w", "c"), conv("x", "u", "d"), node("Add", "c d", "a"), node("Relu", "a", "r"),
             conv("r", "v", "e"), *head("e")]  # fmt: skip
    check(small({"u": random(6, 3, 3, 3, seed=3), "u.b": random(6)}, nodes), tmp_path, "w4a8", pictures(40), 0.3)


@pytest.mark.parametrize("extra", ["q", "d", "x", "r"])
def test_several_outputs_are_all_computed(tmp_path: Path, extra: str) -> None:
    """Also one that a layer, or a Relu, reads too, and the input itself."""
    network = small({}, outputs=f"y {extra}")
    model = network.quantized(tmp_path, "w8a8", pictures(20))
    x = pictures(10, seed=2)
    with torch.no_grad():
        ours = simulator(model).outputs(torch.from_numpy(x))
    assert len(ours) == 2
    wanted = network.scores(x)
    assert np.abs(ours[0].numpy() - wanted).mean() < 0.1 * wanted.std()
    if extra != "x":  # ONNX has no name for an output that is an input
        assert np.abs(exported(model, tmp_path, x) - wanted).mean() < 0.1 * wanted.std()


def test_a_split_of_which_one_half_goes_to_floats_only(tmp_path: Path) -> None:
    nodes = [conv("x", "w", "c"), node("Split", "c", "s1 s2", axis=1, num_outputs=2),
             node("Softmax", "s1", "z", axis=1), conv("s2", "u", "d"), *head("d")]  # fmt: skip
    network = small({"u": random(6, 3, 3, 3, seed=3), "u.b": random(6)}, nodes, outputs="y z")
    model = network.quantized(tmp_path, "w4a4", pictures(20))
    assert np.isfinite(exported(model, tmp_path, pictures(3))).all()


@pytest.mark.parametrize(("name", "attributes", "shape", "bias"), [
    ("uneven", {"pads": [0, 1, 2, 1], "strides": [2, 1]}, (6, 6, 3, 3), 6), ("grouped", {"group": 3}, (6, 2, 3, 3), 6),
    ("same", {"pads": [0] * 4, "auto_pad": "SAME_UPPER", "strides": [2, 2]}, (6, 6, 3, 3), 6),
])  # fmt: skip
@pytest.mark.parametrize("recipe", ["w4a8", "w4a4"])
def test_convolutions_of_every_padding(
    tmp_path: Path, name: str, attributes: dict[str, Any], shape: tuple[int, ...], bias: int, recipe: str
) -> None:
    attributes = dict(attributes)
    if name == "same":
        attributes.pop("pads")
        middle = node("Conv", "r u u.b", "d", **attributes)
    else:
        middle = conv("r", "u", "d", **attributes)
    nodes = [
        conv("x", "w", "c"),
        node("Relu", "c", "r"),
        middle,
        node("Add", "d d", "dd"),
        conv("dd", "v", "e"),
        *head("e"),
    ]
    network = small({"u": random(*shape, seed=3), "u.b": random(bias)}, nodes)
    check(network, tmp_path, recipe, pictures(40), 0.3 if recipe == "w4a8" else 0.8)


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("pads", [[0, 0, 0, 0], [1, 1, 1, 1], [0, 1, 1, 0]])
def test_transposed_convolutions(tmp_path: Path, group: int, pads: list[int]) -> None:
    turned = node("ConvTranspose", "r u u.b", "d", group=group, strides=[2, 2], pads=pads)
    nodes = [
        conv("x", "w", "c"),
        node("Relu", "c", "r"),
        turned,
        node("Relu", "d", "q"),
        conv("q", "v", "e"),
        *head("e"),
    ]
    network = small({"u": random(6, 6 // group, 3, 3, seed=3), "u.b": random(6)}, nodes)
    check(network, tmp_path, "w6a8", pictures(40), 0.4)


def test_a_product_of_rows_and_one_of_two_activations(tmp_path: Path) -> None:
    nodes = [
        node("Flatten", "x", "xr", axis=2), node("MatMul", "xr k", "q0"), node("Add", "q0 kb", "q"),
        node("Transpose", "q", "t", perm=[0, 2, 1]), node("MatMul", "q t", "s"), node("Softmax", "s", "p"),
        node("MatMul", "p q", "m"), node("Relu", "m", "r"), node("MatMul", "r k2", "n"),
        node("Flatten", "n", "f"), node("Gemm", "f g2 g.b", "y", transB=1),
    ]  # fmt: skip
    nodes[0] = node("Reshape", "x rows", "xr")
    given = {"rows": np.array([-1, 30, 10]), "k": random(10, 8, seed=1), "kb": random(8), "k2": random(8, 4, seed=2),
             "g2": random(3, 120)}  # fmt: skip
    check(small(given, nodes), tmp_path, "w8a8", pictures(40), 0.25)
    check(small(given, nodes), tmp_path, "w4a8", pictures(40), 0.5)

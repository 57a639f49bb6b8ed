"""The student: it computes what its file computes, and its gradients are those of the definitions."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lowbit.quant.engine import quantize, simulator
from lowbit.quant.formats import Floats
from lowbit.quant.model import QuantizedModel
from lowbit.quant.plan.files import plan_for
from lowbit.training.fake import fine, fixed, learned
from lowbit.training.student import Student
from tests.quantized import REDUCED
from tests.runtime.networks import Network, conv, exported, head, images, node, pictures, residual, small


def shared() -> Network:
    nodes = [conv("x", "w", "c"), node("Relu", "c", "r"), conv("r", "v", "d"), node("Relu", "d", "q"),
             conv("q", "v", "e"), node("Relu", "e", "s"), *head("s")]  # fmt: skip
    return small({}, nodes)


def transposed() -> Network:
    nodes = [node("ConvTranspose", "x w w.b", "c", strides=[2, 2]), node("Clip", "c low high", "r"), *head("r")]
    given = {"low": np.array(0, np.float32), "high": np.array(1, np.float32)}
    weights = {"w": (3, 6, 2, 2), "w.b": (6,), "g": (3, 6), "g.b": (3,)}
    return Network(nodes, weights, given)


def student_of(
    network: Network, folder: Path, recipe: str, options: dict[str, Any] | None = None
) -> tuple[QuantizedModel, Student]:
    graph, targets = network.prepared(folder), dict[str, Floats]()
    plan = plan_for(graph, "digest", recipe, {"reduce_range": REDUCED, **(options or {})})
    model = quantize(graph, plan, images(pictures(40)), targets=targets)
    return model, Student(model, targets)


def scores(student: Student, x: torch.Tensor) -> torch.Tensor:
    student.begin()
    return student.scores(x)


def moved(student: Student) -> None:
    """A few large steps in some direction, so that codes, scales and biases change."""
    optimizer = torch.optim.Adam(student.parameters(), 0.04)
    x = torch.from_numpy(pictures(8, seed=3))
    for _ in range(8):
        optimizer.zero_grad()
        scores(student, x).square().sum().backward()  # type: ignore[no-untyped-call]
        optimizer.step()


NETWORKS = [
    (residual, "w8a8", {}),
    (residual, "w4a4", {}),
    (residual, "w3a3", {"ends": 3}),
    (residual, "w2a2", {}),
    (residual, "w2a8", {}),
    (residual, "w4a8", {"group_size": 4}),
    (residual, "w4a8-tflite", {}),
    (shared, "w4a4", {"ends": 4}),
    (transposed, "w4a4", {"ends": 4}),
]


@pytest.mark.parametrize(("make", "recipe", "options"), NETWORKS)
def test_at_first_it_is_the_closed_form(tmp_path: Path, make: Any, recipe: str, options: dict[str, Any]) -> None:
    model, student = student_of(make(), tmp_path, recipe, options)
    result = student.result()
    for name, layer in model.layers.items():
        np.testing.assert_array_equal(result.layers[name].weight.codes, layer.weight.codes)
        np.testing.assert_allclose(result.layers[name].weight.qparams.scale, layer.weight.qparams.scale, 1e-6)
        assert layer.bias is not None
        np.testing.assert_allclose(np.asarray(result.layers[name].bias), layer.bias, 1e-5, 1)
    for name, qparams in model.main.items():
        assert int(result.main[name].zero_point) == int(qparams.zero_point)
        np.testing.assert_allclose(result.main[name].scale, qparams.scale, 1e-6)


@pytest.mark.parametrize(("make", "recipe", "options"), NETWORKS)
def test_what_it_computes_is_its_file(tmp_path: Path, make: Any, recipe: str, options: dict[str, Any]) -> None:
    before, student = student_of(make(), tmp_path, recipe, options)
    moved(student)
    result, x = student.result(), pictures(30, seed=9)
    changed = [(result.layers[name].weight.codes != layer.weight.codes).any() for name, layer in before.layers.items()]
    assert any(changed)
    with torch.no_grad():
        trained = scores(student, torch.from_numpy(x)).numpy()
        wanted = simulator(result).scores(torch.from_numpy(x)).numpy()
    spread = wanted.std() + 1e-6
    assert np.median(np.abs(trained - wanted)) < 1e-3 * spread
    assert np.abs(trained - wanted).max() < 0.2 * spread  # of a rare tie, which rounds the other way
    if not recipe.endswith("tflite"):
        in_runtime = exported(result, tmp_path, x).reshape(len(x), -1)
        assert np.median(np.abs(in_runtime - wanted)) < 1e-2 * spread


def test_a_shared_weight_stays_one(tmp_path: Path) -> None:
    _, student = student_of(shared(), tmp_path, "w4a4")
    moved(student)
    layers = student.result().layers
    np.testing.assert_array_equal(layers["d"].weight.codes, layers["e"].weight.codes)
    assert layers["d"].weight.qparams.equals(layers["e"].weight.qparams)


def test_tensors_of_a_group_keep_one_scale(tmp_path: Path) -> None:
    model, student = student_of(residual(), tmp_path, "w2a2")
    moved(student)
    result, groups = student.result(), dict[str, set[float]]()
    for tensor in result.plan.tensors:
        qparams = (result.main if tensor.role == "main" else result.product)[tensor.tensor]
        groups.setdefault(tensor.group, set()).add(float(qparams.scale))
    assert all(len(scales) == 1 for scales in groups.values())
    assert any(result.main[name].scale != model.main[name].scale for name in model.main)


@settings(deadline=None, max_examples=60)
@given(st.floats(0.01, 3), st.integers(-8, 0), st.integers(1, 15), st.integers(0, 1000))
def test_gradients_are_those_of_the_definition(scale: float, low: int, high: int, seed: int) -> None:
    """Of plain operators with the straight-through estimator: round(v) is v + (round(v) - v) without a gradient."""
    generator = torch.Generator().manual_seed(seed)
    x = 4 * torch.randn(200, generator=generator)
    weights = torch.randn(200, generator=generator)
    logarithm = torch.tensor(float(np.log(scale)))
    plain = [x.clone().requires_grad_(), logarithm.clone().requires_grad_()]
    size = plain[1].exp()
    v = (plain[0] / size).clamp(low - 0.5, high + 0.5)
    codes = v + (v.round().clamp(low, high) - v).detach()
    # Beyond the limits the clamp hides v, and the code is a constant: only the scale moves the result.
    (codes * size * weights).sum().backward()  # type: ignore[no-untyped-call]
    ours = [x.clone().requires_grad_(), logarithm.clone().requires_grad_()]
    y = learned(ours[0], ours[1], low, high)
    (y * weights).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(y, (codes * size).detach(), rtol=1e-5, atol=1e-5)
    near = (x / scale - torch.tensor([low - 0.5, high + 0.5])[:, None]).abs().min(0).values < 1e-4
    assert ours[0].grad is not None
    assert plain[0].grad is not None
    torch.testing.assert_close(ours[0].grad[~near], plain[0].grad[~near])
    if not near.any():
        torch.testing.assert_close(ours[1].grad, plain[1].grad, rtol=1e-3, atol=1e-3)
    other = x.clone().requires_grad_()
    z = fixed(other, float(logarithm.exp()), low, high)
    (z * weights).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(z, y.detach())
    torch.testing.assert_close(other.grad, ours[0].grad)
    last = x.clone().requires_grad_()
    many = fine(last, float(logarithm.exp()), low, high)
    (many * weights).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(many, z)
    between = (codes > low) & (codes < high)
    assert last.grad is not None
    torch.testing.assert_close(last.grad, torch.where(between, weights, 0.0))

"""Training: the held-out loss falls and decides, nothing is lost by a kill, and bad numbers do no harm."""

import functools
import math
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.samples import Samples
from lowbit.core.training import Training, TrainingOptions
from lowbit.data.preprocess import to_input
from lowbit.quant.engine import float_runner, quantize, simulator
from lowbit.quant.formats import Floats
from lowbit.quant.model import QuantizedModel
from lowbit.quant.plan.files import plan_for
from lowbit.training import cost, rates
from lowbit.training.loss import feature_maps
from lowbit.training.pictures import Pictures
from lowbit.training.train import Trainer
from tests.quantized import REDUCED
from tests.runtime.digits import PREPROCESS, digits
from tests.runtime.networks import Network, conv, images, node, residual

MUCH = 10**10  # bytes
Arrays = dict[str, npt.NDArray[Any]]
Ending = Literal["logits", "probabilities", "one-output"]


@functools.cache
def samples() -> Samples:
    return digits(Path("nowhere"), "calibration")


@functools.cache
def weights(outputs: int) -> Arrays:
    """Of a network that tells digits apart, or one that tells those from 5 on from the others; trained on the spot."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(1, 12, 3, padding=1), nn.Conv2d(12, 12, 3, padding=1), nn.Conv2d(12, 16, 3, padding=1)]
    last = nn.Linear(16, outputs)
    model = nn.Sequential(
        layers[0], nn.ReLU(), layers[1], nn.ReLU(), nn.MaxPool2d(2), layers[2], nn.ReLU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), last,
    )  # fmt: skip
    x, labels = torch.from_numpy(to_input(samples().images, PREPROCESS)), torch.from_numpy(samples().labels)
    optimizer = torch.optim.Adam(model.parameters(), 0.01)
    for step in range(250):
        some = torch.from_numpy(np.random.default_rng(step).integers(0, len(x), 64))
        scores: torch.Tensor = model(x[some])
        if outputs == 1:
            loss = nn.functional.binary_cross_entropy_with_logits(scores[:, 0], (labels[some] >= 5).float())
        else:
            loss = nn.functional.cross_entropy(scores, labels[some])
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    given: Arrays = {}
    every: list[nn.Conv2d | nn.Linear] = [*layers, last]
    for name, layer in zip("uvwg", every, strict=True):
        assert layer.bias is not None
        given |= {name: layer.weight.detach().numpy(), f"{name}.b": layer.bias.detach().numpy()}
    return given


def network(ending: Ending = "logits") -> Network:
    result = "l" if ending == "probabilities" else "y"
    nodes = [
        conv("x", "u", "c"), node("Relu", "c", "r"), conv("r", "v", "d"), node("Relu", "d", "q"),
        node("MaxPool", "q", "p", kernel_shape=[2, 2], strides=[2, 2]), conv("p", "w", "e"), node("Relu", "e", "s"),
        node("GlobalAveragePool", "s", "a"), node("Flatten", "a", "f"), node("Gemm", "f g g.b", result, transB=1),
        *([node("Softmax", "l", "y")] if ending == "probabilities" else []),
    ]  # fmt: skip
    return Network(nodes, {}, weights(1 if ending == "one-output" else 10), x=(1, 8, 8))


class Case:
    """The network with weights of 2 bits, rounded to nearest so that there is much to gain, and digits to train on."""

    def __init__(self, folder: Path, ending: Ending = "logits") -> None:
        graph, self.targets = network(ending).prepared(folder), dict[str, Floats]()
        plan = plan_for(graph, "digest", "w2a4", {"reduce_range": REDUCED, "rounding": "nearest"})
        calibration = images(to_input(samples().images[:200], PREPROCESS))
        self.model = quantize(graph, plan, calibration, targets=self.targets)
        self.samples = samples()
        self.probabilities = ending == "probabilities"
        self.answers = (self.samples.labels >= 5).astype(np.int64) if ending == "one-output" else self.samples.labels

    def pictures(self, *, labels: bool = False) -> Pictures:
        return Pictures(self.samples, PREPROCESS, self.answers if labels else None, 0)

    def trainer(
        self, folder: Path, epochs: int = 3, *, labels: bool = False, allowed: int = MUCH, kind: type[Trainer] = Trainer
    ) -> Trainer:
        options, pictures = TrainingOptions(epochs, label_loss=0.2 if labels else 0.0), self.pictures(labels=labels)
        return kind(
            self.model, self.targets, pictures, options, folder=folder, allowed=allowed,
            probabilities=self.probabilities,
        )  # fmt: skip

    def train(self, folder: Path, epochs: int = 3, **others: Any) -> tuple[QuantizedModel, Training]:
        return self.trainer(folder, epochs, **others).run()


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("case"))


def arrays_of(model: QuantizedModel) -> Arrays:
    found: Arrays = {}
    for name, layer in model.layers.items():
        found |= {f"{name} codes": layer.weight.codes, f"{name} scale": layer.weight.qparams.scale}
        if layer.bias is not None:
            found[f"{name} bias"] = layer.bias
    return found | {f"{name} scale": qparams.scale for name, qparams in (*model.main.items(), *model.product.items())}


def assert_equal(a: QuantizedModel, b: QuantizedModel) -> None:
    one, other = arrays_of(a), arrays_of(b)
    assert one.keys() == other.keys()
    for name, values in one.items():
        np.testing.assert_array_equal(values, other[name], name)


@pytest.mark.parametrize("labels", [False, True])
def test_the_held_out_loss_falls_and_the_file_is_its_best_moment(case: Case, tmp_path: Path, labels: bool) -> None:
    model, found = case.train(tmp_path, labels=labels)
    assert found.gained
    losses = [point.loss for point in found.points]
    assert losses[found.best] == min(losses) < 0.9 * losses[0]
    assert (found.images, found.held_out, found.batch, found.at_a_time) == (1213, 134, 16, 16)
    assert (found.points[0].images, found.points[-1].images) == (0, 3 * 75 * 16)
    held = torch.from_numpy(to_input(case.samples.images[1213:], PREPROCESS))
    with torch.no_grad():
        answers, wanted = (runner.scores(held).argmax(1) for runner in (simulator(model), float_runner(model.graph)))
    point, right = found.points[found.best], torch.from_numpy(case.samples.labels[1213:])
    assert abs(float((answers == wanted).float().mean()) - point.agreement) <= 1 / 134
    if labels:
        assert point.accuracy is not None
        assert abs(float((answers == right).float().mean()) - point.accuracy) <= 1 / 134
        assert found.float_accuracy == pytest.approx(float((wanted == right).float().mean()))
    else:
        assert {each.accuracy for each in found.points} == {found.float_accuracy} == {None}


def test_a_training_that_gains_nothing_leaves_the_closed_form(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_OF_WEIGHTS", 1e9)
    model, found = case.train(tmp_path)
    assert not found.gained
    assert_equal(model, case.model)


def test_equal_seeds_give_equal_files(case: Case, tmp_path: Path) -> None:
    assert_equal(case.train(tmp_path / "a")[0], case.train(tmp_path / "b")[0])


def test_a_rate_that_is_too_high_is_halved_until_it_gains(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "_OF_WEIGHTS", 1.0)
    _, found = case.train(tmp_path)
    losses = [point.loss for point in found.points]
    assert max(losses) > 1.05 * losses[0]
    assert found.gained


class KilledError(Exception):
    pass


@pytest.mark.parametrize("at", [1, 9, 30, 53])
def test_a_training_that_was_cut_off_ends_as_one_that_was_not(case: Case, tmp_path: Path, at: int) -> None:
    """What lies in the folder after `at` steps is all that the second run has."""
    whole, found = case.train(tmp_path / "whole")
    steps = 0

    class Cut(Trainer):
        def _take_step(self, step: int) -> float:
            nonlocal steps
            if steps == at:
                raise KilledError
            steps += 1
            return super()._take_step(step)

    with pytest.raises(KilledError):
        case.trainer(tmp_path / "cut", kind=Cut).run()
    again, after = case.train(tmp_path / "cut")
    assert_equal(again, whole)
    assert [point.loss for point in after.points] == [point.loss for point in found.points]


def test_gradients_are_added_up_where_memory_is_short(case: Case, tmp_path: Path) -> None:
    whole, found = case.train(tmp_path / "whole", 1)
    bytes_a_picture = found.kept_bytes // found.at_a_time
    parameters = sum(
        4 * (layer.weight.codes.size + layer.weight.qparams.scale.size) for layer in case.model.layers.values()
    )
    few = int(cost._BESIDE * parameters * 1.2 + 3 * cost._PASSING * bytes_a_picture)
    parts, after = case.train(tmp_path / "parts", 1, allowed=few)
    assert after.batch == found.batch == found.at_a_time
    assert 1 <= after.at_a_time < found.at_a_time
    np.testing.assert_allclose([p.loss for p in after.points], [p.loss for p in found.points], 0.02)
    same = [np.mean(a == arrays_of(parts)[name]) for name, a in arrays_of(whole).items() if name.endswith("codes")]
    assert np.mean(same) > 0.98
    with pytest.raises(
        UnsupportedError, match=r"takes \d+ MB beside .*one picture at a time; 0 MB may be taken: a larger --max-memory"
    ):
        case.train(tmp_path / "none", 1, allowed=1000)


@pytest.mark.parametrize("times", [1, 3, 4])
def test_a_loss_that_is_no_number(case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    left, real = times, Trainer._loss

    def loss(self: Trainer, batch: Any) -> torch.Tensor:
        nonlocal left
        found = real(self, batch)
        state = getattr(self, "_state", None)  # not there yet while the cost of a step is found out
        if state is not None and state.step == 29 and left and torch.is_grad_enabled():
            left -= 1
            return found * math.nan
        return found

    monkeypatch.setattr(Trainer, "_loss", loss)
    if times > 3:
        with pytest.raises(UnsupportedError, match="after 464 images the loss is no number, at an eighth of the rate"):
            case.train(tmp_path)
        assert (tmp_path / "state.pt").exists(), "what there was is kept"
        return
    _, found = case.train(tmp_path)
    assert found.gained
    assert all(math.isfinite(point.loss) for point in found.points)


def test_a_budget_makes_it_shorter(case: Case, tmp_path: Path) -> None:
    options = TrainingOptions(1000, budget_s=3.0)
    trainer = Trainer(case.model, case.targets, case.pictures(), options, folder=tmp_path, allowed=MUCH)
    assert trainer._state.steps * trainer._cost.step_s <= 3.0
    _, found = trainer.run()
    assert found.points[-1].images == trainer._state.steps * found.batch < 1000 * 1152


def test_held_out_pictures_are_never_trained_on(case: Case) -> None:
    pictures = case.pictures()
    held = {image.tobytes() for batch in pictures.held(7) for image in batch.images.numpy()}
    seen = {image.tobytes() for step in range(144) for image in pictures.batch(step, 64).images.numpy()}
    assert len(held) == 134
    assert len(seen) == 1213, "each epoch leaves out others"
    assert not held & seen


@pytest.mark.parametrize("leaning", [False, True])
def test_pictures_are_mirrored_only_where_that_leaves_the_answers_alone(case: Case, leaning: bool) -> None:
    """A network that asks which half has more ink answers otherwise in a mirror; one that adds up does not."""
    pictures, columns = case.pictures(), torch.linspace(-1, 1, 8) if leaning else torch.ones(8)
    middle = 0.0 if leaning else 18.0
    pictures.look(lambda x: (x * columns).sum((1, 2, 3)) > middle)
    assert pictures.mirrored == (not leaning)


def test_a_network_of_one_output_says_by_its_threshold_whether_pictures_are_mirrored(tmp_path: Path) -> None:
    """Many digits from 5 on are no such digits in a mirror, and the other way round."""
    assert not Case(tmp_path, "one-output").trainer(tmp_path / "t")._pictures.mirrored


def test_pictures_that_may_not_be_changed_are_not(case: Case) -> None:
    pictures = case.pictures()
    every = {image.tobytes() for image in to_input(case.samples.images, PREPROCESS)}
    assert all(image.tobytes() in every for image in pictures.batch(3, 64).images.numpy())
    pictures.mirrored = pictures.shifted = True
    assert not all(image.tobytes() in every for image in pictures.batch(3, 64).images.numpy())


def test_too_few_pictures(case: Case) -> None:
    with pytest.raises(BadInput, match="19 training pictures: expected at least 20"):
        Pictures(replace(samples(), labels=samples().labels[:19]), PREPROCESS, None, 0)


@pytest.mark.parametrize("ending", ["probabilities", "one-output"])
@pytest.mark.parametrize("labels", [False, True])
def test_other_ends_than_logits(tmp_path: Path, ending: Ending, labels: bool) -> None:
    _, found = Case(tmp_path, ending).train(tmp_path / "t", labels=labels)
    assert found.points[found.best].loss < 0.9 * found.points[0].loss
    assert (found.float_accuracy or 1) > 0.85


def test_where_feature_maps_are_compared(tmp_path: Path) -> None:
    """The last ones of each size, at which nothing runs beside them."""
    model = residual().prepared(tmp_path)
    assert feature_maps(float_runner(model), torch.zeros(2, 3, 10, 10)) == ("ra", "r5")

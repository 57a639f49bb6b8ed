"""LiteRT and torch on trained networks and real pictures: the figures a user would see."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.adapter import BuildRequest, Floats, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples
from lowbit.data.cache import batches, make_samples, open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.declare import parse
from lowbit.data.labels import output_index
from lowbit.runtimes.find import runtimes
from lowbit.toolchains.find import toolchains

pytestmark = pytest.mark.slow
pytest.importorskip("litert_torch")


@dataclass(frozen=True, eq=False)
class Case:
    """A trained model with its pictures."""

    model: FloatModel
    preprocess: Preprocess
    calibration: Samples
    evaluation: Samples
    outputs: tuple[int, ...]
    folder: Path

    def scores(self, toolchain: str, recipe: str, count: int) -> Floats:
        """Build at batch 1 and score the first `count` evaluation images."""
        adapter = toolchains((toolchain,))[toolchain]
        runtime = runtimes(adapter.INFO.made_for)[adapter.INFO.made_for[0]]
        chosen = next(r for r in adapter.INFO.recipes if r.name == recipe)
        out = self.folder / f"{toolchain}-{recipe}"
        out.mkdir()
        built = adapter.build(
            BuildRequest(
                self.model, chosen, self.calibration, self.preprocess, out, self.folder / "cache", 1, threads=1, seed=0
            )
        )
        size = 1 if adapter.INFO.fixes_batch(adapter.INFO.recipes[0]) else 100
        artifact = Artifact(
            built.main,
            adapter.INFO.makes,
            recipe,
            self.model.input_shape,
            self.model.outputs,
            1 if adapter.INFO.fixes_batch(adapter.INFO.recipes[0]) else None,
            chosen.runtime_options,
        )
        with runtime.open_session(artifact, SessionOptions(threads=1, batch_size=size)) as session:
            pictures = zip(range(0, count, size), batches(self.evaluation, self.preprocess, size), strict=False)
            return np.concatenate([session.predict(images) for _, images in pictures])

    def top1(self, scores: Floats) -> float:
        """Per cent of right answers."""
        wanted = np.asarray(self.outputs)[self.evaluation.labels[: len(scores)]]
        return float(100 * (scores.argmax(axis=1) == wanted).mean())


def case(model: FloatModel, data: Path, preprocess: str, labels: Path | None, limit: int | None, folder: Path) -> Case:
    declared = parse(preprocess)
    make_samples(
        open_dataset(str(data)),
        declared,
        calibration_samples=512 if limit is None else 64,
        seed=0,
        limit=limit,
        out=folder / "samples",
        workers=1,
    )
    evaluation = open_samples(folder / "samples", "evaluation")
    outputs = output_index(evaluation.class_names, model.outputs, labels)
    return Case(model, declared, open_samples(folder / "samples", "calibration"), evaluation, outputs, folder)


@pytest.fixture(scope="module")
def resnet20(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    path = shared / "models" / "cifar10-resnet20.onnx"
    model = FloatModel(path, "resnet20", "resnet20", str(path), "", "input", "logits", (3, 32, 32), 10, False)
    folder = tmp_path_factory.mktemp("resnet20")
    return case(model, shared / "data" / "cifar10", "imagenet,resize=none,crop=none", None, None, folder)


@pytest.fixture(scope="module")
def mobilenet(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Case:
    path = shared / "models" / "imagenet-mobilenetv2.onnx"
    model = FloatModel(path, "mobilenet", "mobilenet", str(path), "", "input", "output", (3, 224, 224), 1001, True)
    data = shared / "data" / "imagenette"
    folder = tmp_path_factory.mktemp("mobilenet")
    return case(model, data, "imagenet-tf,resize=none", data / "labels.json", 100, folder)


@pytest.mark.parametrize("toolchain", ["litert", "torch"])
def test_resnet20_in_float(resnet20: Case, toolchain: str) -> None:
    assert resnet20.top1(resnet20.scores(toolchain, "fp32", 10_000)) == pytest.approx(91.73, abs=0.03)


@pytest.mark.parametrize(
    ("toolchain", "recipe"),
    [
        ("litert", "fp16"),
        ("litert", "int8-dynamic"),
        ("litert", "int8-static"),
        ("litert", "int8-weight-only"),
        ("torch", "bf16"),
        ("torch", "int8-dynamic"),
        ("torch", "int8-static"),
    ],
)
def test_resnet20_quantized(resnet20: Case, toolchain: str, recipe: str) -> None:
    assert resnet20.top1(resnet20.scores(toolchain, recipe, 10_000)) >= 91.4


def test_resnet20_with_16_bit_activations(resnet20: Case) -> None:
    """On 500 images only: LiteRT's 16-bit kernels are slow. Their answers are float's, but for a handful."""
    import onnxruntime

    images = np.concatenate(list(batches(resnet20.evaluation, resnet20.preprocess, 500))[:1])
    float_scores = onnxruntime.InferenceSession(str(resnet20.model.path)).run(None, {"input": images})[0]
    scores = resnet20.scores("litert", "int16x8", 500)
    assert (scores.argmax(axis=1) == float_scores.argmax(axis=1)).mean() > 0.98


@pytest.mark.parametrize("toolchain", ["litert", "torch"])
def test_mobilenet(mobilenet: Case, toolchain: str) -> None:
    """Depthwise convolutions, ReLU6 and 1,001 outputs: float as in ONNX Runtime, int8 not far off."""
    import onnxruntime

    images = np.concatenate(list(batches(mobilenet.evaluation, mobilenet.preprocess, 100)))
    wanted = onnxruntime.InferenceSession(str(mobilenet.model.path)).run(None, {"input": images})[0]
    scores = mobilenet.scores(toolchain, "fp32", 100)
    np.testing.assert_allclose(scores, wanted, atol=1e-4)
    integers = mobilenet.scores(toolchain, "int8-static", 100)
    assert (integers.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.7

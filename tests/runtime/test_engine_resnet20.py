"""The engine on a trained network, in little: 256 images to calibrate on, 1,000 to judge by."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from lowbit.core.adapter import Floats, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.data.datasets import open_dataset
from lowbit.data.preprocess import parse, to_input
from lowbit.formats.onnx.write import export_onnx
from lowbit.measure.precision import int8_share
from lowbit.quant.engine import quantize, simulator
from lowbit.quant.model import QuantizedModel
from lowbit.quant.plan.files import plan_for
from lowbit.quant.prepare import prepare
from lowbit.quant.ranges.observe import Images
from lowbit.runtimes.find import runtimes
from tests.quantized import REDUCED

PREPROCESS = parse("imagenet,resize=none,crop=none")
CALIBRATION, EVALUATION = 256, 1000
FLOAT_TOP1 = 0.915  # of the first 1,000 test images


@pytest.fixture(scope="module")
def pictures(shared: Path) -> tuple[Floats, Floats, np.ndarray]:
    """Calibration images, evaluation images, and the labels of these."""
    data = open_dataset(str(shared / "data" / "cifar10"))
    assert data.train is not None
    parts = ((data.train, CALIBRATION), (data.test, EVALUATION))
    pixels = [np.stack([p.pixels(PREPROCESS) for p in part.pictures(list(range(count)))]) for part, count in parts]
    fitted, judged = (to_input(each, PREPROCESS) for each in pixels)
    return fitted, judged, data.test.labels[:EVALUATION]


def quantized(model: Path, recipe: str, images: Floats) -> QuantizedModel:
    def batches(size: int) -> Iterator[Floats]:
        return (images[at : at + size] for at in range(0, len(images), size))

    torch.set_num_threads(1)
    graph = prepare(model)
    return quantize(graph, plan_for(graph, "resnet20", recipe, {"reduce_range": REDUCED}), Images(len(images), batches))


@pytest.mark.parametrize(("recipe", "points"), [("w4a8", 1.0), pytest.param("w2a4", 4.5, marks=pytest.mark.slow)])
def test_accuracy_and_kernels(
    recipe: str, points: float, shared: Path, tmp_path: Path, pictures: tuple[Floats, Floats, np.ndarray]
) -> None:
    """The file loses little, runs on integers in both runtimes, and scores as the simulator does."""
    fitted, judged, labels = pictures
    model = quantized(shared / "models" / "cifar10-resnet20.onnx", recipe, fitted)
    path = tmp_path / "model.onnx"
    export_onnx(model, path)
    with torch.no_grad():
        simulated = simulator(model).outputs(torch.from_numpy(judged)).numpy().argmax(axis=1)
    assert (simulated == labels).mean() >= FLOAT_TOP1 - points / 100
    for name in ("onnxruntime", "openvino"):
        artifact = Artifact(path, "onnx", "", (3, 32, 32), 10)
        with runtimes((name,))[name].open_session(artifact, SessionOptions(batch_size=100)) as session:
            found = np.concatenate([session.predict(judged[at : at + 100]) for at in range(0, len(judged), 100)])
            assert int8_share(session.executed_precision()) == 1.0
        assert (found.argmax(axis=1) == labels).mean() >= FLOAT_TOP1 - points / 100, name
    # OpenVINO adds the residual unrounded; ONNX Runtime computes what was simulated
    with runtimes(("onnxruntime",))["onnxruntime"].open_session(artifact, SessionOptions(batch_size=100)) as session:
        found = np.concatenate([session.predict(judged[at : at + 100]) for at in range(0, len(judged), 100)])
    assert (found.argmax(axis=1) == simulated).mean() >= 0.998

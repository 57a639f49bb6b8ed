"""A user's model through its source, and the float graph beside it: what the tests of all kinds of models share."""

from pathlib import Path

import numpy as np
import onnxruntime

from lowbit.core.adapter import Floats
from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from lowbit.data.declare import parse
from lowbit.data.preprocess import to_input
from lowbit.sources._edge import Loaded, Predict, SourceRequest
from lowbit.sources.check import check_against_source
from lowbit.sources.find import find


def pictures(count: int, shape: tuple[int, int, int]) -> Samples:
    """Coarse coloured squares with noise: unlike plain noise, they differ after averaging."""
    channels, height, width = shape
    rng = np.random.default_rng(0)
    coarse = rng.integers(0, 180, (count, 4, 4, channels)).repeat(height // 4, 1).repeat(width // 4, 2)
    images = (coarse + rng.integers(0, 76, (count, height, width, channels))).astype(np.uint8)
    labels = np.zeros(count, np.int64)
    return Samples(Path(), "calibration", "pictures", tuple("abcdefghij"), images, labels)


def request(
    spec: str,
    out: Path,
    shape: tuple[int, int, int],
    *,
    preprocess: str = "unit",
    weights: Path | None = None,
    outputs: int | None = None,
    seed: int = 0,
    count: int = 32,
) -> SourceRequest:
    samples = pictures(count, shape)
    return SourceRequest(spec, weights, shape, outputs, samples, parse(preprocess), out, seed=seed)


def load(asked: SourceRequest) -> Loaded:
    return find(asked.spec).load(asked)


def opened(model: FloatModel) -> Predict:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model.path), options, providers=["CPUExecutionProvider"])

    def predict(images: Floats) -> Floats:
        scores: Floats = session.run([model.output_name], {model.input_name: images})[0]
        return scores

    return predict


def checked(asked: SourceRequest) -> tuple[FloatModel, Floats]:
    """The float model and its scores of the calibration images, compared with the source's at several batch sizes."""
    loaded = load(asked)
    predict = opened(loaded.model)
    images = to_input(asked.calibration.images[:16], asked.preprocess)
    for part in (images, images[:1], images[:3]):
        assert check_against_source(predict, loaded.predict, part) < 1e-3
    return loaded.model, predict(images)

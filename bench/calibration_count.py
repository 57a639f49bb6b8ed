"""How many pictures TensorFlow's int8-static needs: top-1 and agreement with float against the number of pictures.

`python bench/calibration_count.py resnet8` or `mobilenetv2`: the file runs in LiteRT. The pictures are the first so
many of a random order of the training pictures, one order a seed. Nothing is timed.
"""

import os
import statistics
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from calibration import SHARED, STATIC, training_pictures

from lowbit.core.adapter import BuildRequest, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from lowbit.data.cache import batches, make_samples, open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.declare import parse
from lowbit.data.labels import output_index
from lowbit.runtimes.find import runtimes
from lowbit.sources._edge import SourceRequest
from lowbit.sources.find import find
from lowbit.toolchains import tensorflow as toolchain
from lowbit.worker.model import float_artifact

Answers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Network:
    """- model: its file
    - data: what it is evaluated on and calibrated with; None: CIFAR-10 with all its training pictures
    - preprocess, shape: how pictures become its input (C, H, W)
    - counts: the numbers of calibration pictures that are tried
    - seeds: how many draws of them
    - labels: which output a class of the data is
    - limit: how many pictures it is evaluated on; None: all
    """

    model: Path
    data: Path | None
    preprocess: str
    shape: tuple[int, int, int]
    counts: tuple[int, ...]
    seeds: int
    labels: Path | None = None
    limit: int | None = None


NETWORKS = {
    "resnet8": Network(
        SHARED / "models" / "pretrainedResnet.h5", None, "raw", (3, 32, 32),
        (10, 32, 100, 320, 1_000, 3_200, 10_000), 3,
    ),
    "mobilenetv2": Network(
        SHARED / "models" / "imagenet-mobilenetv2.onnx", SHARED / "data" / "imagenette", "imagenet-tf,resize=none",
        (3, 224, 224), (10, 32, 100, 320), 1, SHARED / "data" / "imagenette" / "labels.json", 1_000,
    ),
}  # fmt: skip


def answers(artifact: Artifact, runtime: str, samples: Samples, preprocess: str) -> Answers:
    """The most likely output for each picture."""
    options = SessionOptions(os.cpu_count() or 1)
    with runtimes((runtime,))[runtime].open_session(artifact, options) as session:
        found = [session.predict(images).argmax(1) for images in batches(samples, parse(preprocess), 1)]
    return np.concatenate(found)


def int8_answers(network: Network, model: FloatModel, some: Samples, evaluation: Samples) -> Answers:
    """Those of int8-static, calibrated with the pictures `some`."""
    with tempfile.TemporaryDirectory() as out:
        request = BuildRequest(model, STATIC, some, parse(network.preprocess), Path(out), Path(out), 1, 1, 0)
        main = toolchain.build(request).main
        artifact = Artifact(main, "tflite", "", model.input_shape, model.outputs, 1)
        return answers(artifact, "litert", evaluation, network.preprocess)


def try_seed(network: Network, seed: int, folder: Path) -> dict[int, tuple[float, float]]:
    """Pictures → percent right, and percent of float's answers."""
    preprocess, most = parse(network.preprocess), max(network.counts)
    dataset = open_dataset(str(network.data or training_pictures(folder / "data")))
    make_samples(
        dataset, preprocess, calibration_samples=most, seed=seed, limit=network.limit, out=folder / "pictures",
        workers=os.cpu_count() or 1,
    )  # fmt: skip
    every = open_samples(folder / "pictures", "calibration")
    evaluation = open_samples(folder / "pictures", "evaluation")
    (folder / "model").mkdir()
    spec = str(network.model)
    model = find(spec).load(SourceRequest(spec, None, network.shape, 10, every, preprocess, folder / "model")).model
    right = np.asarray(output_index(dataset.class_names, model.outputs, network.labels))[evaluation.labels]
    in_float = answers(float_artifact(model), "onnxruntime", evaluation, network.preprocess)
    found = {0: (100 * float((in_float == right).mean()), 100.0)}
    for count in network.counts:
        some = replace(every, images=every.images[:count], labels=every.labels[:count])
        given = int8_answers(network, model, some, evaluation)
        found[count] = (100 * float((given == right).mean()), 100 * float((given == in_float).mean()))
        print(seed, count, found[count], file=sys.stderr, flush=True)
    return found


def main(name: str) -> int:
    network = NETWORKS[name]
    tried = []
    for seed in range(network.seeds):
        with tempfile.TemporaryDirectory() as folder:
            tried.append(try_seed(network, seed, Path(folder)))
    print("| pictures | top-1, % | answers as float's, % |")
    print("| --- | --- | --- |")
    for count in tried[0]:
        cells = []
        for place in (0, 1):
            values = [each[count][place] for each in tried]
            spread = f" ({min(values):.2f}–{max(values):.2f})" if min(values) < max(values) else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        print(f"| {f'{count:,}' if count else 'float'} | {' | '.join(cells)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))

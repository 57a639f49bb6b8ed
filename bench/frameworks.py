"""The same network of two frameworks: Keras' MobileNetV2 beside torch's, each as its float graph, in one runtime.

Random weights, one picture of 224 × 224, one thread. Both have 300 million multiplications; Keras pads on one side
where torch pads on both.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lowbit.core.adapter import SessionOptions
from lowbit.core.codec import load_json, save_json
from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from lowbit.data.datasets import open_dataset
from lowbit.data.declare import parse
from lowbit.runtimes.find import runtimes
from lowbit.sources._edge import SourceRequest
from lowbit.sources.find import find
from lowbit.worker.model import float_artifact

SHARED = Path(__file__).resolve().parents[2] / "shared"
NETWORKS = {"keras:MobileNetV2": "keras-tf,resize=224x224", "torchvision:mobilenet_v2": "imagenet"}
RUNTIMES = ("onnxruntime", "openvino")
PICTURES = 64
PAIRS, SECONDS = 24, 1.3


@dataclass(frozen=True)
class Pair:
    """Milliseconds of Keras' and torch's network in turn."""

    runtime: str
    keras_ms: list[float]
    torch_ms: list[float]

    @property
    def ratio(self) -> float:
        return statistics.median(self.keras_ms) / statistics.median(self.torch_ms)

    @property
    def half(self) -> tuple[float, float]:
        """Between which ratios half of the pairs lie."""
        low, *_, high = statistics.quantiles([a / b for a, b in zip(self.keras_ms, self.torch_ms, strict=True)], n=4)
        return low, high


def write(spec: str, out: Path) -> None:
    """Write the float graph of `spec`, and what describes it."""
    preprocess = parse(NETWORKS[spec])
    part = open_dataset(str(SHARED / "data" / "imagenette")).train
    assert part is not None
    pixels = np.stack([picture.pixels(preprocess) for picture in part.pictures(range(PICTURES))])
    samples = Samples(out, "calibration", "", tuple("abcdefghij"), pixels, part.labels[:PICTURES])
    loaded = find(spec).load(SourceRequest(spec, None, (3, 224, 224), None, samples, preprocess, out))
    save_json(out / "model.json", loaded.model)


def graphs(folder: Path) -> Iterator[FloatModel]:
    """The float graphs, each made in a process of its own: torch and TensorFlow get in each other's way."""
    for number, spec in enumerate(NETWORKS):
        out = folder / str(number)
        out.mkdir()
        subprocess.run([sys.executable, __file__, spec, str(out)], capture_output=True, check=True)
        yield load_json(FloatModel, out / "model.json")


def pair_of(runtime: str, keras: FloatModel, torch: FloatModel) -> Pair:
    """Both networks in one process and runtime, in turn; who goes first alternates."""
    module = runtimes((runtime,))[runtime]
    images = np.random.default_rng(0).normal(size=(16, 1, 3, 224, 224)).astype(np.float32)
    found: list[list[float]] = [[], []]
    options = SessionOptions()
    with (
        module.open_session(float_artifact(keras), options) as one,
        module.open_session(float_artifact(torch), options) as other,
    ):
        for number in range(PAIRS):
            for place in (0, 1) if number % 2 else (1, 0):
                predict = (one, other)[place].predict
                found[place].append(1e3 * median_of(lambda i, call=predict: call(images[i % len(images)])))  # type: ignore[misc]
    return Pair(runtime, *found)


def median_of(call: Callable[[int], object]) -> float:
    seconds: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < SECONDS:
        start = time.perf_counter()
        call(len(seconds))
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> int:
    print("| runtime | Keras | torch | ratio | half of the pairs within |")
    print("| --- | --- | --- | --- | --- |")
    with tempfile.TemporaryDirectory() as folder:
        keras, torch = graphs(Path(folder))
        for runtime in RUNTIMES:
            pair = pair_of(runtime, keras, torch)
            low, high = pair.half
            one, other = statistics.median(pair.keras_ms), statistics.median(pair.torch_ms)
            print(f"| {runtime} | {one:.2f} ms | {other:.2f} ms "
                  f"| **{pair.ratio:.3f}×** | {low:.3f}–{high:.3f} |", flush=True)  # fmt: skip
    return 0


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    write(sys.argv[1], Path(sys.argv[2]))

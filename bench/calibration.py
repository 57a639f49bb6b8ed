"""Calibration by TensorFlow's converter: what lowbit adds to the converter's own loop, and where its time goes.

ResNet-8 on CIFAR-10's training pictures, int8-static, one thread. The plain loop is what a user writes: a generator of
single pictures as `representative_dataset`. Seconds are those between the first picture and the last, the converter's
work included. Peak memory is that of a child process, above the level before its build.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core.adapter import BuildRequest
from lowbit.core.codec import load_json, save_json
from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from lowbit.data.cache import make_samples, open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.declare import parse
from lowbit.data.preprocess import to_input
from lowbit.measure.memory import peak_above
from lowbit.sources._edge import SourceRequest
from lowbit.sources.find import find
from lowbit.toolchains import tensorflow as toolchain

SHARED = Path(__file__).resolve().parents[2] / "shared"
MODEL = SHARED / "models" / "pretrainedResnet.h5"
DATA = SHARED / "data"
RAW = parse("raw")
STATIC = next(recipe for recipe in toolchain.INFO.recipes if recipe.name == "int8-static")
PAIRS = 3
COUNTS = (2_000, 10_000)
FEW, MANY = 10_000, 50_000  # pictures between which memory may grow by 5 %
BOUND, MEMORY_BOUND = 1.1, 1.05
WARM = 10
PARTS_COUNT = 2_000


def training_pictures(data: Path) -> Path:
    """Make the folder `data` of CIFAR-10 with all its training pictures, and return it."""
    data.mkdir()
    for shard in ("test", "train-00000"):  # links in the folder of all shards, which a copy of it may not have kept
        (data / f"{shard}.parquet").symlink_to(DATA / "cifar10" / f"{shard}.parquet")
    for number in range(1, 5):
        (data / f"train-0000{number}.parquet").symlink_to(DATA / "cifar10-50k" / f"train-0000{number}.parquet")
    return data


def prepare(folder: Path) -> None:
    """Decode all training pictures, and write the float graph."""
    make_samples(
        open_dataset(str(training_pictures(folder / "data"))), RAW, calibration_samples=MANY, seed=0, limit=0,
        out=folder / "pictures", workers=os.cpu_count() or 1,
    )  # fmt: skip
    (folder / "model").mkdir()
    pictures = open_samples(folder / "pictures", "calibration")
    request = SourceRequest(str(MODEL), None, (3, 32, 32), 10, pictures, RAW, folder / "model")
    save_json(folder / "model.json", find(str(MODEL)).load(request).model)


def first(folder: Path, count: int) -> Samples:
    """The first `count` training pictures, in the random order of the cache."""
    every = open_samples(folder / "pictures", "calibration")
    return replace(every, images=every.images[:count], labels=every.labels[:count])


def ours(folder: Path, count: int) -> float:
    """Seconds that `int8-static` spends on calibration."""
    model = load_json(FloatModel, folder / "model.json")
    with tempfile.TemporaryDirectory() as out:
        request = BuildRequest(model, STATIC, first(folder, count), RAW, Path(out), Path(out), 1, 1, 0)
        seconds = toolchain.build(request).calibration_s
    assert seconds is not None
    return seconds


def plain(folder: Path, count: int) -> float:
    """The same in as few lines as TensorFlow's guide has."""
    import tensorflow as tf

    pictures, seconds = first(folder, count).images, 0.0

    def representative_dataset() -> Iterator[list[Any]]:
        nonlocal seconds
        start = time.perf_counter()
        for picture in pictures:
            yield [picture[np.newaxis].astype(np.float32)]
        seconds += time.perf_counter() - start

    converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen()])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_dataset
    converter.convert()
    return seconds


def frozen() -> Any:
    """The user's model as a function of one picture."""
    import tensorflow as tf
    import tf_keras
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    model = tf_keras.models.load_model(MODEL, compile=False)
    spec = tf.TensorSpec((1, 32, 32, 3), tf.float32)
    return convert_variables_to_constants_v2(
        tf.function(lambda x: model(x, training=False)).get_concrete_function(spec)
    )


def times(folder: Path) -> Iterator[tuple[int, float, float]]:
    """(pictures, our seconds, the plain loop's); medians of alternating pairs."""
    for count in COUNTS:
        found: dict[Any, list[float]] = {ours: [], plain: []}
        for number in range(PAIRS):
            for one in (ours, plain) if number % 2 else (plain, ours):
                found[one].append(one(folder, count))
        yield count, statistics.median(found[ours]), statistics.median(found[plain])


def parts(folder: Path) -> Iterator[tuple[str, float]]:
    """(what, microseconds a picture) of ways to run the float file over the same pictures, one at a time."""
    import tensorflow as tf
    from ai_edge_litert.interpreter import Interpreter, OpResolverType
    from tensorflow.lite.python.optimize.calibrator import Calibrator

    content = tf.lite.TFLiteConverter.from_concrete_functions([frozen()]).convert()
    images = to_input(first(folder, PARTS_COUNT).images, RAW).transpose(0, 2, 3, 1)
    pictures = [np.ascontiguousarray(image[np.newaxis]) for image in images]

    def in_litert(kernels: Any) -> float:
        interpreter = Interpreter(
            model_content=content, num_threads=1, experimental_op_resolver_type=kernels,
            experimental_preserve_all_tensors=False,
        )  # fmt: skip
        interpreter.allocate_tensors()
        place = interpreter.get_input_details()[0]["index"]
        interpreter.set_tensor(place, pictures[0])
        interpreter.invoke()
        start = time.perf_counter()
        for picture in pictures:
            interpreter.set_tensor(place, picture)
            interpreter.invoke()
        return time.perf_counter() - start

    def by_calibrator() -> float:
        calibrator = Calibrator(content)._calibrator
        calibrator.Prepare([list(pictures[0].shape)])
        calibrator.FeedTensor([pictures[0]])
        start = time.perf_counter()
        for picture in pictures:
            calibrator.FeedTensor([picture])
        return time.perf_counter() - start

    kinds = OpResolverType
    yield "LiteRT with XNNPACK", in_litert(kinds.AUTO) / PARTS_COUNT
    yield "LiteRT with its own kernels", in_litert(kinds.BUILTIN_WITHOUT_DEFAULT_DELEGATES) / PARTS_COUNT
    yield "LiteRT with its reference kernels", in_litert(kinds.BUILTIN_REF) / PARTS_COUNT
    yield "the converter's calibrator alone", by_calibrator() / PARTS_COUNT


def memory(folder: Path, count: int) -> int:
    """Peak bytes of a build with `count` pictures, in a process of its own."""
    words = [sys.executable, __file__, str(folder), str(count)]
    done = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
    return int(done.stdout.split()[-1])


def child(folder: Path, count: int) -> int:
    """What `memory` runs. TensorFlow itself, and what any build takes, are in memory before."""

    def build() -> None:
        ours(folder, count)

    ours(folder, WARM)
    return peak_above(build)


def main() -> int:
    met = True
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        prepare(folder)
        print("| pictures | lowbit | plain loop | ratio | bound |")
        print("| --- | --- | --- | --- | --- |")
        for count, own, other in times(folder):
            met = met and own <= BOUND * other
            print(f"| {count:,} | {own:.2f} s | {other:.2f} s | {own / other:.3f}× | ≤ {BOUND}× |", flush=True)
        print("\n| one picture through the float file | time |")
        print("| --- | --- |")
        for what, seconds in parts(folder):
            print(f"| {what} | {1e6 * seconds:.0f} µs |", flush=True)
        few, many = memory(folder, FEW), memory(folder, MANY)
        met = met and many <= MEMORY_BOUND * few
        print(f"\n| peak, {FEW:,} pictures | peak, {MANY:,} pictures | ratio | bound |")
        print("| --- | --- | --- | --- |")
        print(f"| {few / 1e6:.0f} MB | {many / 1e6:.0f} MB | {many / few:.3f} | ≤ {MEMORY_BOUND} |")
    return 0 if met else 1


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    print(child(Path(sys.argv[1]), int(sys.argv[2])))

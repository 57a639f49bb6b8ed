"""What finding ranges costs, as a multiple of a float pass over the same pictures; beside it, two vendors' quantizers.

The float pass of each is its own runtime's: torch for ours, ONNX Runtime for `quantize_static`, OpenVINO for NNCF. Ours
have one core for both (the engine lets one chunk of pictures a core go side by side), theirs all.
Peak memory is that of a child process, above the level before its pass. All methods but min–max cost what `mse` does:
one histogram.
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from lowbit.data.datasets import open_dataset
from lowbit.data.preprocess import parse, to_input
from lowbit.measure.memory import peak_above
from lowbit.quant.plan.placement import make_plan
from lowbit.quant.plan.plan import RangeMethod
from lowbit.quant.plan.scheme import Scheme
from lowbit.quant.prepare import prepare
from lowbit.quant.ranges.observe import Images, chunk_size, observe_ranges
from lowbit.quant.simulate import Simulator
from lowbit.torchgraph.importer import import_graph

SHARED = Path(__file__).resolve().parents[2] / "shared"
PAIRS, VENDOR_PAIRS = 5, 1
FEW, MANY = 512, 8192  # pictures between which memory may grow by 5 %
BOUNDS: dict[RangeMethod, float] = {"min-max": 1.2, "mse": 2.0}
MEMORY_BOUND = 1.05

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Network:
    """Timed over `count` pictures."""

    name: str
    model: Path
    data: Path
    preprocess: str
    count: int

    def pixels(self, count: int) -> Bytes:
        """Training pictures [count, H, W, C]."""
        preprocess = parse(self.preprocess)
        part = open_dataset(str(self.data)).train
        assert part is not None
        return np.stack([picture.pixels(preprocess) for picture in part.pictures(range(count))])

    def floats(self, count: int) -> Floats:
        """The same as the network reads them, [count, C, H, W]."""
        return to_input(self.pixels(count), parse(self.preprocess))


NETWORKS = (
    Network("ResNet-20", SHARED / "models" / "cifar10-resnet20.onnx", SHARED / "data" / "cifar10",
            "imagenet,resize=none,crop=none", 1024),
    Network("MobileNetV2", SHARED / "models" / "imagenet-mobilenetv2.onnx", SHARED / "data" / "imagenette",
            "imagenet-tf,resize=none", 192),
)  # fmt: skip


@dataclass(frozen=True)
class Cost:
    """Seconds of `what` and of a float pass over `count` pictures; medians of alternating pairs."""

    network: str
    what: str
    count: int
    seconds: float
    float_s: float
    bound: float | None = None

    @property
    def ratio(self) -> float:
        return self.seconds / self.float_s


def pass_of(network: Network, method: RangeMethod) -> tuple[Simulator, Callable[[Images], None]]:
    """The float network, and the engine's range pass with every tensor observed by one method."""
    model = prepare(network.model)
    plan = make_plan(model, "", Scheme(8, 8, range=method))
    with tempfile.TemporaryDirectory() as folder:
        ir.save(model, Path(folder) / "graph.onnx")
        runner = Simulator(import_graph(Path(folder) / "graph.onnx"))

    def observe(images: Images) -> None:
        observe_ranges(runner, model, plan, images)

    return runner, observe


def in_memory(floats: Floats) -> Images:
    return Images(len(floats), lambda size: (floats[at : at + size] for at in range(0, len(floats), size)))


@torch.no_grad()
def ours(network: Network, method: RangeMethod) -> Cost:
    torch.set_num_threads(1)
    runner, observe = pass_of(network, method)
    images = in_memory(network.floats(network.count))
    size = chunk_size(runner, images)

    def in_float() -> None:
        for chunk in images.chunks(size):
            runner.module(chunk)

    seconds, float_s = paired(lambda: observe(images), in_float)
    return Cost(network.name, f"lowbit, {method}", network.count, seconds, float_s, BOUNDS[method])


def paired(call: Callable[[], object], in_float: Callable[[], object], pairs: int = PAIRS) -> tuple[float, float]:
    """Median seconds of each; who goes first alternates, so that neither gets the better half of a drift."""
    found: dict[Callable[[], object], list[float]] = {call: [], in_float: []}
    for number in range(pairs + 1):
        for one in (call, in_float) if number % 2 else (in_float, call):
            start = time.perf_counter()
            one()
            found[one].append(time.perf_counter() - start)
    return statistics.median(found[call][1:]), statistics.median(found[in_float][1:])


def of_onnxruntime(network: Network, method: str) -> Cost:
    """`quantize_static` with calibration by `method`, one picture at a time, against its own float session."""
    import onnxruntime as ort
    from onnxruntime.quantization import CalibrationMethod, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    floats = network.floats(network.count)

    class Reader:
        def __init__(self, name: str) -> None:
            self._feeds = iter([{name: floats[at : at + 1]} for at in range(len(floats))])

        def get_next(self) -> dict[str, Any] | None:
            return next(self._feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        prepared, quantized = Path(folder) / "prepared.onnx", Path(folder) / "quantized.onnx"
        quant_pre_process(str(network.model), str(prepared), skip_symbolic_shape=True)
        session = ort.InferenceSession(prepared)
        name = session.get_inputs()[0].name

        def call() -> None:
            quantize_static(
                prepared, quantized, Reader(name), per_channel=True, activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod[method],
            )  # fmt: skip

        def in_float() -> None:
            for at in range(len(floats)):
                session.run(None, {name: floats[at : at + 1]})

        seconds, float_s = paired(call, in_float, VENDOR_PAIRS)
    return Cost(network.name, f"ONNX Runtime `quantize_static`, {method}", len(floats), seconds, float_s)


def of_nncf(network: Network) -> Cost:
    """`nncf.quantize` with all pictures, one at a time, against OpenVINO's float model in f32."""
    os.environ.setdefault("NNCF_CI", "1")  # its own switch: telemetry becomes a stub
    import nncf
    import openvino as ov

    floats = network.floats(network.count)
    core = ov.Core()
    pictures = [floats[at : at + 1] for at in range(len(floats))]
    compiled = core.compile_model(core.read_model(network.model), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})

    def call() -> None:
        with contextlib.redirect_stdout(sys.stderr):  # it draws its progress there
            nncf.quantize(core.read_model(network.model), nncf.Dataset(pictures), subset_size=len(pictures))

    def in_float() -> None:
        for picture in pictures:
            compiled(picture)

    seconds, float_s = paired(call, in_float, VENDOR_PAIRS)
    return Cost(network.name, "NNCF `quantize`", len(floats), seconds, float_s)


def memory(network: Network, method: RangeMethod, count: int) -> int:
    """Peak bytes of the range pass over `count` pictures, in a process of its own.

    glibc's allocator gives memory back at once there: what it holds in fragments otherwise (15 MB more or less, however
    many pictures) hides what is asked.
    """
    words = [sys.executable, __file__, network.name, method, str(count)]
    allocator = {"MALLOC_ARENA_MAX": "1", "MALLOC_MMAP_THRESHOLD_": "65536", "MALLOC_TRIM_THRESHOLD_": "0"}
    done = subprocess.run(
        words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL, env={**os.environ, **allocator}
    )
    return int(done.stdout)


def child(name: str, method: RangeMethod, count: int) -> int:
    """What `memory` runs: `count` pictures, FEW of them over and over, made into floats as they are read."""
    network = next(network for network in NETWORKS if network.name == name)
    preprocess, pixels = parse(network.preprocess), network.pixels(FEW)
    _, observe = pass_of(network, method)

    def batches(size: int) -> Iterator[Floats]:
        for at in range(0, count, size):
            yield to_input(pixels[np.arange(at, min(at + size, count)) % FEW], preprocess)

    with torch.no_grad():
        return peak_above(lambda: observe(Images(count, batches)))


def costs() -> Iterator[Cost]:
    """Our engine's, each method; then the vendors'."""
    for network in NETWORKS:
        for method in BOUNDS:
            yield ours(network, method)
        yield of_onnxruntime(network, "MinMax")
        yield of_nncf(network)


def memories() -> Iterator[tuple[str, RangeMethod, int, int]]:
    """(network, method, peak bytes with FEW, peak bytes with MANY)."""
    for method in BOUNDS:
        network = NETWORKS[0]
        yield network.name, method, memory(network, method, FEW), memory(network, method, MANY)


def main() -> int:
    met = True
    print("| network | what | pictures | seconds | float pass | ratio | bound |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for cost in costs():
        bound = "" if cost.bound is None else f"≤ {cost.bound}×"
        met = met and (cost.bound is None or cost.ratio <= cost.bound)
        print(f"| {cost.network} | {cost.what} | {cost.count} | {cost.seconds:.2f} | {cost.float_s:.2f} "
              f"| {cost.ratio:.2f}× | {bound} |", flush=True)  # fmt: skip
    print(f"\n| network | method | peak, {FEW} pictures | peak, {MANY} pictures | ratio | bound |")
    print("| --- | --- | --- | --- | --- | --- |")
    for network, method, few, many in memories():
        met = met and many <= MEMORY_BOUND * few
        print(f"| {network} | {method} | {few / 1e6:.0f} MB | {many / 1e6:.0f} MB | {many / few:.3f} "
              f"| ≤ {MEMORY_BOUND} |", flush=True)  # fmt: skip
    return 0 if met else 1


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    print(child(sys.argv[1], sys.argv[2], int(sys.argv[3])))  # type: ignore[arg-type]

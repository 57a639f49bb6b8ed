"""Latency and memory of our files against our own w8a8 and against the best vendor's int8 file of the same runtime.

All files of a runtime are open in one process and take turns, one image a call, one thread; ratios of medians. Peak
memory is that of a process of its own for each file, above the level before. Latency does not depend on how weights
are rounded, so ours are rounded to nearest here.
"""

import contextlib
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from lowbit.core.adapter import BuildRequest, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.model import FloatModel
from lowbit.data.cache import open_samples
from lowbit.data.preprocess import parse, to_input
from lowbit.runtimes.find import runtimes
from lowbit.toolchains.find import toolchains
from lowbit.worker import model as model_job
from lowbit.worker import samples as samples_job
from lowbit.worker.jobs import ModelJob, SamplesJob

SHARED = Path(__file__).resolve().parents[2] / "shared"
RECIPES = ("w8a8", "w4a8", "w4a4", "w2a4")
VENDORS = {"onnxruntime": ("onnxruntime",), "openvino": ("onnxruntime", "nncf")}  # who makes int8-static for it
FORMS = {"onnxruntime": ("",), "openvino": ("", "-ir")}  # what a recipe's name ends with, for each file we make
TURNS, CALLS = 40, 8
LATENCY_TO_VENDOR, MEMORY_TO_VENDOR = 1.05, 1.05


@dataclass(frozen=True)
class Network:
    """`bound`: how much slower than our w8a8 the narrower files may be."""

    name: str
    spec: str
    preprocess: str
    bound: float


NETWORKS = (
    Network("ResNet-18 at 224", "torchvision:resnet18", "imagenet", 1.10),
    Network("MobileNetV2 at 224", str(SHARED / "models" / "imagenet-mobilenetv2.onnx"), "imagenet-tf", 1.20),
)


@dataclass(frozen=True)
class Line:
    """One file in one runtime: median milliseconds, the middle half of its turns, and peak bytes."""

    network: str
    runtime: str
    file: str
    latency_ms: float
    low_ms: float
    high_ms: float
    peak_bytes: int


def lines() -> list[Line]:
    found = []
    with tempfile.TemporaryDirectory() as folder:
        for network in NETWORKS:
            home = Path(folder) / network.name
            home.mkdir()
            model, files = _files(network, home)
            for runtime, makers in VENDORS.items():
                recipes = [recipe + form for form in FORMS[runtime] for recipe in RECIPES]
                named = {f"lowbit {recipe}": files["lowbit", recipe] for recipe in recipes}
                named |= {f"{maker} int8-static": files[maker, "int8-static"] for maker in makers}
                found += _measured(network, model, runtime, named)
    return found


def _files(network: Network, home: Path) -> tuple[FloatModel, dict[tuple[str, str], Path]]:
    """Toolchain and recipe → its main file."""
    preprocess = parse(network.preprocess)
    samples_job.run(SamplesJob(str(SHARED / "data" / "imagenette"), preprocess, 64, 0, 8, home / "samples", 1))
    calibration = open_samples(home / "samples", "calibration")
    spec = ModelJob(network.spec, None, home / "samples", preprocess, home / "model", 0, 1)
    model = replace(model_job.run(spec), path=home / "model" / "float.onnx")
    wanted = [("lowbit", recipe + form) for form in FORMS["openvino"] for recipe in RECIPES]
    wanted += sorted({(maker, "int8-static") for makers in VENDORS.values() for maker in makers})
    files = {}
    for toolchain, name in wanted:
        module = toolchains((toolchain,))[toolchain]
        recipe = next(recipe for recipe in module.INFO.recipes if recipe.name == name)
        if toolchain == "lowbit":
            recipe = replace(recipe, options={"rounding": "nearest"})
        out = home / f"{toolchain}-{name}"
        out.mkdir()
        cache = home / "cache"
        cache.mkdir(exist_ok=True)
        request = BuildRequest(model, recipe, calibration, preprocess, out, cache, 1, threads=1, seed=0)
        with contextlib.redirect_stdout(sys.stderr):  # NNCF draws its progress there
            files[toolchain, name] = module.build(request).main
    return model, files


def _measured(network: Network, model: FloatModel, runtime: str, files: dict[str, Path]) -> list[Line]:
    module = runtimes((runtime,))[runtime]
    preprocess = parse(network.preprocess)
    image = to_input(open_samples(model.path.parents[1] / "samples", "calibration").images[:1], preprocess)
    times: dict[str, list[float]] = {name: [] for name in files}
    with ExitStack() as stack:
        sessions = {
            name: stack.enter_context(module.open_session(_artifact(path, model), SessionOptions()))
            for name, path in files.items()
        }
        for turn in range(TURNS + 1):
            order = list(files) if turn % 2 else list(files)[::-1]
            for name in order:
                calls = []
                for _ in range(CALLS):
                    start = time.perf_counter()
                    sessions[name].predict(image)
                    calls.append(1e3 * (time.perf_counter() - start))
                if turn:
                    times[name].append(statistics.median(calls))
    found = []
    for name, path in files.items():
        low, _, high = statistics.quantiles(times[name], n=4)
        peak = _peak(runtime, path, model)
        found.append(Line(network.name, runtime, name, statistics.median(times[name]), low, high, peak))
    return found


def _artifact(path: Path, model: FloatModel) -> Artifact:
    form = "openvino-ir" if path.suffix == ".xml" else "onnx"
    return Artifact(path, form, "", model.input_shape, model.outputs)


def _peak(runtime: str, path: Path, model: FloatModel) -> int:
    words = [sys.executable, __file__, runtime, str(path), *map(str, model.input_shape), str(model.outputs)]
    seen = []
    for _ in range(3):
        done = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        seen.append(int(done.stdout))
    return int(statistics.median(seen))


def _child(runtime: str, path: Path, shape: tuple[int, int, int], outputs: int) -> int:
    """Bytes above the level before, while the file is opened and run on one image."""
    import numpy as np

    from lowbit.measure.memory import peak_above

    module = runtimes((runtime,))[runtime]
    form = "openvino-ir" if path.suffix == ".xml" else "onnx"
    artifact = Artifact(path, form, "", shape, outputs)
    module.warm_up(SessionOptions())
    image = np.zeros((1, *shape), np.float32)

    def load_and_run() -> None:
        with module.open_session(artifact, SessionOptions()) as session:
            session.predict(image)

    return peak_above(load_and_run)


def table(found: list[Line]) -> list[str]:
    """Markdown, each file against our w8a8 and our w8a8 against the best vendor's."""
    rows = ["| network | runtime | file | p50, ms | against lowbit w8a8 | peak memory, MB |", "| --- " * 6 + "|"]
    for line in found:
        ours = _of(found, line.network, line.runtime, "lowbit w8a8")
        rows.append(
            f"| {line.network} | {line.runtime} | {line.file} | {line.latency_ms:.2f} "
            f"({line.low_ms:.2f}–{line.high_ms:.2f}) | {line.latency_ms / ours.latency_ms:.3f}× "
            f"| {line.peak_bytes / 1e6:.1f} |"
        )
    return rows


def verdicts(found: list[Line]) -> list[tuple[str, float, float]]:
    """What is bounded, its ratio, and the bound."""
    result = []
    for network in NETWORKS:
        for runtime in VENDORS:
            ours = _of(found, network.name, runtime, "lowbit w8a8")
            vendors = [
                line for line in found
                if (line.network, line.runtime) == (network.name, runtime) and line.file.endswith("int8-static")
            ]  # fmt: skip
            where = f"{network.name}, {runtime}"
            for recipe in [recipe + form for form in FORMS[runtime] for recipe in RECIPES[1:]]:
                ratio = _of(found, network.name, runtime, f"lowbit {recipe}").latency_ms / ours.latency_ms
                result.append((f"{where}: latency of {recipe} over our w8a8", ratio, network.bound))
            best = min(vendors, key=lambda line: line.latency_ms)
            ratio = ours.latency_ms / best.latency_ms
            result.append((f"{where}: latency of w8a8 over {best.file}", ratio, LATENCY_TO_VENDOR))
            for vendor in vendors:
                same = "lowbit w8a8-ir" if vendor.file.startswith("nncf") else "lowbit w8a8"  # a file of its format
                ratio = _of(found, network.name, runtime, same).peak_bytes / vendor.peak_bytes
                result.append((f"{where}: peak memory of {same} over {vendor.file}", ratio, MEMORY_TO_VENDOR))
    return result


def _of(found: list[Line], network: str, runtime: str, file: str) -> Line:
    return next(line for line in found if (line.network, line.runtime, line.file) == (network, runtime, file))


def main() -> int:
    found = lines()
    print("\n".join(table(found)))
    bounded = verdicts(found)
    print("\n| what | seen | bound |\n| --- | --- | --- |")
    for what, ratio, bound in bounded:
        print(f"| {what} | **{ratio:.3f}×** | ≤ {bound}×{'' if ratio <= bound else ' (not met)'} |")
    return 0 if all(ratio <= bound for _, ratio, bound in bounded) else 1


if __name__ == "__main__":
    if len(sys.argv) == 1:
        sys.exit(main())
    c, h, w, outputs = map(int, sys.argv[3:])
    print(_child(sys.argv[1], Path(sys.argv[2]), (c, h, w), outputs))

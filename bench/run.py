"""`make bench`: what lowbit itself costs, and how its files run, as ratios from one run. Writes docs/benchmarks.md.

`python bench/run.py kernels` measures one part only and leaves the page's others. Run it
on an otherwise idle machine. Needs the shared models and data beside the checkout.
"""

import ast
import io
import json
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from lowbit.core.adapter import SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.settings import Settings
from lowbit.data.datasets import open_dataset
from lowbit.data.preprocess import parse
from lowbit.measure.host import facts
from lowbit.measure.speed import run_loadgen
from lowbit.runtimes.find import runtimes

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
PAGE = ROOT / "docs" / "benchmarks.md"
ROUNDS = 7
PAIRS = 24
PARTS = {
    "kernels": "Our files against our own w8a8, and against the vendors' int8",
    "loading": "Peak memory while packed weights are loaded, bytes a weight",
    "ranges": "Finding ranges, as a multiple of a float pass",
    "calibration": "Calibration by TensorFlow's converter",
    "frameworks": "One network of two frameworks",
}  # file beside this one → its heading
OWN = "What lowbit costs"


@dataclass(frozen=True)
class Figure:
    what: str
    value: str
    bound: str
    met: bool
    stands_on: str


def loadgen_against_bare_loop() -> Figure:
    """The whole path of a query (LoadGen, our session, the edge) against the vendor's `run` in a plain loop."""
    model = SHARED / "models" / "imagenet-mobilenetv2.onnx"
    artifact = Artifact(model, "onnx", "", (3, 224, 224), 1001)
    runtime = runtimes(("onnxruntime",))["onnxruntime"]
    images = np.random.default_rng(0).normal(size=(32, 3, 224, 224)).astype(np.float32)
    settings = Settings(min_duration_s=1.0)
    ours: list[float] = []
    bare: list[float] = []
    with runtime.open_session(artifact, SessionOptions()) as session, tempfile.TemporaryDirectory() as logs:
        vendor = session.session  # type: ignore[attr-defined]
        inputs = vendor.get_inputs()[0].name

        def with_loadgen() -> None:
            run = run_loadgen(session.predict, images, settings, Path(logs) / str(len(ours)))
            assert run.latency_p50_ms is not None
            ours.append(run.latency_p50_ms)

        def without() -> None:
            bare.append(1e3 * median_of(lambda i: vendor.run(None, {inputs: images[i % 32 : i % 32 + 1]}), 1.3))

        for number in range(PAIRS):  # who goes first alternates, so that neither gets the better half of a drift
            for call in (with_loadgen, without) if number % 2 else (without, with_loadgen):
                call()
    ratio = statistics.median(ours) / statistics.median(bare)
    low, *_, high = statistics.quantiles([a / b for a, b in zip(ours, bare, strict=True)], n=4)
    return Figure(
        "LoadGen and session over a bare loop of the same ONNX Runtime session (MobileNetV2 fp32, p50)",
        f"{ratio:.4f}×", "≤ 1.02×", ratio <= 1.02,
        f"ratio of the medians of {PAIRS} interleaved runs each, {statistics.median(ours):.3f} against "
        f"{statistics.median(bare):.3f} ms; half of the pairs lie within {low:.3f}–{high:.3f}",
    )  # fmt: skip


def median_of(call: Callable[[int], object], seconds: float) -> float:
    found: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds:
        start = time.perf_counter()
        call(len(found))
        found.append(time.perf_counter() - start)
    return statistics.median(found)


def help_page() -> Figure:
    seconds = []
    for _ in range(ROUNDS + 1):
        start = time.perf_counter()
        subprocess.run([str(Path(sys.executable).with_name("lowbit")), "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - start)
    value = statistics.median(seconds[1:])
    return Figure("`lowbit --help`", f"{value:.2f} s", "≤ 0.4 s", value <= 0.4, f"median of {ROUNDS} runs")


def outside_children() -> Figure:
    """The share of a study's wall time during which no child process is at work."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["compare", "digits-cnn", "--data", "digits", "--min-duration", "0.5", "--rounds", "1", "-o", folder]
        start = time.time()
        done = subprocess.run([sys.executable, "-m", "lowbit", *words], capture_output=True, text=True, check=False)
        total = time.time() - start
        rows = json.loads((Path(folder) / "results.json").read_text())
        spans = sorted(spans_of(Path(folder)))
    assert done.returncode in (0, 3), done.stderr
    covered, reach = 0.0, 0.0
    for begin, end in spans:
        covered += max(0.0, end - max(begin, reach))
        reach = max(reach, end)
    share = 1 - covered / total
    measured = sum(row["status"] == "measured" for row in rows)
    return Figure(
        "wall time of a study outside child processes (`digits-cnn` on `digits`)", f"{100 * share:.1f} %", "≤ 10 %",
        share <= 0.1, f"one study of {measured} measured cells, {total:.0f} s in all",
    )  # fmt: skip


def spans_of(study: Path) -> Iterator[tuple[float, float]]:
    """When each child began (its job was written) and ended (its log was last written, or its result)."""
    results = {path.stem: path for path in study.rglob("*.json") if "logs" not in path.parts}
    for job in study.glob("logs/*/*.job.json"):
        stem = job.name.removesuffix(".job.json")
        near = study / "cells" / job.parent.name / f"{stem}.json"
        result = near if near.exists() else results.get(stem)
        if result is not None:
            yield job.stat().st_mtime, result.stat().st_mtime


def decoding(declared: str) -> Figure:
    """Our decoding of a parquet file's JPEGs against Pillow's own calls in a bare loop, on one core."""
    import pyarrow.parquet as pq

    preprocess = parse(declared)
    part = open_dataset(str(SHARED / "data" / "imagenette")).test
    count = 400
    blobs = [
        cell["bytes"]
        for cell in pq.read_table(SHARED / "data" / "imagenette" / "test.parquet", columns=["image"])["image"]
        .slice(0, count)
        .to_pylist()
    ]

    def bare() -> None:
        for blob in blobs:
            image = Image.open(io.BytesIO(blob)).convert("RGB")
            if isinstance(preprocess.resize, int):
                scale = preprocess.resize / min(image.size)
                size = (round(image.width * scale), round(image.height * scale))
                image = image.resize(size, Image.Resampling.BILINEAR)
            left, top = (image.width - 224) // 2, (image.height - 224) // 2
            np.asarray(image.crop((left, top, left + 224, top + 224)))

    def ours() -> None:
        for picture in part.pictures(list(range(count))):
            picture.pixels(preprocess)

    ratios = []
    for _ in range(ROUNDS):
        ratios.append(seconds_of(bare) / seconds_of(ours))
    ratio = statistics.median(ratios)
    return Figure(
        f"decoding with `{declared}`, speed against a bare Pillow loop, per core", f"{ratio:.2f}×", "≥ 0.8×",
        ratio >= 0.8, f"median of {ROUNDS} interleaved pairs over {count} Imagenette JPEGs "
        f"({min(ratios):.2f}–{max(ratios):.2f})",
    )  # fmt: skip


def seconds_of(call: Callable[[], None]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def own() -> tuple[str, bool]:
    figures = [
        loadgen_against_bare_loop(),
        help_page(),
        decoding("imagenet"),
        decoding("imagenet,resize=none"),
        outside_children(),
    ]
    lines = [
        "| what | seen | bound | stands on |",
        "| --- | --- | --- | --- |",
        *(f"| {f.what} | **{f.value}** | {f.bound}{'' if f.met else ' (not met)'} | {f.stands_on} |" for f in figures),
    ]
    return "\n".join(lines), all(figure.met for figure in figures)


def part(name: str) -> tuple[str, bool]:
    """What bench/<name>.py prints, and whether its bounds are met."""
    file = Path(__file__).with_name(f"{name}.py")
    done = subprocess.run([sys.executable, str(file)], capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise RuntimeError(done.stderr)
    explained = " ".join((ast.get_docstring(ast.parse(file.read_text())) or "").split())
    return f"{explained}\n\n{done.stdout.strip()}", done.returncode == 0


def main(wanted: list[str]) -> int:
    if not SHARED.is_dir():
        print("the shared models and data are not beside this checkout: nothing can be measured")
        return 2
    headings = {"own": OWN, **PARTS}
    unknown = set(wanted) - set(headings)
    if unknown:
        print(f"no part is called {', '.join(sorted(unknown))}; choose from {', '.join(headings)}")
        return 2
    texts = dict(zip(*[iter(re.split(r"^## (.*)\n+", PAGE.read_text(), flags=re.MULTILINE)[1:])] * 2, strict=True))
    met = True
    for name, heading in headings.items():
        if not wanted or name in wanted:
            text, good = own() if name == "own" else part(name)
            texts[heading] = f"{text}\n\n"
            met = met and good
            print(f"## {heading}\n\n{text}\n", flush=True)
    host = facts()
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`, on an otherwise idle machine; ratios come from one run.",
        "",
        f"Host `{host.id}`: {host.cpu}, {host.cores} cores, {host.memory_bytes / 2**30:.0f} GiB, "
        f"{' '.join(host.isa)}, Python {host.python}.",
        "",
    ]
    body = "".join(f"## {heading}\n\n{texts[heading].strip()}\n\n" for heading in headings.values() if heading in texts)
    PAGE.write_text("\n".join(lines) + "\n" + body.rstrip() + "\n")
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

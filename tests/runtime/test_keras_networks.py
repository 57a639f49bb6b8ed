"""Keras Applications in every mode of TensorFlow's converter, and by our engine: do they run, and how close to float?

Random weights, made to vary. The tables stand in docs/networks.md; `LOWBIT_WRITE_DOCS=1` writes them anew.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.adapter import Floats
from lowbit.core.artifact import Artifact
from lowbit.core.cell import Outcome
from lowbit.core.errors import LowbitError
from lowbit.core.model import GRAPH, FloatModel
from lowbit.data.cache import batches, open_samples
from lowbit.data.preprocess import parse
from lowbit.formats.litert.write import export_litert
from lowbit.formats.onnx.write import export_onnx
from lowbit.measure.difference import answers_of
from lowbit.quant.engine import quantize
from lowbit.quant.plan.files import plan_for
from lowbit.quant.prepare import prepare
from lowbit.quant.ranges.observe import Images
from lowbit.sources.find import find
from lowbit.study.execute.local import LocalExecutor
from lowbit.study.execute.placed import PlacedJob
from lowbit.toolchains import tensorflow as toolchain
from lowbit.worker.jobs import BuildJob, Job, ModelJob, SamplesJob, ScoresJob
from lowbit.worker.model import float_artifact
from tests.quantized import REDUCED
from tests.runtime.networks_page import Table

pytestmark = pytest.mark.slow
if find_spec("tensorflow") is None:  # not imported here: torch and TensorFlow share no process
    pytest.skip("tensorflow is not installed", allow_module_level=True)

CALIBRATION, COMPARED, BATCH, SIDE = 32, 32, 8, 224
FEW = 8  # pictures that files answer whose kernels are many times slower
FEWER = {"InceptionV3": 16, "ConvNeXtTiny": 8}
"""Large network → pictures to calibrate with. To save time, our engine rounds its weights to nearest, too."""
CONVERTED = ("fp32", "fp16", "int8-dynamic", "int8-static", "int8-integer-only", "int16x8")
OWN = ("w8a8", "w4a8")
NETWORKS = ("MobileNetV2", "MobileNetV3Small", "EfficientNetB0", "InceptionV3", "ResNet50", "ConvNeXtTiny")


@dataclass(frozen=True, slots=True)
class Seen:
    """One file in one runtime, beside the float graph in ONNX Runtime; nothing but `why` where it does not run.

    - decibels: signal to noise of the middle picture: the spread of all scores over the root mean square of its error.
      Random weights give a few pictures scores far from all others, which no range was calibrated for.
    - equal: share of equal answers
    """

    file: str
    runtime: str
    decibels: float | None = None
    equal: float | None = None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Bench:
    """A folder in which jobs are done in child processes, one after the other."""

    folder: Path
    executor: LocalExecutor

    def __call__(self, name: str, job: Job[object]) -> Outcome[object]:
        place = self.folder / "results" / f"{name}.json"
        [ended] = self.executor.run(name, [PlacedJob(name, job, place, self.folder / "logs" / name)])
        return ended


class Network:
    """A network of Keras Applications as a float graph, its files, and their scores."""

    def __init__(self, name: str, data: Path, folder: Path) -> None:
        self.name, self.folder = name, folder
        self.job = Bench(folder, LocalExecutor(folder, 3600.0, 1, lambda _: None))
        own = str(find("keras:").INFO.default_for(f"keras:{name}"))
        self.preprocess = parse(f"{own.partition(',')[0]},resize={SIDE}x{SIDE}")
        self.samples, self.few = folder / "samples", folder / "few"
        for out, count in ((self.samples, COMPARED), (self.few, FEW)):
            calibration = FEWER.get(name, CALIBRATION)
            split = SamplesJob(str(data), self.preprocess, calibration, 0, count, out, 1)
            assert self.job(out.name, split).end == "done"
        asked = ModelJob(f"keras:{name}", None, self.samples, self.preprocess, folder / "model", 0, 1)
        found = self.job("model", asked).result
        assert isinstance(found, FloatModel)
        self.model = replace(found, path=folder / "model" / GRAPH)

    def scores(self, artifact: Artifact, runtime: str, name: str, samples: Path) -> Floats | str:
        """The scores of a file in a runtime, or why it does not run."""
        name = f"{name}-{runtime}-{samples.name}"
        out = self.folder / f"{name}.npy"
        if not out.exists():
            ended = self.job(name, ScoresJob(artifact, runtime, samples, self.preprocess, BATCH, 1, out))
            if ended.end != "done":
                return ended.reason
        scores: Floats = np.load(out)
        return scores

    def seen(self, artifact: Artifact, runtime: str, name: str, *, slow: bool = False) -> Seen:
        """A file in a runtime, beside the float graph; on a few pictures where it is `slow`."""
        samples = self.few if slow else self.samples
        expected = self.scores(float_artifact(self.model), "onnxruntime", "float", samples)
        found = self.scores(artifact, runtime, name, samples)
        assert not isinstance(expected, str), expected
        if isinstance(found, str):
            return Seen(name, runtime, why=found)
        noise = np.median(np.square(found - expected).mean(axis=1))
        decibels = 10 * math.log10(expected.var() / max(noise, 1e-20))
        return Seen(name, runtime, decibels, float(np.mean(answers_of(found) == answers_of(expected))))

    def artifact(self, path: Path, form: str) -> Artifact:
        """A file of this network."""
        fixed = BATCH if form == "tflite" else None
        return Artifact(path, form, "", self.model.input_shape, self.model.outputs, fixed)

    def converted(self) -> Iterator[Seen]:
        """Every mode of TensorFlow's converter, in every runtime that it is made for."""
        recipes = {recipe.name: recipe for recipe in toolchain.INFO.recipes}
        for name in CONVERTED:
            out = self.folder / name
            job = BuildJob(
                key="", toolchain="tensorflow", recipe=recipes[name], model=self.model, samples=self.samples,
                preprocess=self.preprocess, out=out, cache=self.folder / "cache", evidence=self.folder / "evidence",
                progress=self.folder / "progress.json", batch_size=BATCH, threads=1, seed=0,
            )  # fmt: skip
            built = self.job(name, job)
            for runtime in toolchain.INFO.runtimes_for(recipes[name]):
                if built.end == "done":
                    slow = runtime in recipes[name].slow_in
                    yield self.seen(self.artifact(out / "model.tflite", "tflite"), runtime, name, slow=slow)
                else:
                    yield Seen(name, runtime, why=built.reason)

    def quantized(self, widths: str) -> Iterator[Seen]:
        """Our engine's file as ONNX, in ONNX Runtime and OpenVINO, and as .tflite in LiteRT."""
        graph = prepare(self.model.path)
        rounding = "nearest" if self.name in FEWER else "closed-form"
        plan = plan_for(graph, self.model.digest, widths, {"rounding": rounding, "reduce_range": REDUCED})
        calibration = open_samples(self.samples, "calibration")
        images = Images(len(calibration), lambda size: batches(calibration, self.preprocess, size))
        made = quantize(graph, plan, images, scratch=self.folder)
        path = self.folder / f"{widths}.onnx"
        export_onnx(made, path)
        for runtime in ("onnxruntime", "openvino"):
            yield self.seen(self.artifact(path, "onnx"), runtime, widths)
        path = path.with_suffix(".tflite")
        try:
            export_litert(made, path, batch_size=BATCH)
        except LowbitError as error:
            yield Seen(f"{widths}-tflite", "litert", why=str(error))
        else:
            yield self.seen(self.artifact(path, "tflite"), "litert", f"{widths}-tflite")


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, shared: Path, tmp_path: Path) -> None:
    network = Network(name, shared / "data" / "imagenette", tmp_path)
    seen = [*network.converted(), *(each for widths in OWN for each in network.quantized(widths))]
    _check(seen)
    _note(name, seen)


def _check(seen: list[Seen]) -> None:
    """Everything runs, and no file is farther from float than its width says beside the others of the same network."""
    assert not [each for each in seen if each.why]
    close = {(each.file, each.runtime): each.decibels or 0.0 for each in seen}
    static, own = close["int8-static", "litert"], close["w8a8-tflite", "litert"]
    for runtime in toolchain.INFO.made_for:
        assert close["fp32", runtime] >= _EXACT, runtime
        assert close["fp16", runtime] >= 20, runtime
        assert close["int8-static", runtime] >= static - 3, runtime
        assert close["int8-integer-only", runtime] >= static - 3, runtime
    assert close["int8-dynamic", "litert"] >= static - 1
    assert close["int16x8", "litert"] >= static - 3, "of other pictures"
    assert own >= static - 1.5
    for runtime in ("onnxruntime", "openvino"):
        assert close["w8a8", runtime] >= own - 3, runtime
        assert close["w4a8", runtime] >= close["w4a8-tflite", "litert"] - 3, runtime


# --- the page ---------------------------------------------------------------------------------------------------------

_EXACT = 80  # decibels: what lies above is float's own rounding
_FILES = (*CONVERTED, *OWN)
_COLUMNS = f"| network | {' | '.join(_FILES)} |"
_LINE = "| --- " * (1 + len(_FILES)) + "|"
_CLOSE = Table(
    (
        "## Keras Applications in LiteRT, ONNX Runtime and OpenVINO",
        "",
        "Random weights, seeded and made to vary, 224 × 224, ten logits; every mode of TensorFlow's converter, and",
        "w8a8 and w4a8 of our engine, from one float graph. Every file runs wherever it is made for. Imagenette's",
        f"pictures: {CALIBRATION} to calibrate with ({', '.join(f'{name} {count}' for name, count in FEWER.items())}),",
        f"others to compare on: {COMPARED}, and {FEW} for int16x8, whose kernels are slow. Our engine rounds weights",
        "in closed form, and to nearest where there are fewer pictures. Made by",
        "`LOWBIT_WRITE_DOCS=1 pytest -m slow tests/runtime/test_keras_networks.py`.",
        "",
        "Signal to noise of the logits in dB, of the middle picture, beside the float graph in ONNX Runtime:",
        "TensorFlow's files in LiteRT / OpenVINO (int8-dynamic and int16x8 are made for LiteRT only), ours in ONNX",
        "Runtime / OpenVINO / LiteRT. Weights that nobody trained hand noise on more strongly than trained ones do,",
        "how strongly fp16 shows: a row is read against itself.",
        "",
        _COLUMNS,
        _LINE,
    ),
    NETWORKS,
    tolerance=3,
)
_EQUAL = Table(
    (
        "### Equal answers",
        "",
        "Of the same files in the same order: the best of ten logits is the float graph's, in percent of the pictures.",
        "Nobody trained the weights, so that answers are close: a little noise changes more than in a trained network.",
        "",
        _COLUMNS,
        _LINE,
    ),
    NETWORKS,
    tolerance=13,
)


def _note(name: str, seen: list[Seen]) -> None:
    _CLOSE.note(name, [_row(name, [(each.file, _decibels(each)) for each in seen])])
    _EQUAL.note(name, [_row(name, [(each.file, _percent(each)) for each in seen])])


def _row(name: str, cells: list[tuple[str, str]]) -> str:
    columns = [" / ".join(text for file, text in cells if file.split("-tflite")[0] == column) for column in _FILES]
    return f"| {name} | {' | '.join(columns)} |"


def _decibels(each: Seen) -> str:
    if each.decibels is None:
        return "–"
    return f"≥ {_EXACT}" if each.decibels >= _EXACT else f"{each.decibels:.0f}"


def _percent(each: Seen) -> str:
    return "–" if each.equal is None else f"{100 * each.equal:.0f}"

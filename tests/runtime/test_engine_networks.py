"""Twelve torchvision networks through the engine: what stays in float, what runs in int8, and does it compute right?

Random weights, made to vary. The table stands in docs/networks.md; `LOWBIT_WRITE_DOCS=1` writes it anew.
"""

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from lowbit.core.adapter import SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.model import FloatModel
from lowbit.core.samples import Samples
from lowbit.data.cache import batches, open_samples
from lowbit.data.preprocess import parse, to_input
from lowbit.formats.onnx.write import export_onnx
from lowbit.formats.openvino.write import export_openvino
from lowbit.measure.precision import int8_share
from lowbit.quant.engine import quantize
from lowbit.quant.plan.files import plan_for
from lowbit.quant.plan.plan import QuantPlan
from lowbit.quant.prepare import prepare
from lowbit.quant.ranges.observe import Images
from lowbit.runtimes.find import runtimes
from lowbit.worker import model as model_job
from lowbit.worker import samples as samples_job
from lowbit.worker.jobs import ModelJob, SamplesJob
from lowbit.worker.verify import verify_artifact
from tests.quantized import REDUCED
from tests.runtime.networks_page import Table

pytestmark = pytest.mark.slow

NETWORKS = (
    "alexnet", "vgg19", "resnet50", "densenet121", "squeezenet1_0", "shufflenet_v2_x1_0", "mobilenet_v3_large",
    "efficientnet_b0", "regnet_y_400mf", "convnext_tiny", "vit_b_16", "swin_t",
)  # fmt: skip
WIDTHS = ("w8a8", "w4a8")
CALIBRATION, VERIFIED = 16, 4  # a squeeze has as few codes as channels: one tie of 672 is 0.15 %
ROUNDING = "nearest"  # what stays in float, and whether kernels compute right, does not depend on it
PREPROCESS = parse("imagenet")


@dataclass(frozen=True)
class Seen:
    """One file in one runtime."""

    plan: QuantPlan
    widths: str
    form: str
    runtime: str
    int8_share: float
    equal: float
    largest: int
    layers: int


@pytest.fixture(scope="module")
def samples(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "samples"
    samples_job.run(SamplesJob(str(shared / "data" / "imagenette"), PREPROCESS, CALIBRATION, 0, 8, folder, 1))
    return folder


@pytest.mark.parametrize("name", NETWORKS)
def test_network(name: str, samples: Path, tmp_path: Path) -> None:
    job = ModelJob(f"torchvision:{name}", None, samples, PREPROCESS, tmp_path / "model", 0, 1)
    model = replace(model_job.run(job), path=tmp_path / "model" / "float.onnx")
    calibration = open_samples(samples, "calibration")
    seen = [each for widths in WIDTHS for each in _carry_out(widths, model, calibration, tmp_path)]

    for each in seen:
        where = f"{name} {each.widths} {each.form} in {each.runtime}"
        assert each.layers > 0, where
        assert each.largest <= 1, where
        assert each.equal >= 0.999, where
    assert all(entry.why for entry in seen[0].plan.floats), "every operator left in float has a reason"
    Table(_HEAD, NETWORKS).note(name, [_row(name, seen)])


def _carry_out(widths: str, model: FloatModel, calibration: Samples, folder: Path) -> list[Seen]:
    graph = prepare(model.path)
    plan = plan_for(graph, model.digest, widths, {"rounding": ROUNDING, "reduce_range": REDUCED})
    images = Images(len(calibration), lambda size: batches(calibration, PREPROCESS, size))
    quantized = quantize(graph, plan, images, scratch=folder)
    paths = {"onnx": folder / f"{widths}.onnx", "openvino-ir": folder / f"{widths}.xml"}
    export_onnx(quantized, paths["onnx"])
    export_openvino(quantized, paths["openvino-ir"])
    pictures = to_input(calibration.images[:VERIFIED], PREPROCESS)
    found = []
    for runtime, form in (("onnxruntime", "onnx"), ("openvino", "onnx"), ("openvino", "openvino-ir")):
        artifact = Artifact(paths[form], form, "", model.input_shape, model.outputs)
        checked = verify_artifact(quantized, artifact, runtime, pictures)
        with runtimes((runtime,))[runtime].open_session(artifact, SessionOptions()) as session:
            share = int8_share(session.executed_precision())
        equal, largest = checked.equal, checked.largest
        assert equal is not None
        assert largest is not None
        assert share is not None
        found.append(Seen(quantized.plan, widths, form, runtime, share, equal, largest, len(checked.layers)))
    return found


_HEAD = (
    "## Torchvision's networks through the engine",
    "",
    "Random weights, seeded and made to vary; w8a8 and w4a8, each as ONNX (ONNX Runtime and OpenVINO) and as OpenVINO",
    "IR. Every layer, alone and on equal input codes, gives at least 99.9 % of the codes of the integer reference;",
    "none is off by more than one. Made by",
    "`LOWBIT_WRITE_DOCS=1 pytest -m slow tests/runtime/test_engine_networks.py`.",
    "",
    "`int8_share`: multiply-accumulates on integer kernels, in ONNX Runtime / OpenVINO (ONNX) / OpenVINO (IR).",
    "",
    "| network | layers | int8_share at w8a8 | left in float, and why |",
    "| --- | --- | --- | --- |",
)


def _row(name: str, seen: list[Seen]) -> str:
    plan = seen[0].plan
    shares = " / ".join(f"{each.int8_share:.2f}" for each in seen if each.widths == "w8a8")
    kinds = Counter((entry.why, entry.op_type) for entry in plan.floats)
    reasons: dict[str, list[str]] = {}
    for (why, kind), count in sorted(kinds.items()):
        reasons.setdefault(why, []).append(f"{count} {kind}")
    left = "; ".join(f"{', '.join(names)}: {why}" for why, names in reasons.items()) or "nothing"
    return f"| {name} | {len(plan.layers)} | {shares} | {left} |"

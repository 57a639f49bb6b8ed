"""Limits on the instruction set: the variables that a runtime names make its child run other kernels."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from lowbit.core.artifact import Artifact
from lowbit.core.codec import load_json
from lowbit.core.model import FloatModel
from lowbit.core.outcome import Executed
from lowbit.core.settings import Settings
from lowbit.measure.host import facts, limits
from lowbit.runtimes import openvino, torch
from lowbit.study.execute.local import LocalExecutor
from lowbit.study.execute.placed import PlacedJob
from lowbit.worker.jobs import PrecisionJob

pytestmark = pytest.mark.skipif("avx512" not in limits(facts()), reason="needs a processor with AVX-512 to be limited")


def kernels(artifact: Artifact, folder: Path, name: str, environment: Mapping[str, str]) -> set[str]:
    """The kernels that OpenVINO names for the operators with multiply–accumulates."""
    out = folder / f"{name}-operators.json"
    job = PrecisionJob(artifact, "openvino", Settings("offline"), (), out)
    placed = PlacedJob(name, job, folder / f"{name}.json", folder / "logs", (out,), environment=environment)
    (ended,) = LocalExecutor(folder, 120.0, 1, lambda _: None).run("operators", [placed])
    assert ended.end == "done", ended.reason
    return {op.kernel for op in load_json(Executed, out).operators if op.macs}


def test_openvino_names_other_kernels_within_avx2(tiny_model: FloatModel, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    artifact = Artifact(tiny_model.path, "onnx", "d", tiny_model.input_shape, tiny_model.outputs)
    free = kernels(artifact, tmp_path, "free", {})
    limited = kernels(artifact, tmp_path, "limited", openvino.INFO.limits["avx2"])
    assert any("avx512" in name for name in free)
    assert any("avx2" in name for name in limited)
    assert not any("avx512" in name for name in limited)


RUN = """
import sys, torch
torch.set_num_threads(1)
model = torch.jit.load(sys.argv[1]).eval()
with torch.inference_mode():
    for _ in range(3):
        model(torch.zeros(1, 16, 8, 8))
print("capability", torch.backends.cpu.get_cpu_capability())
"""
MAKE = """
import sys, torch
from torch.ao.quantization import get_default_qconfig_mapping
from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx
torch.backends.quantized.engine = "x86"
image = torch.randn(1, 16, 8, 8)
model = prepare_fx(torch.nn.Sequential(torch.nn.Conv2d(16, 16, 3)).eval(), get_default_qconfig_mapping("x86"), (image,))
model(image)
torch.jit.trace(convert_fx(model), image).save(sys.argv[1])
"""


def said(script: str, *arguments: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-P", "-c", script, *arguments],
        env={**os.environ, **environment}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.slow
def test_torch_and_its_onednn_stay_within_avx2(tmp_path: Path) -> None:
    """oneDNN tells itself which kernels it runs: `jit_uni_int8:avx2` in place of `brg_conv_fwd:avx512_core_vnni`."""
    pytest.importorskip("torch")
    file = str(tmp_path / "model.pt")
    said(MAKE, file)

    def convolutions(text: str) -> list[str]:
        return [line for line in text.splitlines() if "exec,cpu,convolution" in line]

    free = said(RUN, file, ONEDNN_VERBOSE="1")
    limited = said(RUN, file, ONEDNN_VERBOSE="1", **torch.INFO.limits["avx2"])
    assert any("avx512" in line for line in convolutions(free))
    assert convolutions(limited)
    assert all(":avx2," in line for line in convolutions(limited))
    assert "capability AVX2" in limited

"""Peak memory while a packed ONNX file is loaded and first run, in bytes a weight, at every width in both runtimes.

One matrix of 50 million weights, each file opened in a process of its own; what is resident before does not count. Its
input has zero point 0, as behind a Relu: with another one OpenVINO takes 6 bytes a weight more, at every width and for
plain int8 too, since it multiplies the zero point into the weights as floats.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper

from lowbit.core.adapter import SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.formats.onnx.write import export_onnx
from lowbit.measure.memory import peak_above
from lowbit.quant.formats import Format, QParams
from lowbit.quant.model import QTensor, QuantizedLayer, QuantizedModel
from lowbit.quant.plan.plan import LayerPlan, QuantPlan
from lowbit.runtimes.find import runtimes

OUTPUTS, SIDE = 5_000, 100
WEIGHTS = OUTPUTS * SIDE * SIDE
RUNTIMES = ("onnxruntime", "openvino")


def bound(bits: int) -> float:
    """Bytes a weight."""
    return 6.5 if bits in (8, 4, 2) else 16.0


def peaks() -> dict[tuple[int, str], float]:
    """(bits, runtime) → bytes a weight."""
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for bits in range(8, 1, -1):
            path = Path(folder) / f"{bits}.onnx"
            export_onnx(_matrix(bits), path)
            for runtime in RUNTIMES:
                words = [sys.executable, __file__, runtime, str(path)]
                done = subprocess.run(words, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
                found[bits, runtime] = int(done.stdout) / WEIGHTS
            path.unlink()
    return found


def _matrix(bits: int) -> QuantizedModel:
    """x [N, 1, 100, 100] → flatten → Gemm with random codes [5000, 10000], asymmetric below 4 bits."""
    rng = np.random.default_rng(bits)
    form = Format(bits, signed=True, symmetric=bits >= 4, granularity="channel")
    codes = rng.integers(form.lowest, form.highest + 1, (OUTPUTS, SIDE * SIDE), dtype=np.int32)
    zero_point = np.zeros(OUTPUTS, np.int32) if form.symmetric else codes[:, 0].copy()
    scale = np.full(OUTPUTS, 0.01, np.float32)
    reads = QParams(Format(8), np.array(0.02, np.float32), np.array(0, np.int32))
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"], "flatten"),
        helper.make_node("Gemm", ["flat", "w", "b"], ["y"], "matrix", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "matrix",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, SIDE, SIDE])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", OUTPUTS])],
        [helper.make_tensor(name, TensorProto.FLOAT, [0], []) for name in ("w", "b")],  # the codes stand for them
    )
    proto: onnx.ModelProto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    weight = QTensor(codes, QParams.of_channels(form, scale, zero_point, 0, codes.ndim))
    layer = QuantizedLayer("matrix", weight, np.zeros(OUTPUTS, np.int32), scale * reads.scale)
    plan = QuantPlan("", f"w{bits}a8", (LayerPlan("matrix", "Gemm", "w", form, 8, "nearest"),), (), ())
    main = {"x": reads, "flat": reads}
    return QuantizedModel(ir.from_proto(proto), plan, {"matrix": layer}, main, {}, {}, frozenset())


def _child(name: str, path: Path) -> int:
    """Bytes above the level before, while `path` is opened and run on one image."""
    runtime = runtimes((name,))[name]
    artifact = Artifact(path, "onnx", "", (1, SIDE, SIDE), OUTPUTS)
    image = np.zeros((1, 1, SIDE, SIDE), np.float32)
    runtime.warm_up(SessionOptions())

    def load_and_run() -> None:
        with runtime.open_session(artifact, SessionOptions()) as session:
            session.predict(image)

    return peak_above(load_and_run)


def main() -> int:
    found = peaks()
    print("| bits | ONNX Runtime | OpenVINO | bound |")
    print("| --- | --- | --- | --- |")
    for bits in range(8, 1, -1):
        ort, ov = (found[bits, runtime] for runtime in RUNTIMES)
        print(f"| {bits} | {ort:.1f} | {ov:.1f} | ≤ {bound(bits)} |")
    return 0 if all(value <= bound(bits) for (bits, _), value in found.items()) else 1


if __name__ == "__main__":
    sys.exit(main() if len(sys.argv) == 1 else print(_child(sys.argv[1], Path(sys.argv[2]))))

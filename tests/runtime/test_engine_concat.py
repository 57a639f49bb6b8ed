"""A dense block whose features reach further and further: ranges of their own, and integer kernels in every runtime."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from lowbit.core.format import TFLITE
from lowbit.formats.litert.write import export_litert
from lowbit.formats.onnx.write import export_onnx
from lowbit.formats.openvino.write import export_openvino
from lowbit.formats.part import parts
from lowbit.quant.model import QuantizedModel
from lowbit.quant.plan.plan import QuantPlan
from lowbit.reference.graph import load_integer_graph
from lowbit.reference.op import real
from lowbit.reference.values import by_float
from tests.runtime.alone import in_reference, in_runtime
from tests.runtime.exported import run_ort, run_ov
from tests.runtime.networks import Array, Network, conv, head, node, pictures, random, simulated

GROWTH = 8
REACH = (1.0, 1.2, 6.0, 30.0)  # of a block's features


def dense() -> Network:
    """Each layer reads all features so far, as if they were equally large, like the BatchNorm in a DenseNet."""
    nodes, given, widths = [conv("x", "w0", "f0")], {"w0": random(GROWTH, 3, 3, 3)}, [GROWTH]
    for index, reach in enumerate(REACH[1:], start=1):
        joined = f"j{index}"
        nodes += [node("Concat", " ".join(f"f{i}" for i in range(index)), joined, axis=1)] if index > 1 else []
        nodes += [conv(joined if index > 1 else "f0", f"w{index}", f"f{index}")]
        given[f"w{index}"] = reach * _even(GROWTH, index)
        widths.append(GROWTH)
    nodes += [node("Concat", "f0 f1 f2 f3", "j", axis=1), conv("j", "v", "c"), node("Relu", "c", "r"), *head("r")]
    given |= {"v": _even(8, len(REACH), seed=9), "g": random(5, 8, seed=10)}
    given |= {f"{name}.b": np.zeros(len(array), np.float32) for name, array in given.items()}
    return Network(nodes, {}, given)


def _even(outputs: int, features: int, seed: int = 3) -> Array:
    """Weights that make equally much of features that reach further than others."""
    array = random(outputs, features * GROWTH, 3, 3, seed=seed + features)
    even: Array = (array / np.repeat(REACH[:features], GROWTH)[None, :, None, None]).astype(np.float32)
    return even


def _undivided(plan: QuantPlan) -> QuantPlan:
    return replace(plan, undecided=())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> QuantizedModel:
    return dense().quantized(tmp_path_factory.mktemp("dense"), "w7a8", pictures(100))


def test_features_have_ranges_of_their_own_where_one_would_be_coarse(made: QuantizedModel) -> None:
    steps = {name: float(made.main[name].scale) for name in ("f0", "f1", "j2", "f2", "j3", "f3", "j")}
    assert steps["f0"] < steps["f2"] / 2 < steps["f3"] / 4
    assert steps["j2"] < steps["j3"] / 2 < steps["j"] / 4
    assert not made.plan.undecided
    assert any("ranges instead of shared ones" in note for note in made.plan.notes)


def test_scores_come_nearer_to_float(tmp_path: Path, made: QuantizedModel) -> None:
    fresh = pictures(60, seed=2)
    shared = dense().quantized(tmp_path, "w7a8", pictures(100), change=_undivided)
    wanted = dense().scores(fresh)
    errors = [np.abs(simulated(model, fresh) - wanted).mean() for model in (made, shared)]
    assert errors[0] < 0.6 * errors[1]


def test_onnx_runtime_joins_codes(tmp_path: Path, made: QuantizedModel) -> None:
    fresh = pictures(60, seed=2)
    export_onnx(made, tmp_path / "model.onnx")
    found = run_ort(tmp_path / "model.onnx", fresh, optimized := tmp_path / "optimized.onnx")
    kinds = Counter(entry.op_type for entry in onnx.load(optimized).graph.node)
    assert kinds["QLinearConcat"] == 3
    assert kinds["QLinearConv"] == 5
    assert not {"Conv", "Concat"} & set(kinds)
    graph = load_integer_graph(onnx.load(tmp_path / "model.onnx"))
    reference = np.asarray(real(graph.run({graph.inputs[0]: fresh})[graph.outputs[0]]))
    for other in (reference, simulated(made, fresh)):
        assert np.abs(found - other).mean() < 0.02 * other.std()


@pytest.mark.parametrize("form", [".onnx", ".xml"])
@pytest.mark.parametrize("recipe", ["w7a8", "w4a4"])  # w4a4: a Concat's result with a narrower copy
def test_openvino_convolves_codes(recipe: str, form: str, tmp_path: Path) -> None:
    fresh = pictures(60, seed=2)
    model = dense().quantized(tmp_path, recipe, pictures(100), rounding="nearest")
    (export_onnx if form == ".onnx" else export_openvino)(model, tmp_path / f"model{form}")
    primitives: dict[str, str] = {}
    found, wanted = run_ov(tmp_path / f"model{form}", fresh, primitives), simulated(model, fresh)
    assert len(primitives) == 6
    assert all(primitive.lower().endswith("_i8") for primitive in primitives.values())
    assert np.abs(found - wanted).mean() < 0.05 * wanted.std()


def test_openvino_meets_one_quantizer_behind_a_concat(tmp_path: Path) -> None:
    """Two crash it: j has a narrower copy beside operands on other grids; the Relu behind k has a quantizer."""
    nodes = [
        conv("x", "a", "f0"), node("Add", "f0 f0", "s"), conv("x", "b", "f1"), node("Concat", "f0 f1", "j", axis=1),
        conv("j", "v", "c"), node("AveragePool", "j", "p", kernel_shape=[3, 3]), conv("p", "u", "d", pads=[2] * 4),
        node("Concat", "c d s", "k", axis=1), node("Relu", "k", "r"), *head("r"),
    ]  # fmt: skip
    given = {
        "a": random(8, 3, 3, 3), "b": 9 * random(8, 3, 3, 3, seed=1), "v": random(8, 16, 3, 3, seed=2),
        "u": random(8, 16, 3, 3, seed=3), "g": random(5, 24, seed=4),
    }  # fmt: skip
    given |= {f"{name}.b": np.zeros(len(array), np.float32) for name, array in given.items()}
    model = Network(nodes, {}, given).quantized(tmp_path, "w4a4", pictures(64), rounding="nearest", ends=4)
    assert "j" in model.product
    assert float(model.main["f0"].scale) < 0.5 * float(model.main["j"].scale)
    export_onnx(model, tmp_path / "model.onnx")
    fresh = pictures(30, seed=2)
    wanted = simulated(model, fresh)
    for run in (run_ort, run_ov):
        assert np.abs(run(tmp_path / "model.onnx", fresh) - wanted).mean() < 0.02 * wanted.std()


def test_litert_brings_every_part_to_the_grid_of_the_whole(tmp_path: Path, made: QuantizedModel) -> None:
    pytest.importorskip("litert_torch")
    from ai_edge_litert.interpreter import Interpreter

    fresh = pictures(16, seed=2)
    notes = export_litert(made, tmp_path / "model.tflite", batch_size=16)
    assert not any("float" in note for note in notes)
    interpreter = Interpreter(model_path=str(tmp_path / "model.tflite"), num_threads=1)
    interpreter.allocate_tensors()
    kinds = Counter(operator["op_name"] for operator in interpreter._get_ops_details())
    assert kinds["CONCATENATION"] == 3
    assert kinds["QUANTIZE"] >= 4  # the input, and features on the grids of later Concats
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], fresh)
    interpreter.invoke()
    found, wanted = interpreter.get_tensor(interpreter.get_output_details()[0]["index"]), simulated(made, fresh)
    assert np.abs(found - wanted).mean() < 0.05 * wanted.std()


def test_a_concat_of_twelve_runs_alone_in_the_order_of_its_operands(tmp_path: Path) -> None:
    """The converter calls inputs by number, and the alphabet puts the eleventh before the third."""
    pytest.importorskip("litert_torch")
    operands = [f"f{i}" for i in range(12)]
    nodes = [conv("x", f"w{i}", name) for i, name in enumerate(operands)]
    nodes += [node("Concat", " ".join(operands), "j", axis=1), conv("j", "v", "c"), node("Relu", "c", "r"), *head("r")]
    given = {f"w{i}": random(2, 3, 3, 3, seed=i) for i in range(12)}
    given |= {"v": random(8, 24, 3, 3, seed=20), "g": random(5, 8, seed=21)}
    given |= {f"{name}.b": np.zeros(len(array), np.float32) for name, array in given.items()}
    model = Network(nodes, {}, given).quantized(tmp_path, "w8a8", pictures(64), rounding="nearest")
    (part,) = (each for each in parts(model)[0] if each.op_type == "Concat")
    assert len(part.ports.inputs) == 12
    shapes = [list(value.shape or ()) for value in part.model.graph.graph.inputs]
    sizes = [[size for size in shape[1:] if isinstance(size, int)] for shape in shapes]
    codes = [np.full((1, *size), number, np.int32) for number, size in enumerate(sizes)]
    wanted = in_reference(model, part.node, by_float)(codes)
    found = in_runtime(model, part.node, "litert", TFLITE, tmp_path)(codes)
    np.testing.assert_array_equal(found, wanted)

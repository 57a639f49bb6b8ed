"""TensorFlow for real: every mode of its converter on the digits network, run in LiteRT and in OpenVINO."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowbit.core.adapter import BuildRequest, Built, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import BadInput, LowbitError, UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.recipe import Recipe
from lowbit.core.samples import Samples
from lowbit.runtimes.find import runtimes
from lowbit.toolchains import tensorflow as toolchain
from tests.runtime.digits import PREPROCESS, digits, pixels, trained_network

pytest.importorskip("tf_keras")
pytest.importorskip("tensorflow_model_optimization")

BATCH = 50
RECIPES = {recipe.name: recipe for recipe in toolchain.INFO.recipes}
TRAINED = [name for name, recipe in RECIPES.items() if recipe.epochs is not None]


class Builder:
    """Builds recipes of the digits network, each once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calibration, self.evaluation = digits(folder, "calibration"), digits(folder, "evaluation")
        self.model = trained_network(self.calibration, folder / "digits.onnx")
        self.made: dict[str, Built] = {}

    def request(self, recipe: Recipe, out: str, **changed: Any) -> BuildRequest:
        (self.folder / out).mkdir()
        fields: dict[str, Any] = {"model": self.model, "calibration": self.calibration, "batch_size": BATCH}
        fields |= {"preprocess": PREPROCESS, "cache": self.folder, "threads": 1, "seed": 0}
        return BuildRequest(recipe=recipe, out=self.folder / out, **(fields | changed))

    def __call__(self, name: str) -> Built:
        if name not in self.made:
            recipe = RECIPES[name]
            recipe = recipe if recipe.epochs is None else replace(recipe, epochs=1)
            self.made[name] = toolchain.build(self.request(recipe, name))
        return self.made[name]

    def top1(self, name: str, runtime: str) -> float:
        artifact = Artifact(self(name).main, "tflite", name, (1, 8, 8), 10, BATCH)
        with runtimes((runtime,))[runtime].open_session(artifact, SessionOptions(1, BATCH)) as session:
            x = pixels(self.evaluation)
            scores = np.concatenate([session.predict(x[i : i + BATCH]) for i in range(0, len(x), BATCH)])
        return float((scores.argmax(1) == self.evaluation.labels).mean())


@pytest.fixture(scope="module")
def build(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tmp_path_factory.mktemp("tensorflow"))


def contents(path: Path) -> tuple[Counter[str], set[str], Any]:
    """A file's operators, the types of what its products read, and its input's type, by LiteRT's own interpreter."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(str(path))
    kinds = {detail["index"]: np.dtype(detail["dtype"]).name for detail in interpreter.get_tensor_details()}
    operators = interpreter._get_ops_details()
    read = {kinds[op["inputs"][0]] for op in operators if op["op_name"] in ("CONV_2D", "FULLY_CONNECTED")}
    return Counter(op["op_name"] for op in operators), read, interpreter.get_input_details()[0]["dtype"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_mode_is_as_accurate_as_float(build: Builder, name: str) -> None:
    """In every runtime that it is made for; one picture in a hundred may change."""
    pytest.importorskip("ai_edge_litert")
    pytest.importorskip("openvino")
    float_top1 = build.top1("fp32", "litert")
    assert float_top1 > 0.95
    for runtime in RECIPES[name].made_for or toolchain.INFO.made_for:
        assert build.top1(name, runtime) >= float_top1 - 0.01 * (1 if name not in TRAINED else 2), runtime


@pytest.mark.parametrize(
    ("name", "read", "border", "bytes_a_weight"),
    [
        ("fp32", "float32", np.float32, 4),
        ("fp16", "float32", np.float32, 2),
        ("int8-dynamic", "float32", np.float32, 1),
        ("int8-static", "int8", np.float32, 1),
        ("int8-integer-only", "int8", np.int8, 1),
        ("int8-integer-only-uint8", "int8", np.uint8, 1),
        ("int16x8", "int16", np.float32, 1),
        ("int8-qat", "int8", np.float32, 1),
        ("int8-qat-control", "int8", np.float32, 1),
    ],
)
def test_what_the_file_holds(build: Builder, name: str, read: str, border: type, bytes_a_weight: int) -> None:
    """Types of products and of the border, one byte a weight, and no transpose: all layers see channels last."""
    pytest.importorskip("ai_edge_litert")
    operators, types, kind = contents(build(name).main)
    assert types == {read}
    assert kind is border
    assert operators["CONV_2D"] == 3
    assert operators["FULLY_CONNECTED"] == 2
    assert operators["TRANSPOSE"] == 0
    size = build(name).main.stat().st_size
    assert 32_810 * bytes_a_weight <= size < 32_810 * bytes_a_weight + 16_000


def test_only_calibrated_recipes_report_seconds(build: Builder) -> None:
    for name in ("fp32", "fp16", "int8-dynamic", "int8-qat"):
        assert build(name).calibration_s is None, name
    for name in ("int8-static", "int8-integer-only", "int16x8", "int8-qat-control"):
        assert build(name).calibration_s, name


def test_the_control_calibrates_with_some_of_what_it_was_trained_on(build: Builder) -> None:
    assert build("int8-qat-control").calibration_samples == 512
    assert build("int8-static").calibration_samples == len(build.calibration) == 1_347


def test_a_trained_recipe_says_on_what(build: Builder) -> None:
    for name in TRAINED:
        told = "trained for 1 epoch on the 1,347 labelled calibration images: the Keras twin of the float graph"
        assert build(name).notes[0] == told
    assert len(build("int8-qat").notes) == 1  # all of it is trained for quantization


def test_labels_that_are_no_outputs_are_refused(build: Builder) -> None:
    many = replace(build.calibration, labels=np.arange(len(build.calibration)) % 20, class_names=("?",) * 20)
    with pytest.raises(BadInput, match=r"the data has 20 classes, the model 10 outputs; say with --labels"):
        toolchain.build(build.request(RECIPES["int8-qat"], "twenty", calibration=many))


def test_labels_are_those_of_the_models_outputs(build: Builder) -> None:
    """Classes in another order, and `classes` that puts it right: the same file, byte for byte."""
    recipe = replace(RECIPES["int8-qat-control"], epochs=1)
    order = np.random.default_rng(1).permutation(10)
    mixed = replace(build.calibration, labels=order[build.calibration.labels])
    back = tuple(int(place) for place in np.argsort(order))
    made = toolchain.build(build.request(recipe, "mixed", calibration=mixed, classes=back))
    assert made.main.read_bytes() == build("int8-qat-control").main.read_bytes()


def test_a_twin_that_differs_is_an_error(build: Builder, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowbit.kerasgraph.operators import layers

    right = layers.dense
    monkeypatch.setattr(layers, "dense", lambda b, op, x, w, bias: right(b, op, x, w * np.float32(1.01), bias))
    with pytest.raises(LowbitError, match=r"the Keras twin's scores differ from the float graph's by up to"):
        toolchain.build(build.request(RECIPES["fp32"], "wrong"))


def test_a_file_without_its_weights_is_an_error(build: Builder) -> None:
    from lowbit.toolchains._tflite import check_file

    path = build("int8-static").main
    check_file(path, RECIPES["int8-static"], 32_000)
    with pytest.raises(LowbitError, match="the weights alone take"):
        check_file(path, RECIPES["int8-static"], 100_000)


def test_a_dynamic_file_is_no_16_bit_file(build: Builder) -> None:
    """What the converter writes, without an error, where it has no data to calibrate with."""
    from lowbit.toolchains._tflite import check_file

    path = build("int8-dynamic").main
    with pytest.raises(UnsupportedError, match="left every layer's activations in FLOAT32, not INT16"):
        check_file(path, RECIPES["int16x8"], 32_000)


def test_an_operator_without_a_rule_is_named(tiny_model: FloatModel, tiny_samples: Samples, tmp_path: Path) -> None:
    import onnx

    from lowbit.core.preprocess import Preprocess

    graph = onnx.load(tiny_model.path)
    graph.graph.node[1].op_type = "Unheard"
    path = tmp_path / "unheard.onnx"
    onnx.save(graph, path)
    request = BuildRequest(
        replace(tiny_model, path=path), RECIPES["fp32"], tiny_samples, Preprocess("unit"), tmp_path, tmp_path, 1, 1, 0
    )
    with pytest.raises(UnsupportedError, match=r"cannot carry Unheard \(node 'relu1'\) over to Keras"):
        toolchain.build(request)


@pytest.mark.slow
def test_a_build_loads_no_torch() -> None:
    code = (
        "import sys; import lowbit.worker.build; from lowbit.kerasgraph import importer;"
        "from lowbit.toolchains import tensorflow, _tensorflow_trainee, _tensorflow_training, _tensorflow_twin;"
        "print('tensorflow' in sys.modules, 'torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]

"""LiteRT for real: what the toolchain writes, what the interpreter then executes, and where both refuse."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowbit.core.adapter import BuildRequest, Floats, OpPrecision, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import LowbitError, UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples
from lowbit.runtimes import litert as runtime
from lowbit.toolchains import litert as toolchain
from tests.runtime.products import MACS, EveryProduct

pytest.importorskip("litert_torch")

BATCH = 3
OPTIONS = SessionOptions(threads=1, batch_size=BATCH)
PREPROCESS = Preprocess("unit")


class Builder:
    """Builds recipes of the tiny model at batch 3, each once; one conversion serves them all."""

    def __init__(self, model: FloatModel, samples: Samples, folder: Path) -> None:
        self.model, self.samples, self.folder = model, samples, folder
        self.cache = folder / "cache"
        self.made: dict[str, Artifact] = {}

    def __call__(self, recipe: str) -> Artifact:
        if recipe not in self.made:
            out = self.folder / recipe
            out.mkdir()
            chosen = next(r for r in toolchain.INFO.recipes if r.name == recipe)
            request = BuildRequest(
                self.model, chosen, self.samples, PREPROCESS, out, self.cache, BATCH, threads=1, seed=0
            )
            path = toolchain.build(request).main
            self.made[recipe] = Artifact(path, "tflite", recipe, self.model.input_shape, self.model.outputs, BATCH)
        return self.made[recipe]


@pytest.fixture(scope="module")
def build(tiny_model: FloatModel, tiny_samples: Samples, tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(tiny_model, tiny_samples, tmp_path_factory.mktemp("litert"))


@pytest.fixture(scope="module")
def images(tiny_samples: Samples) -> Floats:
    pixels: Floats = tiny_samples.images[:BATCH].transpose(0, 3, 1, 2).astype(np.float32)
    return pixels / np.float32(255)


def details(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The vendor's own account of a file's input and output."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(path))
    return interpreter.get_input_details()[0], interpreter.get_output_details()[0]


def products(artifact: Artifact) -> list[OpPrecision]:
    with runtime.open_session(artifact, OPTIONS) as session:
        return [operator for operator in session.executed_precision() if operator.macs]


def test_one_conversion_serves_all_recipes(build: Builder) -> None:
    build("fp32")
    converted = {path: path.stat().st_mtime_ns for path in build.cache.iterdir()}
    assert len(converted) == 1
    build("fp16"), build("int8-dynamic"), build("int8-weight-only")
    assert {path: path.stat().st_mtime_ns for path in build.cache.iterdir()} == converted


@pytest.mark.parametrize(("recipe", "dtype"), [("int8-static", np.int8), ("int16x8", np.int16)])
def test_integers_at_the_edge(build: Builder, images: Floats, recipe: str, dtype: type) -> None:
    """The file takes and gives integers; the session gives multiples of the output's scale, near to float."""
    source, target = details(build(recipe).path)
    assert source["dtype"] is dtype
    assert target["dtype"] is dtype
    with runtime.open_session(build("fp32"), OPTIONS) as session:
        wanted = session.predict(images)
    with runtime.open_session(build(recipe), OPTIONS) as session:
        scores = session.predict(images)
    steps = scores / target["quantization"][0]
    np.testing.assert_allclose(steps, np.rint(steps), atol=1e-2)
    assert np.abs(scores - wanted).max() < 0.1 * np.ptp(wanted)


@pytest.mark.parametrize(
    ("recipe", "precision", "integer", "hybrid", "reason"),
    [
        ("fp32", "f32", False, False, "its operands are float"),
        ("fp16", "f32", False, False, "its weight is stored as f16 and dequantized to float"),
        ("int8-weight-only", "f32", False, False, "its weight is stored as s8 and dequantized to float"),
        ("int8-dynamic", "f32s8", True, True, ""),
        ("int8-static", "s8s8", True, False, ""),
        ("int16x8", "s16s8", True, False, ""),
    ],
)
def test_executed_precision(
    build: Builder, recipe: str, precision: str, integer: bool, hybrid: bool, reason: str
) -> None:
    found = {(op.precision, op.integer, op.hybrid, op.reason) for op in products(build(recipe))}
    assert found == {(precision, integer, hybrid, reason)}


def test_macs_of_every_product(tmp_path: Path) -> None:
    import litert_torch
    import torch

    path = tmp_path / "products.tflite"
    litert_torch.convert(EveryProduct().eval(), (torch.zeros(2, 3, 8, 8),)).export(str(path))
    counted = products(Artifact(path, "tflite", "x", (3, 8, 8), 5, 2))
    assert sorted(operator.macs for operator in counted) == sorted(MACS)


def test_another_batch_is_refused(build: Builder, images: Floats) -> None:
    with runtime.open_session(build("fp32"), OPTIONS) as session:
        with pytest.raises(LowbitError, match=r"2 images .* batch of 3"):
            session.predict(images[:2])
        assert session.predict(images).shape == (BATCH, 4)


def test_what_does_not_fit_is_refused(build: Builder) -> None:
    good = build("fp32")
    for artifact in (replace(good, input_shape=(1, 8, 8)), replace(good, outputs=5)):
        with pytest.raises(UnsupportedError), runtime.open_session(artifact, OPTIONS):
            pass


def test_damage_at_any_place_is_refused_or_runs(build: Builder, images: Floats, tmp_path: Path) -> None:
    """Truncation is always seen. (A flipped byte may be a weight: nobody can see that.)"""
    good = build("int8-static")
    content = good.path.read_bytes()
    bad = replace(good, path=tmp_path / "bad.tflite")
    for length in range(0, len(content) - 64, len(content) // 20):
        bad.path.write_bytes(content[:length])
        with pytest.raises(UnsupportedError), runtime.open_session(bad, OPTIONS):
            pass


def test_preprocessing_travels_in_the_file(build: Builder) -> None:
    from ai_edge_litert.tools import flatbuffer_utils

    for recipe in ("fp32", "int8-static"):
        model = flatbuffer_utils.read_model(str(build(recipe).path))
        buffers = {entry.name.decode(): model.buffers[entry.buffer].data for entry in model.metadata}
        said = json.loads(bytes(buffers["lowbit.preprocess"]))
        assert said["name"] == "unit"
        assert said["scale"] == PREPROCESS.scale


def test_the_one_operator_model_is_what_its_comment_says() -> None:
    from ai_edge_litert.interpreter import Interpreter

    assert one_convolution() == runtime._ONE_CONVOLUTION
    interpreter = Interpreter(model_content=runtime._ONE_CONVOLUTION, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], np.full((1, 1, 1, 1), 3, np.float32))
    interpreter.invoke()
    assert interpreter.get_tensor(interpreter.get_output_details()[0]["index"]) == 3


def one_convolution() -> bytes:
    """What `runtime._ONE_CONVOLUTION` was made with: 1 x 1, from [1, 1, 1, 1] to [1, 1, 1, 1], weight 1, bias 0."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    def tensor(shape: list[int], buffer: int) -> Any:
        made = schema.TensorT()
        made.shape, made.buffer = shape, buffer
        return made

    def buffer(*values: float) -> Any:
        made = schema.BufferT()
        made.data = np.array(values, np.float32).view(np.uint8) if values else None
        return made

    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.CONV_2D
    options = schema.Conv2DOptionsT()
    options.strideH = options.strideW = 1
    operator = schema.OperatorT()
    operator.inputs, operator.outputs = [0, 1, 2], [3]
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.Conv2DOptions, options
    graph = schema.SubGraphT()
    graph.tensors = [tensor([1, 1, 1, 1], 0), tensor([1, 1, 1, 1], 1), tensor([1], 2), tensor([1, 1, 1, 1], 0)]
    graph.inputs, graph.outputs, graph.operators = [0], [3], [operator]
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes, model.subgraphs, model.buffers = [code], [graph], [buffer(), buffer(1.0), buffer(0.0)]
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def test_warming_up_imports_no_tool() -> None:
    """What it imports is charged to LiteRT."""
    code = (
        "import sys; from lowbit.core.adapter import SessionOptions; from lowbit.runtimes import litert as runtime;"
        "runtime.warm_up(SessionOptions());"
        "print(*(f'ai_edge_litert.{name}' in sys.modules for name in ('interpreter', 'schema_py_generated')))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_channels_last_files_get_their_layout(shared: Path) -> None:
    """MLPerf Tiny's ResNet-8 takes NHWC: the session must give what the vendor's interpreter gives for NHWC input."""
    from ai_edge_litert.interpreter import Interpreter

    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3)).astype(np.float32)
    for name, tolerance in (("cifar10-resnet8.tflite", 1e-6), ("cifar10-resnet8-int8-mlperftiny.tflite", 1e-6)):
        path = shared / "models" / name
        vendor = Interpreter(model_path=str(path), num_threads=1)
        vendor.allocate_tensors()
        source, target = vendor.get_input_details()[0], vendor.get_output_details()[0]
        whole = source["dtype"] is np.int8
        scale, zero_point = source["quantization"]
        vendor.set_tensor(source["index"], (pixels / scale + zero_point).astype(np.int8) if whole else pixels)
        vendor.invoke()
        wanted = vendor.get_tensor(target["index"])
        if whole:
            scale, zero_point = target["quantization"]
            wanted = (wanted.astype(np.float32) - zero_point) * scale
        artifact = Artifact(path, "tflite", name, (3, 32, 32), 10, 1)
        with runtime.open_session(artifact, SessionOptions()) as session:
            np.testing.assert_allclose(session.predict(pixels.transpose(0, 3, 1, 2)), wanted, atol=tolerance)
            share = {operator.integer for operator in session.executed_precision() if operator.macs}
        assert share == {whole}

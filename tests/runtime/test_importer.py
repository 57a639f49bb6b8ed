"""The importer on whole networks: real ones, and a small one for what every imported module must be able to do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.ao.quantization import get_default_qconfig_mapping, quantize_fx
from torch.export import Dim

from lowbit.core.errors import BadInput
from lowbit.core.model import FloatModel
from lowbit.torchgraph.importer import import_graph

Floats = npt.NDArray[np.float32]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def in_onnxruntime(path: Path, x: torch.Tensor) -> Floats:
    """The graph's first output, by ONNX Runtime on one thread."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    scores: Floats = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    return scores


def images(count: int, *shape: int) -> torch.Tensor:
    return torch.randn(count, *shape, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize(
    ("name", "shape"),
    [("cifar10-resnet20", (3, 32, 32)), ("imagenet-mobilenetv2", (3, 224, 224))],
)
def test_real_network_equals_onnxruntime_with_every_batch(shared: Path, name: str, shape: tuple[int, ...]) -> None:
    path = shared / "models" / f"{name}.onnx"
    module, x = import_graph(path), images(3, *shape)
    expected = in_onnxruntime(path, x)
    with torch.no_grad():
        np.testing.assert_allclose(module(x).numpy(), expected, atol=1e-4)
        np.testing.assert_allclose(module(x[:1]).numpy(), expected[:1], atol=1e-4)


@pytest.mark.parametrize("name", ["cifar10-resnet20", "imagenet-mobilenetv2"])
def test_every_node_with_weights_is_found_by_its_name(shared: Path, name: str) -> None:
    """A layer has its ONNX node's name, and holds that node's weight to the last bit."""
    path = shared / "models" / f"{name}.onnx"
    graph, layers = onnx.load(path).graph, dict(import_graph(path).named_modules())
    weights = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    weighted = [node for node in graph.node if node.op_type in ("Conv", "Gemm")]
    assert weighted
    for node in weighted:
        weight = weights[node.input[1]]
        layer = layers[node.name].weight
        assert isinstance(layer, torch.nn.Parameter)
        transposed = node.op_type == "Gemm" and not any(a.name == "transB" and a.i for a in node.attribute)
        np.testing.assert_array_equal(layer.detach().numpy(), weight.T if transposed else weight)


def test_torch_export_keeps_the_batch_free(tiny_model: FloatModel) -> None:
    module, x = import_graph(tiny_model.path), images(5, *tiny_model.input_shape)
    program = torch.export.export(module, (x[:2],), dynamic_shapes={"x": {0: Dim("batch")}})
    torch.testing.assert_close(program.module()(x), module(x))


def test_a_trace_keeps_the_batch_free(tiny_model: FloatModel) -> None:
    module, x = import_graph(tiny_model.path), images(5, *tiny_model.input_shape)
    trace = cast(Any, torch.jit).trace(module, (x[:2],))
    torch.testing.assert_close(trace(x), module(x))


def test_fx_quantization_fuses_what_it_finds(shared: Path) -> None:
    """prepare_fx sees ordinary layers: every convolution becomes a quantized one, with its ReLU fused."""
    module, x = import_graph(shared / "models" / "cifar10-resnet20.onnx"), images(4, 3, 32, 32)
    prepared = quantize_fx.prepare_fx(module, get_default_qconfig_mapping("x86"), (x,))
    with torch.no_grad():
        prepared(x)
        converted = quantize_fx.convert_fx(prepared)
        converted(x)
    kinds = [type(layer).__name__ for layer in converted.modules()]
    assert kinds.count("ConvReLU2d") == 10
    assert kinds.count("Conv2d") == 9
    assert kinds.count("QuantizedLinear") + kinds.count("Linear") == 1


@pytest.mark.slow
def test_litert_accepts_a_real_network(shared: Path) -> None:
    import litert_torch

    path, x = shared / "models" / "cifar10-resnet20.onnx", images(2, 3, 32, 32)
    edge = litert_torch.convert(import_graph(path), (x,))
    np.testing.assert_allclose(edge(x.numpy()), in_onnxruntime(path, x), atol=1e-4)


def test_gradients_reach_every_parameter(tiny_model: FloatModel) -> None:
    module = import_graph(tiny_model.path).train()
    loss = torch.nn.functional.cross_entropy(module(images(4, *tiny_model.input_shape)), torch.arange(4))
    parameters = dict(module.named_parameters())
    assert set(parameters) == {f"{layer}.{kind}" for layer in ("conv1", "conv2", "fc") for kind in ("weight", "bias")}
    assert all(gradient.abs().sum() > 0 for gradient in torch.autograd.grad(loss, list(parameters.values())))


def test_importing_draws_no_random_numbers(tiny_model: FloatModel) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    import_graph(tiny_model.path)
    torch.testing.assert_close(torch.rand(3), expected)


def test_a_pool_with_uneven_padding_survives_fx_quantization(tmp_path: Path) -> None:
    """TensorFlow's SAME pooling pads one end only: no observer may see its -∞."""
    pool: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first"),
        helper.make_node("MaxPool", ["a"], ["b"], "pool", **pool),
        helper.make_node("Conv", ["b", "w0"], ["y"], "second"),
    ]
    weight = np.random.default_rng(0).normal(0, 0.5, (4, 4, 1, 1)).astype(np.float32)
    path = network(tmp_path / "n.onnx", nodes, {"x": ["batch", 4, 8, 8]}, weight)
    module, x = import_graph(path), images(16, 4, 8, 8)
    prepared = quantize_fx.prepare_fx(module, get_default_qconfig_mapping("x86"), (x,))
    with torch.no_grad():
        prepared(x)
        scores, quantized = module(x), quantize_fx.convert_fx(prepared)(x)
    np.testing.assert_allclose(scores.numpy(), in_onnxruntime(path, x), atol=1e-4)
    assert (scores - quantized).abs().max() < 0.05 * scores.abs().max()


def network(
    path: Path, nodes: list[onnx.NodeProto], inputs: dict[str, list[int | str]], *weights: Floats, opset: int = 20
) -> Path:
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(weight, f"w{i}") for i, weight in enumerate(weights)],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10), path)
    return path


def test_a_weight_that_two_nodes_share_stays_one(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], "first"),
        helper.make_node("Conv", ["a", "w0"], ["y"], "second"),
    ]
    path = network(tmp_path / "n.onnx", nodes, {"x": ["batch", 2, 4, 4]}, np.ones((2, 2, 1, 1), np.float32))
    module = import_graph(path)
    layers = dict(module.named_modules())
    assert layers["first"].weight is layers["second"].weight
    assert len(list(module.parameters())) == 1


def test_names_that_are_no_identifiers_are_made_ones(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "/features/0/Relu"),
        helper.make_node("Relu", ["a"], ["b"], "features.0.Relu"),
        helper.make_node("Relu", ["b"], ["1"], ""),
        helper.make_node("Relu", ["1"], ["c"], "x"),
        helper.make_node("Relu", ["c"], ["y"], "forward"),
    ]
    module = import_graph(network(tmp_path / "n.onnx", nodes, {"x": ["batch", 3]}))
    names = [name for name, _ in module.named_children()]
    assert names == ["features_0_Relu", "features_0_Relu_1", "n_1", "x_1", "forward_1"]
    assert module(-torch.ones(2, 3)).sum() == 0


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({"x": ["batch", 3, 4, 4], "z": ["batch", 2]}, "has 2 inputs .x, z."),
        ({"x": ["batch", 3, "height", "width"]}, "expected .batch, C, H, W. with fixed"),
    ],
)
def test_a_graph_that_is_no_classifier_of_images_is_refused(
    tmp_path: Path, inputs: dict[str, list[int | str]], message: str
) -> None:
    path = network(tmp_path / "n.onnx", [helper.make_node("Relu", ["x"], ["y"], "relu")], inputs)
    with pytest.raises(BadInput, match=message):
        import_graph(path)


def test_an_old_opset_is_refused(tmp_path: Path) -> None:
    """Softmax meant something else before opset 13: a silent difference."""
    nodes = [helper.make_node("Softmax", ["x"], ["y"], "softmax")]
    path = network(tmp_path / "n.onnx", nodes, {"x": ["batch", 3, 4]}, opset=12)
    with pytest.raises(BadInput, match="opset 12; expected 13"):
        import_graph(path)

"""torchvision's networks, exported by torch and imported again: outputs, a free batch, gradients.

Their random weights are degenerate (zero heads, BatchNorm that lets signals die out over the layers), so that a
difference would be invisible: `lively` gives every network outputs that differ between images.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import nn
from torch.export import Dim

from lowbit.sources.torch_operators import declare_torchvision_operators
from lowbit.torchgraph.importer import import_graph

NETWORKS = [
    ("squeezenet1_1", 64),
    ("shufflenet_v2_x0_5", 64),
    ("mobilenet_v3_small", 64),
    ("mnasnet0_5", 64),
    ("alexnet", 96),
    ("vgg19", 64),
    ("resnet18", 64),
    ("resnet50", 64),
    ("densenet121", 64),
    ("mobilenet_v2", 64),
    ("mobilenet_v3_large", 64),
    ("efficientnet_b0", 64),
    ("regnet_y_400mf", 64),
    ("convnext_tiny", 64),
    ("vit_b_16", 224),
    ("swin_t", 64),
    ("googlenet", 64),
]


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def torchvision() -> Any:
    """torchvision beside a torch without its compiled operators, which it only needs to be declared."""
    declare_torchvision_operators()
    return pytest.importorskip("torchvision")


def lively(network: nn.Module, size: int) -> nn.Module:
    """Zero and tiny parameters redrawn, BatchNorm's statistics from a batch of noise; He's weights without it."""
    if not any(isinstance(layer, nn.BatchNorm2d | nn.LayerNorm) for layer in network.modules()):
        for layer in network.modules():
            if isinstance(layer, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(layer.weight)
    with torch.no_grad():
        for parameter in network.parameters():
            if parameter.abs().max() < 1e-4:
                parameter.normal_(0, 0.2)
    for layer in network.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.momentum = None  # the plain mean over all batches
        if isinstance(layer, nn.Dropout):
            layer.p = 0.0
    with torch.no_grad():
        network.train()(torch.randn(8, 3, size, size))
    return network.eval()


def network(torchvision: Any, name: str, size: int) -> nn.Module:
    torch.manual_seed(0)
    options = {"init_weights": True, "aux_logits": False} if name == "googlenet" else {}
    return lively(torchvision.models.get_model(name, weights=None, num_classes=50, **options), size)


def hold_to_onnxruntime(path: Path, size: int) -> nn.Module:
    """Import the graph and compare outputs, batch 1, a trace's too; every parameter must get a gradient."""
    module, x = import_graph(path), torch.randn(3, 3, size, size)
    session_options = ort.SessionOptions()
    session_options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, session_options, providers=["CPUExecutionProvider"])
    expected = session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]
    spread = np.abs(expected - expected.mean(axis=0)).max()  # between images: what a wrong import would change
    tolerance = 1e-4 * max(1.0, float(np.abs(expected).max()))
    assert spread > 100 * tolerance

    scores = module(x)
    np.testing.assert_allclose(scores.detach().numpy(), expected, atol=tolerance)
    np.testing.assert_allclose(module(x[:1]).detach().numpy(), expected[:1], atol=tolerance)
    torch.autograd.grad(scores.sum(), list(module.parameters()))  # raises when one is not reached
    trace = cast(Any, torch.jit).trace(module, (x[:2],), check_trace=False)
    torch.testing.assert_close(trace(x), scores, atol=tolerance, rtol=0)
    return module


@pytest.mark.parametrize("name", ["squeezenet1_1", "shufflenet_v2_x0_5", "mobilenet_v3_small", "mnasnet0_5"])
def test_network_from_the_older_exporter(torchvision: Any, tmp_path: Path, name: str) -> None:
    """TorchScript's exporter, which most ONNX files in the world come from, and which is quick."""
    path, example = tmp_path / "network.onnx", torch.randn(2, 3, 64, 64)
    axes = {"images": {0: "batch"}}
    torch.onnx.export(
        network(torchvision, name, 64), (example,), path, dynamo=False, input_names=["images"], dynamic_axes=axes
    )
    hold_to_onnxruntime(path, 64)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size"), NETWORKS)
def test_network_from_the_current_exporter(torchvision: Any, tmp_path: Path, name: str, size: int) -> None:
    path, example = tmp_path / "network.onnx", torch.randn(2, 3, size, size)
    batch = Dim("batch")
    torch.onnx.export(
        network(torchvision, name, size), (example,), path, dynamo=True, dynamic_shapes=({0: batch},), verbose=False
    )
    module, x = hold_to_onnxruntime(path, size), torch.randn(3, 3, size, size)
    program = torch.export.export(module, (example,), dynamic_shapes={"x": {0: batch}})
    torch.testing.assert_close(program.module()(x), module(x))

"""Transformers through the engine: which layers are the first and last ones, and who does the Relu behind a Linear."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from torch import Tensor, nn

from lowbit.formats.onnx.write import export_onnx
from lowbit.formats.openvino.write import export_openvino
from lowbit.graph.clean import clean
from lowbit.quant.engine import quantize
from lowbit.quant.plan.files import plan_for
from lowbit.quant.prepare import prepare
from lowbit.sources.torch_operators import declare_torchvision_operators
from tests.runtime.exported import run_ort, run_ov
from tests.runtime.networks import images, pictures, simulated

SIDE = 32


class SmallTransformer(nn.Module):
    """A token for the class, `cls_token.expand(x.size(0), …)`, and two of torch's own encoder layers."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 32, 8, stride=8)
        self.cls_token = nn.Parameter(torch.randn(1, 1, 32))
        self.positions = nn.Parameter(torch.randn(1, 17, 32) * 0.2)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True) for _ in range(2)
        )
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patches(x).flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(x.size(0), -1, -1), tokens], 1) + self.positions
        for layer in self.layers:
            tokens = layer(tokens)
        scores: Tensor = self.head(tokens[:, 0])
        return scores


def torchvisions(**options: Any) -> Callable[[], nn.Module]:
    def make() -> nn.Module:
        declare_torchvision_operators()
        module: nn.Module = pytest.importorskip("torchvision").models.VisionTransformer(**options)
        return module

    return make


SMALL = torchvisions(image_size=SIDE, patch_size=8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
BASE = torchvisions(image_size=224, patch_size=16, num_layers=12, num_heads=12, hidden_dim=768, mlp_dim=3072)


def exported(make: Callable[[], nn.Module], folder: Path, side: int) -> Path:
    """The float graph of a network with random weights, as a source writes it."""
    torch.manual_seed(0)
    module = make().eval().requires_grad_(requires_grad=False)
    program = torch.onnx.export(
        module, (torch.zeros(2, 3, side, side),), dynamo=True, opset_version=20, external_data=False, verbose=False,
        dynamic_shapes=({0: torch.export.Dim("batch", min=1)},), input_names=["input"], output_names=["logits"],
    )  # fmt: skip
    assert program is not None
    onnx.save(clean(program.model_proto), folder / "float.onnx")
    return folder / "float.onnx"


@pytest.mark.parametrize(
    ("make", "side"),
    [
        (SmallTransformer, SIDE),
        pytest.param(SMALL, SIDE, marks=pytest.mark.slow),
        pytest.param(BASE, 224, marks=pytest.mark.slow),
    ],
)
def test_two_layers_are_the_first_and_the_last(make: Callable[[], nn.Module], side: int, tmp_path: Path) -> None:
    path = exported(make, tmp_path, side)
    assert "Shape" in {node.op_type for node in onnx.load(path).graph.node}
    plan = plan_for(prepare(path), "digest", "w4a4", {})
    ends = [layer for layer in plan.layers if layer.why == "first or last layer"]
    assert [layer.op_type for layer in ends] == ["Conv", "Gemm"]
    assert {layer.activation_bits for layer in plan.layers if layer not in ends} == {4}
    assert not [entry for entry in plan.floats if entry.op_type == "Relu"]


@pytest.mark.parametrize("recipe", ["w7a8", pytest.param("w4a4", marks=pytest.mark.slow)])
def test_a_relu_behind_a_linear_of_tokens_is_its_quantizers(recipe: str, tmp_path: Path) -> None:
    path = exported(SmallTransformer, tmp_path, SIDE)
    graph = prepare(path)
    plan = plan_for(graph, "digest", recipe, {"rounding": "nearest"})
    x = pictures(64, shape=(3, SIDE, SIDE))
    model = quantize(graph, plan, images(x))
    assert sum(node.op_type == "Relu" for node in graph.graph) == len(model.absorbed) == 2
    fresh = pictures(32, seed=2, shape=(3, SIDE, SIDE))
    wanted = simulated(model, fresh)
    export_onnx(model, tmp_path / "model.onnx")
    export_openvino(model, tmp_path / "model.xml")
    ours = run_ort(tmp_path / "model.onnx", fresh, optimized := tmp_path / "optimized.onnx")
    assert not {"Relu", "Gemm"} & {node.op_type for node in onnx.load(optimized).graph.node}
    primitives: dict[str, str] = {}
    for found in (ours, run_ov(tmp_path / "model.xml", fresh, primitives)):
        assert np.abs(found - wanted).mean() < 0.08 * wanted.std()

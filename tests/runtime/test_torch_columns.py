"""Columns: a layer's weights as a matrix, times what it reads at one place, are what the layer gives there."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from lowbit.quant.columns import columns, from_matrix, places_of, to_matrix
from lowbit.quant.simulate import Simulator
from lowbit.quant.walk import layer_calls
from lowbit.torchgraph.importer import import_graph
from tests.runtime.importing import build, floats, node

torch.set_num_threads(1)  # two threads on a busy machine wait for each other
law = settings(max_examples=60, deadline=None, derandomize=True)


def check(layer: Any, x: torch.Tensor) -> None:
    """At random places, and each sample at others."""
    with torch.no_grad():
        result = layer(x)
    weight = layer.weight.detach().numpy().astype(np.float64)
    matrix = to_matrix(layer, weight)
    np.testing.assert_array_equal(from_matrix(layer, matrix, weight.shape), weight)

    rows = isinstance(layer, nn.Linear)
    count = places_of(layer, x)
    assert count == (1 if rows else result[0, 0].numel())
    generator = torch.Generator().manual_seed(0)
    places = torch.randperm(len(x), generator=generator)[None, :3] if rows else None
    if places is None:
        places = torch.randint(count, (len(x), 5), generator=generator)
    found = columns(layer, x, places)
    assert found.shape == (places.numel(), *matrix.shape[::2])
    sums = matrix @ found.numpy().astype(np.float64).transpose(1, 2, 0)  # [G, O, P]
    if rows:
        wanted = result[places[0]].T.numpy()
    else:
        at = places[:, None].expand(-1, result.shape[1], -1)
        wanted = result.flatten(2).gather(2, at).permute(1, 0, 2).flatten(1).numpy()
    ours = sums.reshape(-1, places.numel()) + layer.bias.detach().numpy()[:, None]
    np.testing.assert_allclose(ours, wanted, rtol=1e-4, atol=1e-5)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[Any, torch.Tensor]:
    """One with one or two axes, transposed or not, and an input for it."""
    axes, turned = draw(st.sampled_from([1, 2])), draw(st.booleans())
    group = draw(st.sampled_from([1, 2, 4]))
    several = st.lists(st.integers(1, 3), min_size=axes, max_size=axes)
    kernel, stride, dilation = draw(several), draw(several), draw(several)
    reach = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
    padding = [draw(st.integers(0, most)) for most in reach]
    sizes = [draw(st.integers(r + 1, r + 6)) for r in reach]
    arguments = {"stride": stride, "padding": padding, "dilation": dilation, "groups": group}
    kind: Any
    if turned:
        extra = [draw(st.integers(0, max(s, d) - 1)) for s, d in zip(stride, dilation, strict=True)]
        kind = (nn.ConvTranspose1d, nn.ConvTranspose2d)[axes - 1]
        arguments["output_padding"] = extra
    else:
        kind = (nn.Conv1d, nn.Conv2d)[axes - 1]
    torch.manual_seed(draw(st.integers(0, 9)))
    channels = group * draw(st.integers(1, 2)), group * draw(st.integers(1, 3))
    layer = kind(*channels, kernel, **arguments)
    return layer, torch.randn(draw(st.integers(1, 3)), channels[0], *sizes)


@law
@given(convolutions())
def test_columns_of_every_convolution(pair: tuple[Any, torch.Tensor]) -> None:
    check(*pair)


@pytest.mark.parametrize("layer", [
    nn.Conv2d(6, 6, 3, padding=1, groups=6), nn.Conv2d(4, 8, (1, 3), stride=(2, 1), groups=4), nn.Conv2d(4, 3, 1),
    nn.ConvTranspose2d(6, 6, 3, stride=2, padding=1, output_padding=1, groups=6),
    nn.ConvTranspose2d(4, 6, (2, 3), stride=(3, 1), dilation=(1, 2), groups=2), nn.ConvTranspose2d(3, 4, 2, stride=3),
])  # fmt: skip
def test_columns_of_some_that_networks_have(layer: Any) -> None:
    check(layer, torch.randn(2, layer.in_channels, 9, 8, generator=torch.Generator().manual_seed(0)))


def test_columns_of_a_gemm_are_rows_of_what_it_reads() -> None:
    check(nn.Linear(7, 4), torch.randn(6, 7, generator=torch.Generator().manual_seed(0)))


@pytest.mark.parametrize("attributes", [
    {"pads": [0, 2, 1, 1], "strides": [2, 1]}, {"auto_pad": "SAME_UPPER", "strides": [2, 2]}, {"pads": [1] * 4},
])  # fmt: skip
def test_what_an_imported_layer_reads_is_padded_already_where_torch_cannot(
    tmp_path: Path, attributes: dict[str, Any]
) -> None:
    conv = node("Conv", "x w b", kernel_shape=[3, 3], **attributes)
    path = tmp_path / "conv.onnx"
    onnx.save(build([conv], (4, 7, 8), {"w": floats(6, 4, 3, 3), "b": floats(6, seed=1)}), path)
    runner = Simulator(import_graph(path))
    (call,) = layer_calls(runner).values()
    env = runner.start(torch.from_numpy(floats(2, 4, 7, 8)))
    runner.run(env, 0, runner.position[call])
    check(runner.layer(call), runner.reads(call, env))

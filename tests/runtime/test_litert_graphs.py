"""LiteRT files whose tensors are hard to tell apart, and files with more graphs than one."""

from pathlib import Path

import numpy as np
import pytest

from lowbit.core.errors import UnsupportedError
from lowbit.worker.inspect import run as inspect
from lowbit.worker.jobs import InspectJob
from tests.runtime.networks import Network, conv, head, node, pictures, random
from tests.runtime.variants import RUNTIMES, Made

pytest.importorskip("litert_torch")


def test_tensors_that_are_zero_on_random_images_keep_their_own_grids(tmp_path: Path) -> None:
    """Both Relus are dead on the converter's random images, and alive on the user's, with very different ranges."""
    nodes = [conv("x", "w", "c"), node("Relu", "c", "r"), conv("x", "v", "d"), node("Relu", "d", "q")]
    nodes += [node("Add", "r q", "a"), *head("a")]
    given = {"w": random(4, 3, 3, 3), "w.b": np.full(4, -8, np.float32)}
    given |= {
        "v": 8 * random(4, 3, 3, 3, seed=1),
        "v.b": np.full(4, -64, np.float32),
        "g": random(3, 4),
        "g.b": random(3),
    }
    network, x = Network(nodes, {}, given), 10 * pictures(12)
    model = network.quantized(tmp_path, "w4a8", x, rounding="nearest", ends=4)
    assert float(model.main["q"].scale) > 3 * float(model.main["r"].scale)
    made = Made(model, x[:4], network.scores(x[:4]), step=float(np.ptp(network.scores(x))) / 255)
    expected = RUNTIMES["reference"](made, tmp_path)
    assert np.abs(RUNTIMES["litert"](made, tmp_path) - expected).max() < 4 * made.step


def test_operators_whose_torch_layers_litert_lacks_are_written_by_others(tmp_path: Path) -> None:
    """An average with strides that leaves its SAME padding out, a reflecting Pad that cuts, and an LRN."""
    nodes = [
        conv("x", "w", "c"),
        node("AveragePool", "c", "p", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4),
        node("Pad", "p cut", "q", mode="reflect"),
        node("LRN", "q", "n", size=3, alpha=0.5),
        *head("n"),
    ]
    given = {"w": random(4, 3, 3, 3), "w.b": random(4), "g": random(3, 4), "g.b": random(3)}
    given |= {"cut": np.array([0, 0, -1, 1, 0, 0, 0, -2], np.int64)}
    network, x = Network(nodes, {}, given, x=(3, 9, 9)), pictures(12, shape=(3, 9, 9))
    model = network.quantized(tmp_path, "w8a8", x, rounding="nearest")
    made = Made(model, x[:4], network.scores(x[:4]), step=float(np.ptp(network.scores(x))) / 255)
    assert np.abs(RUNTIMES["litert"](made, tmp_path) - made.expected).max() < 8 * made.step


@pytest.fixture(scope="module")
def two_graphs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file as litert-torch writes it for an operator that it has no LiteRT operator for."""
    import litert_torch
    import torch

    path = tmp_path_factory.mktemp("graphs") / "two.tflite"
    pool = torch.nn.AvgPool2d(3, 2, padding=1, count_include_pad=False)
    litert_torch.convert(pool.eval(), (torch.zeros(1, 3, 8, 8),)).export(str(path))
    return path


def test_a_file_with_several_graphs_is_refused_in_words(two_graphs: Path) -> None:
    from lowbit.formats.litert.file import TFLiteFile

    with pytest.raises(UnsupportedError, match=r"the converted file has \d graphs, expected one"):
        TFLiteFile(two_graphs.read_bytes())


def test_a_file_with_several_graphs_can_be_inspected(two_graphs: Path) -> None:
    found = inspect(InspectJob(two_graphs, "tflite", "litert", {}, (), 1))
    assert found.operators

"""Channels that are normalized later: evened out without a change of the function, and worth many decibels."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import NodeProto, TensorProto, helper, numpy_helper

from lowbit.quant.engine import _imported
from lowbit.quant.even_channels import even_channels
from lowbit.quant.formats import Format, qparams_of_range
from lowbit.quant.prepare import prepare
from lowbit.quant.ranges.observe import Images
from lowbit.quant.simulate import Simulator

Array = npt.NDArray[np.float32]
RNG = np.random.default_rng(5)
X = RNG.normal(size=(96, 3, 8, 8)).astype(np.float32)
IMAGES = Images(len(X), lambda size: iter([X[i : i + size] for i in range(0, len(X), size)]))


def dense_block(folder: Path, last: str = "Concat") -> ir.Model:
    """Two convolutions whose channels differ by a factor of up to 1,000, joined, normalized and convolved again.

    last: "Add" lets an addition read the first convolution as well, which then must stay as it is; "Twice" lets the
    Concat join the first one twice.
    """
    widths = {name: 10.0 ** RNG.uniform(-3, 0, 8) for name in ("a", "b")}
    constants: dict[str, Array] = {}
    nodes: list[NodeProto] = []

    def conv(name: str, source: str, inputs: int, outputs: int, scale: Any = 1.0) -> str:
        weight = RNG.normal(size=(outputs, inputs, 3, 3)) / np.sqrt(9 * inputs)
        constants[f"{name}_w"] = (weight * np.reshape(scale, (-1, 1, 1, 1))).astype(np.float32)
        constants[f"{name}_b"] = (0.1 * RNG.normal(size=outputs) * scale).astype(np.float32)
        nodes.append(helper.make_node("Conv", [source, f"{name}_w", f"{name}_b"], [name], name=name, pads=[1] * 4))
        return name

    def norm(name: str, source: str, deviation: Any) -> str:
        numbers = {"g": RNG.uniform(0.5, 1.5, len(deviation)), "s": RNG.normal(size=len(deviation)) / 4,
                   "m": np.zeros(len(deviation)), "v": np.square(deviation)}  # fmt: skip
        for part, array in numbers.items():
            constants[f"{name}_{part}"] = array.astype(np.float32)
        read = [source, *(f"{name}_{part}" for part in "gsmv")]
        nodes.append(helper.make_node("BatchNormalization", read, [f"{name}_n"], name=name, epsilon=0.0))
        nodes.append(helper.make_node("Relu", [f"{name}_n"], [f"{name}_r"], name=f"{name}_r"))
        return f"{name}_r"

    conv("a", "x", 3, 8, widths["a"])
    nodes.append(helper.make_node("MaxPool", ["a"], ["p"], name="p", kernel_shape=[2, 2], strides=[2, 2]))
    conv("b", norm("na", "p", widths["a"]), 8, 8, widths["b"])
    joined = {"p": widths["a"], "b": widths["b"]}
    operands = ["p", "b", "p"] if last == "Twice" else ["p", "b"]
    nodes.append(helper.make_node("Concat", operands, ["joined"], name="joined", axis=1))
    found = norm("nb", "joined", np.concatenate([joined[name] for name in operands]))
    conv("c", found, 8 * len(operands), 4)
    nodes.append(helper.make_node("GlobalAveragePool", ["c"], ["y"], name="y"))
    outputs = ["y"]
    if last == "Add":
        nodes.append(helper.make_node("Add", ["p", "b"], ["z"], name="z"))
        outputs.append("z")
    graph = helper.make_graph(
        nodes, "dense", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    onnx.save(model, folder / "dense.onnx")
    return prepare(folder / "dense.onnx")


def weights_of(model: ir.Model) -> list[str]:
    found = [node.inputs[1] for node in model.graph if node.op_type == "Conv"]
    return [str(value.name) for value in found if value is not None]


def magnitudes(runner: Simulator) -> dict[str, Array]:
    """Value → the largest magnitude of each channel."""
    found: dict[str, Array] = {}

    def seen(name: str, x: torch.Tensor) -> None:
        found[name] = x.abs().amax([axis for axis in range(x.ndim) if axis != 1]).numpy()

    runner.run(runner.start(torch.from_numpy(X)), 0, len(runner.nodes), seen)
    return found


def signal(runner: Simulator) -> float:
    """The signal above the error of 8 bits for what the Concat joins, in dB at the output."""
    wide = magnitudes(runner)["joined"].max()
    kind = {"joined": qparams_of_range(Format(8), -float(wide), float(wide))}
    wanted = runner.outputs(torch.from_numpy(X))
    error = Simulator(runner.module, kind).outputs(torch.from_numpy(X)) - wanted
    power = (wanted - wanted.mean(0)).square().sum() / error.square().sum()
    return float(10 * torch.log10(power))


@pytest.mark.parametrize("last", ["Concat", "Twice"])
@torch.no_grad()
def test_the_function_stays_and_eight_bits_lose_far_less(tmp_path: Path, last: str) -> None:
    model = dense_block(tmp_path, last)
    before = Simulator(_imported(model, tmp_path))
    wanted = before.outputs(torch.from_numpy(X))
    assert even_channels(model, before, IMAGES) == 2
    after = Simulator(_imported(model, tmp_path))
    torch.testing.assert_close(after.outputs(torch.from_numpy(X)), wanted, rtol=1e-4, atol=1e-5)
    uneven, even = magnitudes(before)["joined"], magnitudes(after)["joined"]
    assert uneven.max() / uneven.min() > 100
    assert even.max() / even.min() < 1.01
    assert signal(after) > signal(before) + 10
    even_channels(model, after, IMAGES)
    again = magnitudes(Simulator(_imported(model, tmp_path)))["joined"]
    np.testing.assert_allclose(again, even, rtol=1e-3)  # a second call changes nothing more


@torch.no_grad()
def test_what_an_addition_reads_too_is_left_alone(tmp_path: Path) -> None:
    model = dense_block(tmp_path, last="Add")
    before = Simulator(_imported(model, tmp_path))
    names = weights_of(model)
    assert even_channels(model, before, IMAGES) == 0
    assert names == weights_of(model)


@pytest.mark.parametrize("dead", [0, 7])
@torch.no_grad()
def test_a_channel_that_never_speaks_is_no_trouble(tmp_path: Path, dead: int) -> None:
    model = dense_block(tmp_path)
    for name in ("a_w", "a_b"):
        value = model.graph.initializers[name]
        assert value.const_value is not None
        array = value.const_value.numpy().copy()
        array[dead] = 0.0
        value.const_value = ir.tensor(array, name=name)
    before = Simulator(_imported(model, tmp_path))
    wanted = before.outputs(torch.from_numpy(X))
    even_channels(model, before, IMAGES)
    after = Simulator(_imported(model, tmp_path)).outputs(torch.from_numpy(X))
    torch.testing.assert_close(after, wanted, rtol=1e-4, atol=1e-5)

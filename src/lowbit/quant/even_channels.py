"""Gives channels that are normalized later about equal ranges, since one quantizer serves all channels of a tensor.

In a DenseNet the result of a convolution is concatenated, and every later layer normalizes the concatenation with a
scale and a shift a channel. Channels may be a thousand times as wide as others; at 8 bits for the whole tensor the
narrow ones are lost, and the normalization makes their error as large as the signal. Here channel x of the
convolution's result becomes e · (x - m), where m is the middle of its range on calibration images and e makes that
range -1 … 1, and what reads it undoes that: the same function (cross-layer equalization, Nagel et al. 2019, "Data-Free
Quantization Through Weight Equalization and Bias Correction", section 4.1, over Concat and pooling, and with a shift).
Where a Relu stands behind the convolution, it becomes e · x with the range 0 … 1.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from lowbit.graph.edit import initializer
from lowbit.graph.values import constant, shape_of
from lowbit.quant.plan import kinds
from lowbit.quant.ranges.observe import Images, chunk_size
from lowbit.quant.simulate import Simulator

_KEEPS = ("MaxPool", "AveragePool", "GlobalAveragePool", "Identity")  # f(e · x + m) = e · f(x) + m, a channel

_Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Result:
    """A result whose channels may be evened out.

    - node: what computes it
    - value: what is quantized, the result itself or that of the Relu behind it
    - readers: each scale and shift that undoes it, and the result's first channel there
    """

    node: ir.Node
    value: ir.Value
    readers: list[tuple[ir.Node, int]] = field(default_factory=list)

    @property
    def cut(self) -> bool:
        """Whether a Relu stands behind it, so that it may be scaled but not shifted."""
        return self.value is not self.node.outputs[0]


def even_channels(model: ir.Model, floats: Simulator, images: Images) -> int:
    """Even out a prepared graph as above, in place; returns how many results. A second call changes nothing more.

    Only a convolution's result is evened out that reaches nothing but scales and shifts a channel, directly or through
    a Concat of channels and operators that keep channels apart.
    """
    results = [result for node in model.graph if (result := _result(node)) is not None]
    if not results:
        return 0
    ranges = _ranges({str(result.value.name) for result in results}, floats, images)
    constants = _Constants()
    for result in results:
        low, high = ranges[str(result.value.name)]
        if result.cut:
            low = -high
        middle, half = (low + high) / 2, (high - low) / 2
        half[half < np.finfo(np.float32).tiny] = 1.0  # a channel that says nothing
        constants.scale_result(result.node, 1 / half, -middle / half)
        for reader, first in result.readers:
            constants.scale_read(reader, first, half, middle)
    constants.put(model.graph)
    return len(results)


def _result(node: ir.Node) -> _Result | None:
    """The result of `node` with its readers; None where one of them cannot undo what is done to it."""
    if (
        node.op_type != "Conv"
        or kinds.is_scale_and_shift(node)
        or any(constant(value) is None for value in node.inputs[1:3])
    ):
        return None
    clamp = kinds.clamp_behind(node.outputs[0])
    relu = clamp if clamp is not None and clamp.op_type == "Relu" else None
    result = _Result(node, node.outputs[0] if relu is None else relu.outputs[0])
    waiting = [(result.value, 0)]
    while waiting:
        value, first = waiting.pop()
        if value.is_graph_output():
            return None
        for reader in dict.fromkeys(reader for reader, _ in value.uses()):
            if kinds.is_scale_and_shift(reader) and not any(reader.attributes.get_ints("pads", ())):
                result.readers.append((reader, first))
            elif reader.op_type in _KEEPS:
                waiting.append((reader.outputs[0], first))
            elif reader.op_type == "Concat" and reader.attributes.get_int("axis", 0) == 1:
                starts = _starts(value, reader.inputs)
                if None in starts:
                    return None
                waiting += [(reader.outputs[0], first + start) for start in starts if start is not None]
            else:
                return None
    return result if result.readers else None


def _starts(value: ir.Value, joined: Iterable[ir.Value | None]) -> list[int | None]:
    """The channels of a Concat's result at which `value` begins; None for one that cannot be told."""
    found: list[int | None] = []
    reached: int | None = 0
    for operand in joined:
        if operand is value:
            found.append(reached)
        sizes = shape_of(operand)
        channels = sizes[1] if sizes is not None and len(sizes) > 1 else None
        reached = None if reached is None or channels is None else reached + channels
    return found


def _ranges(names: set[str], floats: Simulator, images: Images) -> dict[str, tuple[_Numbers, _Numbers]]:
    """Value [N, C, …] → the smallest and the largest number of each channel, on all calibration images."""
    found: dict[str, tuple[_Numbers, _Numbers]] = {}

    def seen(name: str, x: torch.Tensor) -> None:
        if name in names:
            axes = [axis for axis in range(x.ndim) if axis != 1]
            low, high = x.amin(axes).double().numpy(), x.amax(axes).double().numpy()
            before = found.get(name, (low, high))
            found[name] = np.minimum(before[0], low), np.maximum(before[1], high)

    for chunk in images.chunks(chunk_size(floats, images)):
        floats.run(floats.start(chunk), 0, len(floats.nodes), seen)
    return found


class _Constants:
    """Weights and biases of convolutions as they become, in float64; each is put into the graph once, at the end."""

    def __init__(self) -> None:
        self._found: dict[tuple[ir.Node, int], _Numbers] = {}

    def scale_result(self, node: ir.Node, factors: _Numbers, shifts: _Numbers) -> None:
        """Make the result of a convolution factors · result + shifts, a channel."""
        weight, bias = self._of(node, 1), self._of(node, 2)
        weight *= factors.reshape(-1, *[1] * (weight.ndim - 1))
        bias *= factors
        bias += shifts

    def scale_read(self, reader: ir.Node, first: int, factors: _Numbers, shifts: _Numbers) -> None:
        """Let `reader` take its channels from `first` on as factors · channel + shifts."""
        weight, bias = self._of(reader, 1), self._of(reader, 2)
        channels = slice(first, first + len(factors))
        bias[channels] += weight[channels].reshape(-1) * shifts
        weight[channels] *= factors.reshape(-1, *[1] * (weight.ndim - 1))

    def put(self, graph: ir.Graph) -> None:
        """Give each node constants of its own: the old ones may serve others."""
        for (node, index), numbers in self._found.items():
            old = node.inputs[index]
            assert old is not None
            node.replace_input_with(index, initializer(graph, f"{old.name}_even", numbers.astype(np.float32)))

    def _of(self, node: ir.Node, index: int) -> _Numbers:
        if (node, index) not in self._found:
            array = constant(node.inputs[index])
            assert array is not None
            self._found[node, index] = array.astype(np.float64)
        return self._found[node, index]

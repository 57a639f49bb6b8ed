"""Gives channels that are normalized later about equal ranges, since one quantizer serves all channels of a tensor.

In a DenseNet the result of a convolution is concatenated, and every later layer normalizes the concatenation with a
scale and a shift a channel. Channels may be a thousand times as wide as others; at 8 bits for the whole tensor the
narrow ones are lost, and the normalization makes their error as large as the signal. Here output channel c of the
convolution is multiplied by e = 1 / (its largest magnitude on calibration images), and the weights that read it are
divided by e: the same function (cross-layer equalization, Nagel et al. 2019, section 4.1, over Concat and pooling).
"""

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from lowbit.graph.edit import initializer
from lowbit.graph.values import constant, shape_of
from lowbit.quant.plan import kinds
from lowbit.quant.ranges.observe import Images, chunk_size
from lowbit.quant.simulate import Simulator

_KEEPS = ("Relu", "MaxPool", "AveragePool", "GlobalAveragePool", "Identity")  # f(e · x) = e · f(x) for e > 0, a channel
_FINER = 4.0  # times as fine as the widest channel of a normalized result needs; finer than that is of no use

_Readers = list[tuple[ir.Node, int]]  # what scales and shifts a result, and the result's first channel there


def even_channels(model: ir.Model, floats: Simulator, images: Images) -> int:
    """Scale convolutions of a prepared graph as above, in place; returns how many.

    Only a convolution is scaled whose result reaches nothing but scales and shifts a channel, directly or through a
    Concat of channels and operators that keep channels and positive factors apart. A second call changes nothing more.
    """
    found = {node: readers for node in model.graph if (readers := _readers(node))}
    if not found:
        return 0
    names = {str(node.outputs[0].name) for node in found}
    norms = {reader for readers in found.values() for reader, _ in readers}
    widest = _largest_magnitudes(names | {_read(reader) for reader in norms}, floats, images)
    factors: dict[ir.Node, npt.NDArray[np.float64]] = {}
    for node, readers in found.items():
        width = widest[str(node.outputs[0].name)]
        least = np.full(len(width), np.inf)
        for reader, first in readers:
            gain = np.abs(_numbers(reader, 1).reshape(-1))
            reach = (gain * widest[_read(reader)]).max()
            least = np.minimum(least, reach / _FINER / np.maximum(gain[first : first + len(width)], 1e-30))
        by = 1 / np.maximum(width, least)
        _scale(model.graph, node, by)
        for reader, first in readers:
            whole = factors.setdefault(reader, np.ones(len(_numbers(reader, 1))))
            whole[first : first + len(by)] = by
    for reader, whole in factors.items():
        _set(model.graph, reader, 1, _numbers(reader, 1) / whole.reshape(-1, *[1] * (_numbers(reader, 1).ndim - 1)))
    return len(found)


def _readers(node: ir.Node) -> _Readers:
    """Every scale and shift that reads the result of `node`; none where others read it too."""
    if (
        node.op_type != "Conv"
        or kinds.is_scale_and_shift(node)
        or not all(constant(x) is not None for x in node.inputs[1:])
    ):
        return []
    found: _Readers = []
    waiting = [(node.outputs[0], 0)]
    while waiting:
        value, first = waiting.pop()
        if value.is_graph_output():
            return []
        for reader, _ in value.uses():
            if kinds.is_scale_and_shift(reader):
                found.append((reader, first))
            elif reader.op_type in _KEEPS:
                waiting.append((reader.outputs[0], first))
            elif reader.op_type == "Concat" and reader.attributes.get_int("axis", 0) == 1:
                starts = _starts(value, reader.inputs)
                if None in starts:
                    return []
                waiting += [(reader.outputs[0], first + start) for start in starts if start is not None]
            else:
                return []
    return found


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


def _largest_magnitudes(names: set[str], floats: Simulator, images: Images) -> dict[str, npt.NDArray[np.float64]]:
    """Value [N, C, …] → its largest magnitude in each channel, on all calibration images."""
    found: dict[str, npt.NDArray[np.float64]] = {}

    def seen(name: str, x: torch.Tensor) -> None:
        if name in names:
            here = x.abs().amax([axis for axis in range(x.ndim) if axis != 1]).double().numpy()
            found[name] = np.maximum(found[name], here) if name in found else here

    for chunk in images.chunks(chunk_size(floats, images)):
        floats.run(floats.start(chunk), 0, len(floats.nodes), seen)
    return found


def _scale(graph: ir.Graph, node: ir.Node, factors: npt.NDArray[np.float64]) -> None:
    """Multiply the output channels of a convolution."""
    for index in range(1, len(node.inputs)):
        numbers = _numbers(node, index)
        _set(graph, node, index, numbers * factors.reshape(-1, *[1] * (numbers.ndim - 1)))


def _read(node: ir.Node) -> str:
    """The name of what the node reads first."""
    value = node.inputs[0]
    assert value is not None
    return str(value.name)


def _numbers(node: ir.Node, index: int) -> npt.NDArray[np.float64]:
    array = constant(node.inputs[index])
    assert array is not None
    return array.astype(np.float64)


def _set(graph: ir.Graph, node: ir.Node, index: int, numbers: npt.NDArray[np.float64]) -> None:
    """Give the node a constant of its own: the old one may serve other nodes."""
    old = node.inputs[index]
    assert old is not None
    new = initializer(graph, f"{old.name}_even", numbers.astype(np.float32))
    node.replace_input_with(index, new)

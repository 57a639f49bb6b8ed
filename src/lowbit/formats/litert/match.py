"""Which tensor of a converted .tflite file is which ONNX value: told by its numbers on random images.

Converters fuse, reorder and rename, and change the layout; the sorted numbers of a tensor stay. Names alone would do
for layers with weights, but not for what lies between them.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from lowbit.formats.litert.file import TFLiteFile
from lowbit.formats.litert.layers import WEIGHTED

_CLOSE = 1e-3  # of the largest number: float kernels differ by far less, other values by far more

_WEIGHTED_NODES = ("Conv", "ConvTranspose", "Gemm", "MatMul")

Floats = npt.NDArray[np.float32]
_Value = TypeVar("_Value", int, str)


def match(content: bytes, graph: Path, probes: Sequence[Sequence[Floats]]) -> dict[int, tuple[str, ...]]:
    """Tensor → the names of the ONNX values that hold its numbers, in the graph's order; constants are left out.

    content: the float .tflite file. graph: the ONNX file that it was made from. probes: batches for its inputs, of
    different magnitudes. The first serves, unless layers are silent on it, which may speak on the others. Tensors of
    layers that never speak are told apart by their order.
    """
    values, tensors = [_values(graph, probes[0])], [_tensors(content, probes[0])]
    if any(_is_silent(ordered) for ordered in tensors[0].values()):
        values += [_values(graph, images) for images in probes[1:]]
        tensors += [_tensors(content, images) for images in probes[1:]]
    sizes: dict[int, list[str]] = {}
    for name, ordered in values[0].items():
        sizes.setdefault(ordered.size, []).append(name)
    found = {}
    for tensor, ordered in tensors[0].items():
        names = sizes.get(ordered.size, [])
        distances = {
            name: max(_distance(value[name], each[tensor]) for value, each in zip(values, tensors, strict=True))
            for name in names
        }
        nearest = min(distances, key=lambda name: distances[name], default=None)
        if nearest is not None and distances[nearest] <= _CLOSE:
            found[tensor] = tuple(
                name for name in names if all(np.array_equal(value[name], value[nearest]) for value in values)
            )
    silent = {tensor: found[tensor] for tensor in found if all(_is_silent(each[tensor]) for each in tensors)}
    return found | _in_order(silent, content, graph)


def _is_silent(numbers: Floats) -> bool:
    return bool(numbers.size) and float(np.ptp(numbers)) == 0


def _distance(value: Floats, tensor: Floats) -> float:
    """The largest difference as a share of the largest number."""
    return float(np.abs(value - tensor).max()) / max(float(np.abs(value).max()), 1e-6)


def _in_order(found: Mapping[int, tuple[str, ...]], content: bytes, graph: Path) -> dict[int, tuple[str, ...]]:
    """Tensors without a number of their own, each with its own names out of those that all of them share.

    Both files are in the order of computation. Where they differ in how many steps write such numbers, nothing is said.
    """
    told: dict[int, tuple[str, ...]] = {}
    for names in set(found.values()):
        alike = [tensor for tensor in _written(content) if found.get(tensor) == names]
        steps_of_file = _steps(alike, _moved_in_file(content))
        steps_of_graph = _steps(names, _moved_in_graph(graph))
        if len(steps_of_file) == len(steps_of_graph):
            told |= {
                tensor: tuple(own)
                for step, own in zip(steps_of_file, steps_of_graph, strict=True)
                for tensor in step
            }  # fmt: skip
    return told


def _steps(values: Iterable[_Value], moved_from: Mapping[_Value, _Value]) -> list[list[_Value]]:
    """`values` in order, those together that only hold the numbers of one before them."""
    steps: list[list[_Value]] = []
    for value in values:
        step = next((step for step in steps if moved_from.get(value) in step), None)
        if step is None:
            steps.append([value])
        else:
            step.append(value)
    return steps


def _moved_in_graph(graph: Path) -> dict[str, str]:
    """ONNX value → the only computed value that its node reads, unless the node weighs it."""
    import onnx_ir as ir

    found: dict[str, str] = {}
    for node in ir.load(graph).graph:
        read = {str(value.name) for value in node.inputs if value is not None and value.const_value is None}
        if len(read) == 1 and node.op_type not in _WEIGHTED_NODES:
            found |= {str(value.name): next(iter(read)) for value in node.outputs}
    return found


def _moved_in_file(content: bytes) -> dict[int, int]:
    """Tensor → the only computed tensor that its operator reads, unless the operator weighs it."""
    file = TFLiteFile(content)
    found: dict[int, int] = {}
    for kind, operator in file.old:
        read = {int(tensor) for tensor in operator.inputs if tensor >= 0 and file.constant(int(tensor)) is None}
        if len(read) == 1 and kind not in WEIGHTED:
            found |= {int(tensor): next(iter(read)) for tensor in operator.outputs}
    return found


def _written(content: bytes) -> list[int]:
    """Tensors in the order in which operators write them."""
    return [int(tensor) for _, operator in TFLiteFile(content).old for tensor in operator.outputs]


def _values(graph: Path, images: Sequence[Floats]) -> dict[str, Floats]:
    """ONNX value → its sorted numbers, by the importer's torch modules."""
    import torch
    from torch import fx

    from lowbit.torchgraph.importer import VALUES, import_graph

    found: dict[str, Floats] = {}

    class Watch(fx.Interpreter):
        def run_node(self, n: fx.Node) -> object:
            result = super().run_node(n)
            if isinstance(result, torch.Tensor) and result.is_floating_point():
                ordered = np.sort(result.detach().numpy().astype(np.float32), axis=None)
                found.update((name, ordered) for name in n.meta.get(VALUES, ()))
            return result

    with torch.no_grad():
        Watch(import_graph(graph, inputs=len(images))).run(*map(torch.from_numpy, images))
    return found


def _numbers_in(name: str) -> list[int]:
    """The whole numbers in a name. The converter calls inputs …_args_0 to …_args_10, which the alphabet puts wrong."""
    return [int(digits) for digits in re.findall(r"\d+", name)]


def _tensors(content: bytes, images: Sequence[Floats]) -> dict[int, Floats]:
    """Tensor → its sorted numbers, for the input and what operators write. A delegate would keep its own to itself."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=content,
        num_threads=1,
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    sources = sorted(interpreter.get_input_details(), key=lambda detail: _numbers_in(str(detail["name"])))
    for source, batch in zip(sources, images, strict=True):
        interpreter.set_tensor(source["index"], batch)
    interpreter.invoke()
    written = [int(out) for operator in interpreter._get_ops_details() for out in operator["outputs"]]
    types = {detail["index"]: detail["dtype"] for detail in interpreter.get_tensor_details()}
    return {
        index: np.sort(interpreter.get_tensor(index), axis=None)
        for index in [*(int(source["index"]) for source in sources), *written]
        if types[index] is np.float32
    }

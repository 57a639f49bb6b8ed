"""Which tensor of a converted .tflite file is which ONNX value: told by its numbers on random images.

Converters fuse, reorder and rename, and change the layout; the sorted numbers of a tensor stay. Names alone would do
for layers with weights, but not for what lies between them.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

_CLOSE = 1e-3  # of the largest number: float kernels differ by far less, other values by far more

Floats = npt.NDArray[np.float32]


def match(content: bytes, graph: Path, images: Sequence[Floats]) -> dict[int, tuple[str, ...]]:
    """Tensor → the names of the ONNX values that hold its numbers, in the graph's order; constants are left out.

    content: the float .tflite file. graph: the ONNX file that it was made from. images: a batch for each of its inputs.
    """
    values = _values(graph, images)
    sizes: dict[int, list[str]] = {}
    for name, ordered in values.items():
        sizes.setdefault(ordered.size, []).append(name)
    found = {}
    for tensor, ordered in _tensors(content, images).items():
        names = sizes.get(ordered.size, [])
        distances = {name: float(np.abs(values[name] - ordered).max()) for name in names}
        nearest = min(distances, key=lambda name: distances[name], default=None)
        if nearest is not None and distances[nearest] <= _CLOSE * max(float(np.abs(values[nearest]).max()), 1e-6):
            best = values[nearest]
            found[tensor] = tuple(name for name in names if np.array_equal(values[name], best))
    return found


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
    sources = sorted(interpreter.get_input_details(), key=lambda detail: str(detail["name"]))  # …_args_0, …_args_1
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

"""The LiteRT exporter: our codes and our scales in a .tflite file that runs on LiteRT's int8 kernels.

The float graph is converted by litert-torch, which knows LiteRT's operators and layout; then its graph is written
again: every tensor that the plan quantizes becomes int8 on the plan's grid (our u8 code less 128), weights become
code − zero_point, biases int32. Where a float operator lies between, DEQUANTIZE and QUANTIZE stand around it. The
file's input and output stay float, in the layout of the ONNX graph, and its batch is fixed.
"""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.files import aside
from lowbit.core.refusal import refusal, vendor_call
from lowbit.formats.litert.file import TFLiteFile
from lowbit.formats.litert.forms import Forms, IntegerGrid
from lowbit.formats.litert.match import match
from lowbit.formats.litert.rules import Rewriting, plan_backwards, rewrite
from lowbit.formats.part import part_of
from lowbit.quant.model import QuantizedModel

_SEED = 0


def export_litert(
    model: QuantizedModel,
    path: Path,
    *,
    batch_size: int = 1,
    metadata: dict[str, str] | None = None,
    packed: bool = True,
) -> tuple[str, ...]:
    """Write `model` to `path` for batches of `batch_size`; returns what is stored wider or computed in float, and why.

    packed: weights of 2 to 4 bits are int4 where a kernel reads that, otherwise int8: larger, but faster, since XNNPACK
    has no int4 convolution. metadata: entries of the file's own. Equal models give equal bytes. Raises
    UnsupportedError where LiteRT's kernels or its converter cannot do what the model asks: 16-bit activations, weights
    in groups.
    """
    content, notes = _export(model, batch_size, metadata or {}, packed=packed, codes=False)
    _write(content, path)
    return notes


def export_layer_litert(model: QuantizedModel, node: str, path: Path, *, packed: bool = True) -> tuple[str, ...]:
    """Write one part of the model (`formats.part`) as a file of its own, for one image.

    Its inputs, named as the values that they are, and its output are int8 codes, our u8 less 128, on the grids of what
    it reads and writes (below 8 bits: less what makes the highest code 127); a side that the model leaves in float is
    float.
    """
    content, notes = _export(part_of(model, node).model, 1, {}, packed=packed, codes=True)
    _write(content, path)
    return notes


def _names(
    content: bytes, graph: Path, shapes: list[tuple[int, ...]], grids: dict[str, IntegerGrid]
) -> tuple[dict[int, tuple[str, ...]], int]:
    """Tensor → the ONNX values that it is; and how many were left out because values on different grids fit them."""
    rng = np.random.default_rng(_SEED)
    normal = [rng.normal(0, 1, shape).astype(np.float32) for shape in shapes]
    probes = [normal, [8 * images + 4 for images in normal], [8 * images - 4 for images in normal]]
    try:
        found = match(content, graph, probes)
    except RuntimeError as error:  # the interpreter's: some files that litert-torch writes cannot be run
        raise refusal("LiteRT cannot run the converted model", error, graph) from error
    unclear = [tensor for tensor, names in found.items() if len({grids[name] for name in names if name in grids}) > 1]
    return {tensor: names for tensor, names in found.items() if tensor not in unclear}, len(unclear)


def _write(content: bytes, path: Path) -> None:
    with aside(path) as temporary:
        temporary.write_bytes(content)


def _export(
    model: QuantizedModel, batch_size: int, metadata: dict[str, str], *, packed: bool, codes: bool
) -> tuple[bytes, tuple[str, ...]]:
    for layer in model.layers.values():
        if layer.weight.qparams.format.granularity == "group":
            raise UnsupportedError(
                f"LiteRT's int8 kernels take one weight scale an output channel; layer {layer.node!r} has groups",
                "choose granularity 'channel' or 'tensor'",
            )
    grids = {name: IntegerGrid.of(qparams) for name, qparams in (*model.product.items(), *model.main.items())}
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        graph, floats = Path(folder) / "graph.onnx", Path(folder) / "float.tflite"
        ir.save(model.graph, graph)
        shapes = [(batch_size, *_sizes(value)) for value in model.graph.graph.inputs]
        _convert(graph, shapes, floats)
        content = floats.read_bytes()
        names, unclear = _names(content, graph, shapes, {name: grids[name] for name in model.main})
        file = TFLiteFile(content)
        _rename(file, names)
        planned = {
            tensor: grids[name] for tensor, found in names.items() for name in reversed(found) if name in model.main
        }
        plan_backwards(file, planned)
        work = Rewriting(Forms(file, planned), model, names, packed)
        if unclear:
            count = f"{unclear} tensors cannot be" if unclear > 1 else "1 tensor cannot be"
            work.notes.append(f"{count} told from others whose numbers are the same on random images: left in float")
        notes = _rewrite(work, codes=codes)
        result = file.to_bytes(metadata)
        floats.write_bytes(result)
        _check(floats)
    return result, notes


def _rewrite(work: Rewriting, *, codes: bool) -> tuple[str, ...]:
    file, planned = work.file, work.forms.planned
    (target,) = file.graph.outputs
    for source in map(int, file.graph.inputs):
        if codes and source in planned:
            work.forms.start(source, planned[source])
    rewrite(work)
    if codes and target in planned:
        file.graph.outputs = [work.forms.integers(target, planned[target])]
    else:
        file.graph.outputs = [work.forms.floats(target)]
    lost = [name for name in work.model.layers if name not in work.done]
    missing = [f"{name}: in float, since LiteRT's converter has changed its weights" for name in lost]
    floats = ", ".join(f"{count} {kind}" for kind, count in sorted(Counter(work.floats).items()))
    return (*work.notes, *missing, *([f"operators computed in float: {floats}"] if floats else []))


def _sizes(value: ir.Value) -> tuple[int, ...]:
    """An input's sizes without the batch."""
    stated = [] if value.shape is None else list(value.shape)[1:]
    sizes = tuple(size for size in stated if isinstance(size, int))
    if not sizes or len(sizes) != len(stated):
        raise BadInput(f"the input {value.name!r} has shape {value.shape}; expected fixed sizes behind the batch")
    return sizes


def _convert(graph: Path, shapes: list[tuple[int, ...]], path: Path) -> None:
    """The float .tflite file of the graph."""
    import litert_torch
    import torch

    from lowbit.torchgraph.importer import import_graph

    module = import_graph(graph, inputs=len(shapes))
    examples = tuple(torch.zeros(shape) for shape in shapes)
    with vendor_call("litert-torch cannot convert the model", graph, errors=(RuntimeError, ValueError)):
        litert_torch.convert(module, examples).export(str(path))


def _check(path: Path) -> None:
    """A file that the interpreter refuses is not written."""
    from ai_edge_litert.interpreter import Interpreter

    with vendor_call("LiteRT cannot load the model", path, errors=(RuntimeError, ValueError)):
        Interpreter(model_path=str(path), num_threads=1).allocate_tensors()


def _rename(file: TFLiteFile, names: dict[int, tuple[str, ...]]) -> None:
    """Tensors are called as in the ONNX graph, or by number: the converter's names take a hundred bytes each."""
    taken: set[str] = set()
    for tensor in range(len(file.graph.tensors)):
        name = next((name for name in names.get(tensor, ()) if name not in taken), f"t{tensor}")
        taken.add(name)
        file.rename(tensor, name)

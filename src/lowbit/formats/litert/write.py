"""The LiteRT exporter: our codes and our scales in a .tflite file that runs on LiteRT's int8 kernels.

The float graph is converted by litert-torch, which knows LiteRT's operators and layout; then its graph is written
again: every tensor that the plan quantizes becomes int8 on the plan's grid (our u8 code less 128), weights become
code − zero_point, biases int32. Where a float operator lies between, DEQUANTIZE and QUANTIZE stand around it. The
file's input and output stay float, in the layout of the ONNX graph, and its batch is fixed.
"""

import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir

from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.files import aside
from lowbit.core.refusal import vendor_call
from lowbit.formats.litert.file import TFLiteFile
from lowbit.formats.litert.forms import Forms, IntegerGrid
from lowbit.formats.litert.match import match
from lowbit.formats.litert.rules import Rewriting, plan_backwards, rewrite
from lowbit.quant.model import QuantizedModel
from lowbit.quant.plan import kinds

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
    """Write one Conv, ConvTranspose or Gemm, and the Relu or Clip behind it, as a file of its own, for one image.

    Its input and output are int8 codes, our u8 less 128, on the grids of what it reads and writes (below 8 bits: less
    what makes the highest code 127); a side that the model leaves in float is float.
    """
    content, notes = _export(_alone(model, node), 1, {}, packed=packed, codes=True)
    _write(content, path)
    return notes


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
        shape = (batch_size, *_input_shape(model.graph))
        _convert(graph, shape, floats)
        content = floats.read_bytes()
        normal = np.random.default_rng(_SEED).normal(0, 1, shape).astype(np.float32)
        names = match(content, graph, [normal, 8 * normal + 4, 8 * normal - 4])
        file = TFLiteFile(content)
        _rename(file, names)
        planned = {
            tensor: grids[name] for tensor, found in names.items() for name in reversed(found) if name in model.main
        }
        plan_backwards(file, planned)
        work = Rewriting(Forms(file, planned), model, names, packed)
        notes = _rewrite(work, codes=codes)
        result = file.to_bytes(metadata)
        floats.write_bytes(result)
        _check(floats)
    return result, notes


def _rewrite(work: Rewriting, *, codes: bool) -> tuple[str, ...]:
    file, planned = work.file, work.forms.planned
    (source,), (target,) = file.graph.inputs, file.graph.outputs
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


def _input_shape(model: ir.Model) -> tuple[int, ...]:
    """The input's sizes without the batch."""
    (image,) = (value for value in model.graph.inputs if value.name not in model.graph.initializers)
    stated = [] if image.shape is None else list(image.shape)[1:]
    sizes = tuple(size for size in stated if isinstance(size, int))
    if not sizes or len(sizes) != len(stated):
        raise BadInput(f"the input {image.name!r} has shape {image.shape}; expected fixed sizes behind the batch")
    return sizes


def _convert(graph: Path, shape: tuple[int, ...], path: Path) -> None:
    """The float .tflite file of the graph."""
    import litert_torch
    import torch

    from lowbit.torchgraph.importer import import_graph

    module = import_graph(graph)
    with vendor_call("litert-torch cannot convert the model", graph, errors=(RuntimeError, ValueError)):
        litert_torch.convert(module, (torch.zeros(shape),)).export(str(path))


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


def _alone(model: QuantizedModel, name: str) -> QuantizedModel:
    """The layer `name`, with the Relu or Clip behind it, as a model of its own."""
    node = next((node for node in model.graph.graph if node.name == name), None)
    if node is None or name not in model.layers or node.op_type == "Gather":
        raise BadInput(f"{name!r} is no Conv, ConvTranspose or Gemm with quantized weights: expected the name of one")
    source, target = node.inputs[0], node.outputs[0]
    assert source is not None
    nodes = [node]
    while str(target.name) not in model.main and (behind := kinds.clamp_behind(target)) is not None:
        nodes.append(behind)
        target = behind.outputs[0]
    values = {source: ir.Value(name=source.name, shape=source.shape, type=ir.TensorType(ir.DataType.FLOAT))}
    for value in (value for node in nodes for value in node.inputs if value is not None):
        if value.const_value is not None:
            values[value] = ir.Value(name=value.name, shape=value.shape, type=value.type, const_value=value.const_value)
    copies = []
    for old in nodes:
        inputs = [None if value is None else values[value] for value in old.inputs]
        copies.append(ir.Node("", old.op_type, inputs, list(old.attributes.values()), name=old.name))
        values[old.outputs[0]] = new = copies[-1].outputs[0]
        new.name, new.shape, new.type = (getattr(old.outputs[0], part) for part in ("name", "shape", "type"))
    constants = [value for value in values.values() if value.const_value is not None]
    graph = ir.Graph(
        [values[source]],
        [values[target]],
        nodes=copies,
        initializers=constants,
        opset_imports=dict(model.graph.opset_imports),
        name="layer",
    )
    reads, gives = model.read_as(node, source), model.main.get(str(target.name))
    seen = {str(source.name): reads, str(target.name): gives}
    return replace(
        model,
        graph=ir.Model(graph, ir_version=model.graph.ir_version),
        layers={name: model.layers[name]},
        main={value: qparams for value, qparams in seen.items() if qparams is not None},
        product={},
        constants={},
    )

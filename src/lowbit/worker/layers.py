"""Job `layers`: runs every layer of two files alone, each in its runtime, on equal inputs.

Exposing tensors inside a whole file would change what runtimes fuse, so every layer is a file of its own. Two ways:

- two ONNX files, or the same one in two runtimes: graphs are cut at the borders between layers (`formats.onnx.cut`)
- files of our own engine in other formats: the layers are written again from what the builds left for verification
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx

from lowbit.core import digest
from lowbit.core.adapter import CodePorts, Codes, Floats, RunCodes, SessionOptions
from lowbit.core.difference import LayerDifference, LayersDifference
from lowbit.core.discover import require
from lowbit.core.errors import UnsupportedError
from lowbit.core.format import ONNX, file_format
from lowbit.core.verified import UncheckedLayer
from lowbit.data.cache import open_samples
from lowbit.data.preprocess import to_input
from lowbit.formats.onnx.cut import Piece, beginning, pieces
from lowbit.measure.difference import CLOSE, compare_layer, error_of
from lowbit.reference.graph import load_integer_graph
from lowbit.reference.op import real
from lowbit.runtimes.find import OpensCodes, runtimes
from lowbit.worker.doing import doing
from lowbit.worker.jobs import LayersJob

_CODES = 1 << 20  # most input codes for one layer, in whole images
_FLOAT_PORTS = CodePorts((), None)


def run(job: LayersJob) -> LayersDifference:
    """Raises UnsupportedError where the layers cannot be run alone, with the reason."""
    opened = tuple(_module(side.runtime) for side in (job.first, job.second))
    images = to_input(open_samples(job.samples, "evaluation").images[: job.images], job.preprocess)
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        if job.first.artifact.format == job.second.artifact.format == ONNX.name:
            images = _in_one_call(job, images)
            return by_pieces(job, images, opened, SessionOptions(job.threads, len(images)), Path(folder))
        if job.first.evidence is None or job.second.evidence is None:
            raise UnsupportedError(_why_not(job))
        return by_parts(job, images, opened, Path(folder))


def _in_one_call(job: LayersJob, images: Floats) -> Floats:
    """As many images as a call takes where a file has a fixed batch size: the last one is repeated, or some dropped."""
    sizes = {side.artifact.batch_size for side in (job.first, job.second) if side.artifact.batch_size is not None}
    if not sizes:
        return images
    if len(sizes) > 1:
        raise UnsupportedError(f"one file is made for {min(sizes)} images a call, the other for {max(sizes)}")
    (size,) = sizes
    return np.concatenate([images, images[-1:].repeat(max(0, size - len(images)), axis=0)])[:size]


def _module(name: str) -> OpensCodes:
    module = runtimes((name,))[name]
    require(module.INFO)
    if not isinstance(module, OpensCodes):
        raise UnsupportedError(f"the runtime {name} cannot run a layer alone")
    return module


def _why_not(job: LayersJob) -> str:
    lacking = [side for side in (job.first, job.second) if side.evidence is None]
    names = " and ".join(dict.fromkeys(side.artifact.path.name for side in lacking))
    return (
        f"only graphs of ONNX files can be cut into layers, and of {names} the layers cannot be written again: that "
        "takes what a build of lowbit's own engine leaves in its study or in --cache"
    )


def by_pieces(
    job: LayersJob, images: Floats, opened: Sequence[OpensCodes], options: SessionOptions, folder: Path
) -> LayersDifference:
    """Pieces of two ONNX graphs, paired by their names. The first side's results are the inputs of what follows."""
    model = onnx.load(job.first.artifact.path)
    found = pieces(model)
    partner = _same if job.same_file else _by_name(found, pieces(onnx.load(job.second.artifact.path)))
    values = dict.fromkeys(_images(found), images)
    layers: list[LayerDifference] = []
    unchecked: list[UncheckedLayer] = []
    for number, piece in enumerate(found, 1):
        given = [values[name] for name in piece.reads if name in values]
        if len(given) < len(piece.reads):
            unchecked.append(UncheckedLayer(piece.name, "it reads what neither side could compute"))
            continue
        doing(f"running {piece.op_type} {piece.name} alone")
        results, refused = _alone(job, opened, (piece, partner(piece)), given, folder / "piece.onnx", options)
        unchecked += refused
        if results:
            values[piece.gives] = results[0]
        if len(results) < len(opened):
            continue
        layer = _compared(number, piece.name, piece.op_type, results, scale=piece.step, same_numbers=job.same_file)
        if isinstance(layer, UncheckedLayer):
            unchecked.append(layer)
            continue
        if layer.parted and job.same_file and not any(each.parted for each in layers):
            layer = _judged(layer, piece, given, results)
        layers.append(layer)
    result = LayersDifference(len(images), job.same_file, tuple(layers), tuple(unchecked))
    if not job.together or not job.same_file or result.first is not None:
        return result
    return replace(result, together=_together(model, found, images, opened, options, folder))


def _alone(
    job: LayersJob,
    opened: Sequence[OpensCodes],
    pair: Sequence[Piece | None],
    given: Sequence[Codes],
    path: Path,
    options: SessionOptions,
) -> tuple[list[Codes], list[UncheckedLayer]]:
    """The results of the sides that can run their piece, the first side's first, and why the others cannot."""
    results, refused = [], []
    name = next(piece.name for piece in pair if piece is not None)
    for side, module, piece in zip((job.first, job.second), opened, pair, strict=True):
        if piece is None:
            refused.append(UncheckedLayer(name, "the other file has no layer of this name with these inputs"))
            continue
        try:
            results.append(_open(module, piece.model, path, options)(given))
        except UnsupportedError as error:
            refused.append(UncheckedLayer(name, f"in {side.runtime}: {error.reason}"))
    return results, refused


def _compared(
    number: int, name: str, op_type: str, results: Sequence[Codes], *, scale: float | None, same_numbers: bool
) -> LayerDifference | UncheckedLayer:
    """How the two results differ, codes as numbers; or that they have other shapes."""
    first, second = (np.asarray(result, np.float32) for result in results)
    if first.shape != second.shape:
        shapes = f"{list(first.shape)} and {list(second.shape)}"
        return UncheckedLayer(name, f"the two sides give results of other shapes: {shapes}")
    return compare_layer(number, name, op_type, first, second, scale=scale, same_numbers=same_numbers)


def _images(found: Sequence[Piece]) -> set[str]:
    """What pieces read and none gives: the image."""
    return {name for piece in found for name in piece.reads} - {piece.gives for piece in found}


def _same(piece: Piece) -> Piece | None:
    return piece


def _by_name(found: Sequence[Piece], others: Sequence[Piece]) -> Callable[[Piece], Piece | None]:
    """The other file's piece of the same name that reads what pieces of the same names give."""
    makers = {piece.gives: piece.name for piece in found}
    makers_there = {piece.gives: piece.name for piece in others}
    by_name = {piece.name: piece for piece in others}

    def partner(piece: Piece) -> Piece | None:
        other = by_name.get(piece.name)
        if other is None or [makers.get(name) for name in piece.reads] != [
            makers_there.get(name) for name in other.reads
        ]:
            return None
        return other

    return partner


def _open(module: OpensCodes, model: onnx.ModelProto, path: Path, options: SessionOptions) -> RunCodes:
    """A runtime's function for `model`, whose inputs and output are float."""
    onnx.save(model, path)
    return module.open_codes(path, _FLOAT_PORTS, options)


def _judged(layer: LayerDifference, piece: Piece, given: Sequence[Codes], results: Sequence[Codes]) -> LayerDifference:
    """`layer` with the error of both sides against plain arithmetic, where that can compute it."""
    try:
        alone = load_integer_graph(piece.model)
        feeds = dict(zip(alone.inputs, given, strict=True))
        expected = np.asarray(real(alone.run(feeds)[alone.outputs[0]]), np.float32)
    except UnsupportedError:
        return layer
    if expected.shape != results[0].shape:
        return layer
    return replace(layer, from_reference=(error_of(expected, results[0]), error_of(expected, results[1])))


def _together(
    model: onnx.ModelProto,
    found: Sequence[Piece],
    images: Floats,
    opened: Sequence[OpensCodes],
    options: SessionOptions,
    folder: Path,
) -> str | None:
    """Name of the layer at which ever longer beginnings of the file part; None where not even the whole file does."""

    def parts_at(piece: Piece) -> bool:
        doing(f"running the file up to {piece.op_type} {piece.name}")
        start = beginning(model, piece.gives)
        first, second = (_open(module, start, folder / "start.onnx", options)([images]) for module in opened)
        return error_of(first, second) > CLOSE

    try:
        if not parts_at(found[-1]):
            return None
        low, high = -1, len(found) - 1  # they do not part at `low`, and do at `high`
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (low, middle) if parts_at(found[middle]) else (middle, high)
    except UnsupportedError:
        return None
    return found[high].name


def by_parts(job: LayersJob, images: Floats, opened: Sequence[OpensCodes], folder: Path) -> LayersDifference:
    """Layers of two files of our own engine, on the codes that the integer reference finds in the first one's model."""
    from lowbit.formats.layers import write_layer
    from lowbit.formats.onnx.write import export_onnx
    from lowbit.formats.part import parts
    from lowbit.quant.stored import load_quantized

    sides = (job.first, job.second)
    models = [load_quantized(side.evidence) for side in sides if side.evidence is not None]
    numbers = [digest.of_value([each.layers, each.main, each.product, each.constants]) for each in models]
    (found, left), (others, _) = parts(models[0]), parts(models[1])
    there = {part.node: part for part in others}
    export_onnx(models[0], folder / "whole.onnx")
    graph = load_integer_graph(onnx.load(folder / "whole.onnx"))
    reads = {read for part in found for read in part.reads}
    _, kept = graph.run_and_keep({graph.inputs[0]: images}, reads, _CODES)
    layers: list[LayerDifference] = []
    unchecked = [UncheckedLayer(name, why) for name, why in left.items()]
    for number, part in enumerate(found, 1):
        other = there.get(part.node)
        if other is None or digest.of_value(part.model.main) != digest.of_value(other.model.main):
            unchecked.append(UncheckedLayer(part.node, "the other file has no such layer with the same quantizers"))
            continue
        doing(f"running {part.op_type} {part.node} alone")
        results = []
        try:
            for side, module, model, one in zip(sides, opened, models, (part, other), strict=True):
                path = folder / f"layer{file_format(side.artifact.format).main_suffix}"
                write_layer(model, part.node, side.artifact.format, path)
                options = SessionOptions(job.threads, side.artifact.batch_size or len(images))
                results.append(module.open_codes(path, one.ports, options)([kept[read] for read in part.reads]))
        except UnsupportedError as error:
            unchecked.append(UncheckedLayer(part.node, error.reason))
            continue
        scale = None if part.ports.result is None else 1.0  # codes: a step is one code
        layer = _compared(number, part.node, part.op_type, results, scale=scale, same_numbers=True)
        if isinstance(layer, UncheckedLayer):
            unchecked.append(layer)
        else:
            layers.append(layer)
    return LayersDifference(len(images), numbers[0] == numbers[1], tuple(layers), tuple(unchecked))

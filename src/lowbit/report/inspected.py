"""What `lowbit inspect` shows of one artifact: facts as data, and as text for a terminal."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lowbit.core.adapter import OpPrecision
from lowbit.core.artifact import Manifest
from lowbit.core.preprocess import Preprocess
from lowbit.core.stored import StoredGraph, StoredTensor
from lowbit.core.text import one_line
from lowbit.measure.precision import int8_share
from lowbit.report import words
from lowbit.report.facts import preprocess_text
from lowbit.report.quantized import verified_text


@dataclass(frozen=True, slots=True)
class LayerFacts:
    """What is known about one layer; None where it is not known.

    - weight_bits, activation_bits: from the plan
    - bytes: size of its stored weights
    - precision: runtime → the precision that it was executed in, followed by "float" or "hybrid" where the kernel did
      not take integers
    """

    name: str
    op_type: str
    weight_bits: int | None
    activation_bits: int | None
    bytes: int | None
    precision: dict[str, str]


@dataclass(frozen=True, slots=True)
class Inspection:
    """An inspected artifact.

    - path, format, size_bytes: of its files
    - preprocess: how a picture becomes the model's input; None where it is not known
    - manifest: None for a file without one
    - changed: whether the files differ from those that the manifest describes
    - metadata: the file's own entries, key → text
    - layers: what is known about each layer
    - int8_share: runtime → share of the listed multiply–accumulates that ran as integers
    - refused: runtime → why it could not open the file
    - stored: every tensor and operator of the file; None for a format that only its vendor reads
    """

    path: Path
    format: str
    size_bytes: int
    preprocess: Preprocess | None
    manifest: Manifest | None
    changed: bool
    metadata: dict[str, str]
    layers: tuple[LayerFacts, ...]
    int8_share: dict[str, float | None]
    refused: dict[str, str]
    stored: StoredGraph | None = None


def layers_of(
    planned: Mapping[str, tuple[str, int | None, int]],
    weight_bytes: Mapping[str, int],
    executed: Mapping[str, tuple[OpPrecision, ...]],
) -> tuple[LayerFacts, ...]:
    """Layers of the plan (name → type, weight bits, activation bits), then others that multiply and accumulate."""
    found: dict[str, dict[str, str]] = {name: {} for name in planned}
    types = {name: op_type for name, (op_type, _, _) in planned.items()}
    for runtime, operators in executed.items():
        for operator in operators:
            if operator.macs or operator.name in planned:
                said = found.setdefault(operator.name, {})
                if operator.macs or runtime not in said:
                    said[runtime] = precision_text(operator)
                types.setdefault(operator.name, operator.op_type)
    widths = {name: (weights, activations) for name, (_, weights, activations) in planned.items()}
    facts = []
    for name, precision in found.items():
        weights, activations = widths.get(name, (None, None))
        facts.append(LayerFacts(name, types[name], weights, activations, weight_bytes.get(name), precision))
    return tuple(facts)


def precision_text(operator: OpPrecision) -> str:
    """ "u8s8", "f32 (float)", "f32s8 (hybrid)"."""
    if operator.hybrid:
        return f"{operator.precision} (hybrid)"
    return operator.precision if operator.integer else f"{operator.precision} (float)"


def shares_of(executed: Mapping[str, tuple[OpPrecision, ...]]) -> dict[str, float | None]:
    """Runtime → share of the listed multiply–accumulates on integer kernels. No float graph is compared with."""
    return {runtime: int8_share(operators) for runtime, operators in executed.items()}


def inspection_text(found: Inspection, *, tensors: bool = False) -> RenderableType:
    """Facts, then a table of layers, then what the file stores; all its operators and tensors where asked for."""
    parts = [_executed(found)]
    if found.stored is not None and (tensors or found.manifest is None):
        parts += [Text(), _stored_layers(found.stored)]
    if found.stored is not None and tensors:
        parts += [Text(), _stored_operators(found.stored), Text(), _stored_tensors(found.stored)]
    return Group(*parts)


_LONGEST = 40  # letters of a name: converters join all names that an operator stands for


def _name(name: str) -> str:
    half = _LONGEST // 2
    return name if len(name) <= _LONGEST else f"{name[:half]}…{name[1 - half :]}"


def _stored_layers(stored: StoredGraph) -> Table:
    table = _table("stored layer", "type", "weight", "shape", "bytes")
    for layer in stored.layers():
        weight = layer.weight
        table.add_row(
            *map(Text, (_name(layer.name), layer.kind, weight.kind, _shape(weight.shape), f"{layer.stored_bytes:,}"))
        )
    return table


def _stored_operators(stored: StoredGraph) -> Table:
    table = _table("operator", "type", "reads", "writes")
    for operator in stored.operators:
        table.add_row(
            *map(Text, (operator.name, operator.kind, ", ".join(operator.inputs), ", ".join(operator.outputs)))
        )
    return table


def _stored_tensors(stored: StoredGraph) -> Table:
    table = _table("tensor", "type", "shape", "scale", "zero point", "bytes")
    for tensor in stored.tensors:
        size = f"{tensor.stored_bytes:,}" if tensor.stored_bytes else words.ABSENT
        cells = (
            _name(tensor.name),
            tensor.kind or words.ABSENT,
            _shape(tensor.shape),
            _scales(tensor),
            _zeros(tensor),
            size,
        )
        table.add_row(*map(Text, cells))
    return table


def _scales(tensor: StoredTensor) -> str:
    if not tensor.scales:
        return words.ABSENT
    if tensor.axis is None:
        return f"{tensor.scales[0]:.6g}"
    return f"{min(tensor.scales):.4g} … {max(tensor.scales):.4g}, {len(tensor.scales)} on axis {tensor.axis}"


def _zeros(tensor: StoredTensor) -> str:
    if not tensor.scales:
        return words.ABSENT
    zeros = sorted(set(tensor.zero_points or (0,)))
    return str(zeros[0]) if len(zeros) == 1 else f"{zeros[0]} … {zeros[-1]}"


def _shape(shape: tuple[int, ...]) -> str:
    return " × ".join(str(size or "?") for size in shape) or words.ABSENT


def _table(*headings: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in headings:
        table.add_column(heading, justify="right" if heading == "bytes" else "left", overflow="fold")
    return table


def _executed(found: Inspection) -> RenderableType:
    """Facts, then a table of layers as runtimes execute them."""
    grid = Table.grid(padding=(0, 2))
    for name, text in _facts(found):
        grid.add_row(Text(name, style="bold"), Text(text, overflow="fold"))
    if not found.layers:
        return grid
    runtimes = list(found.int8_share)
    table = _table("layer", "type", "weights", "reads", "bytes", *(f"in {name}" for name in runtimes))
    for layer in found.layers:
        cells = [_name(layer.name), layer.op_type, _bits(layer.weight_bits), _bits(layer.activation_bits)]
        cells.append(words.ABSENT if layer.bytes is None else f"{layer.bytes:,}")
        cells += [layer.precision.get(name, words.ABSENT) for name in runtimes]
        table.add_row(*map(Text, cells))
    return Group(grid, Text(), table)


def _facts(found: Inspection) -> Iterator[tuple[str, str]]:
    yield "file", f"{found.path}, {words.size(found.size_bytes)}"
    yield "format", found.format
    manifest = found.manifest
    if found.preprocess is not None:
        yield "preprocessing", f"{preprocess_text(found.preprocess)}; {found.preprocess.channels}"
    if manifest is not None:
        recipe = manifest.recipe
        widths = f": weights {recipe.weight_bits}, activations {recipe.activation_bits}" if recipe.weight_bits else ""
        yield "recipe", f"{recipe.name} by {manifest.toolchain}{widths}"
        if recipe.options:
            yield "options", ", ".join(f"{name} {value}" for name, value in recipe.options.items())
        yield "made for", ", ".join(manifest.made_for)
        if manifest.batch_size is not None:
            yield "batch", str(manifest.batch_size)
        yield "model", f"{manifest.model}, graph {manifest.model_digest}"
        if manifest.calibration_samples:
            yield "calibrated on", words.count(manifest.calibration_samples, "image")
        yield "versions", ", ".join(f"{name} {version}" for name, version in manifest.versions.items())
        for each in manifest.verified:
            yield "verified", verified_text(each)
        for note in manifest.notes:
            yield "note", note
        if found.changed:
            yield "note", "the files are not those of the manifest any more"
    else:
        yield "note", "no manifest beside it: recipe, versions and widths are not known"
        for name, value in found.metadata.items():
            if name != "lowbit.preprocess":
                yield name, one_line(value, 200)
    for runtime, share in found.int8_share.items():
        if share is not None:
            yield (
                f"in {runtime}",
                f"{int(share * 1000) / 10:g} % of multiply–accumulates on integer kernels, of what it lists",
            )
    for runtime, reason in found.refused.items():
        yield f"in {runtime}", reason


def _bits(bits: int | None) -> str:
    return words.ABSENT if bits is None else f"{bits} bits"

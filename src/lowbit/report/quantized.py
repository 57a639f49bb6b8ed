"""Text for a terminal about one quantized file: its plan before the work, what came out after it."""

from collections import Counter
from collections.abc import Iterator
from math import floor

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lowbit.core.artifact import Manifest
from lowbit.core.training import Training
from lowbit.core.verified import Verified
from lowbit.quant.plan.plan import LayerPlan, QuantPlan, TensorPlan, float_note
from lowbit.report import words

_MARKS = (1.0, 0.9999, 0.999, 0.99, 0.9, 0.5, 0.0)  # shares are told by the next mark below, so that notes are few


def plan_text(plan: QuantPlan, model: str) -> RenderableType:
    """The plan: layers with their widths and why, tensors counted, what stays in float and why."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for heading in ("layer", "type", "weights", "reads", "rounding", "why"):
        table.add_column(heading, overflow="fold")
    for layer in plan.layers:
        cells = (
            layer.node,
            layer.op_type,
            weights_text(layer),
            _bits(layer.activation_bits),
            layer.rounding,
            layer.why,
        )
        table.add_row(*map(Text, cells))
    title = f"{plan.recipe} of {model}: {words.count(len(plan.layers), 'layer')}"
    lines = [*_tensors(plan), *_floats(plan), *plan.notes]
    return Group(Text(title, style="bold"), Text(), table, Text(), *map(Text, lines))


def weights_text(layer: LayerPlan) -> str:
    """ "4 bits, asymmetric"; one scale an output channel where nothing else is said."""
    form = layer.format
    if form is None:
        return "two activations"
    scales = f", groups of {form.group_size}" if form.group_size is not None else ""
    scales = ", one scale" if form.granularity == "tensor" else scales
    within = " within 7" if form.reduced else ""
    return f"{_bits(form.bits)}{within}, {'' if form.symmetric else 'a'}symmetric{scales}"


def _bits(bits: int) -> str:
    return f"{bits} bits"


def _tensors(plan: QuantPlan) -> Iterator[str]:
    main = [tensor for tensor in plan.tensors if tensor.role == "main"]
    yield f"tensors   {_counted(main)}"
    narrow = [tensor for tensor in plan.tensors if tensor.role == "product"]
    if narrow:
        yield f"          a narrower copy for layers of {_counted(narrow)}"
    reasons = Counter(tensor.why for tensor in main if tensor.why)
    for why, number in reasons.most_common():
        yield f"          {number}: {why}"
    observed = sum(tensor.range != "fixed" for tensor in plan.tensors)
    fixed = len(plan.tensors) - observed
    said = [f"{observed} from the calibration images"] * bool(observed) + [f"{fixed} fixed in the plan"] * bool(fixed)
    yield f"ranges    {', '.join(said) or 'none'}"


def _counted(tensors: list[TensorPlan]) -> str:
    kinds = Counter((tensor.format.bits, tensor.range) for tensor in tensors)
    return ", ".join(f"{number} at {bits} bits ({method})" for (bits, method), number in sorted(kinds.items())[::-1])


def _floats(plan: QuantPlan) -> Iterator[str]:
    kinds = Counter((node.op_type, node.why) for node in plan.floats)
    for (op_type, why), number in kinds.most_common():
        yield f"in float  {number} {op_type}: {why}"
    if not kinds:
        yield "in float  nothing"


def quantized_text(manifest: Manifest, plan: QuantPlan, files: list[str], seconds: float) -> RenderableType:
    """What came out: files, size, widths, layers, time, what stays in float, what verification found, notes."""
    took = (manifest.calibration_s or 0.0) + manifest.build_s
    grid = Table.grid(padding=(0, 2))
    bits = Counter((layer.format.bits if layer.format else 0, layer.activation_bits) for layer in plan.layers)
    layers = ", ".join(f"{number} of w{w or 'a'}a{a}" for (w, a), number in bits.most_common())
    floats = Counter(node.op_type for node in plan.floats)
    pairs = [
        ("file", f"{files[0]}, {words.size(manifest.size_bytes)}"),
        ("beside", ", ".join(files[1:])),
        ("bits", f"weights {manifest.recipe.weight_bits}, activations {manifest.recipe.activation_bits}"),
        ("layers", f"{len(plan.layers)}: {layers}"),
        ("time", f"{took:.1f} s, of {seconds:.1f} s with imports, data and verification"),
        *[("training", line) for line in training_lines(manifest.training)],
        ("in float", ", ".join(f"{number} {kind}" for kind, number in sorted(floats.items())) or "nothing"),
        *[("verified", verified_text(each)) for each in manifest.verified],
        *[("not verified", f"{each.runtime}: {each.reason}") for each in manifest.not_verified],
        *[("note", note) for note in manifest.notes if note != float_note(plan)],
    ]
    for name, text in pairs:
        grid.add_row(Text(name, style="bold"), Text(text, overflow="fold"))
    return grid


def training_lines(training: Training | None) -> Iterator[str]:
    """How a training went: what it saw, what it gained on the held-out pictures, and what a step cost."""
    if training is None:
        return
    first, last, best = training.points[0], training.points[-1], training.points[training.best]
    labels = " and their labels" if training.options.label_loss else ", no labels"
    yield (
        f"{last.images:,} pictures seen of {training.images:,}{labels}, {last.seconds:.0f} s; a step of "
        f"{training.batch} took {training.step_s / training.float_step_s:.2f} times a float one, and kept "
        f"{training.kept_bytes / training.float_kept_bytes:.1f} times as much"
    )
    said = [f"loss {first.loss:.3f} → {best.loss:.3f}", f"as float {_change(first.agreement, best.agreement)}"]
    if first.accuracy is not None and best.accuracy is not None and training.float_accuracy is not None:
        said.append(f"right {_change(first.accuracy, best.accuracy)} (float {100 * training.float_accuracy:.1f} %)")
    yield f"on {training.held_out:,} held-out pictures: {', '.join(said)}"


def _change(before: float, after: float) -> str:
    return f"{100 * before:.1f} → {100 * after:.1f} %"


def verified_text(found: Verified) -> str:
    """One runtime against the integer reference, in a line."""
    parts = [f"{found.runtime}: {layers_text(found)}"]
    scores = found.scores
    of_images = f"of {words.count(scores.images, 'image')}"
    end_to_end = f"end to end {_percent(scores.within_half_step)} of scores within half a step"
    if scores.same_top1 is None:
        parts.append(f"{end_to_end}, one score for each {of_images}")
    else:
        parts.append(f"{end_to_end}, the same top-1 on {round(scores.same_top1 * scores.images)} {of_images}")
    if found.unchecked:
        parts.append(f"{words.count(len(found.unchecked), 'layer')} not compared")
    return "; ".join(parts)


def layers_text(found: Verified) -> str:
    """The worst layer: "every layer: all codes equal to the integer reference"."""
    if found.equal is None:
        return "no layer could be compared with the integer reference"
    if found.equal >= 1.0:
        return "every layer: all codes equal to the integer reference"
    return (
        f"every layer: ≥ {_percent(found.equal)} of codes equal to the integer reference, the rest off by at most "
        f"{found.largest}"
    )


def verified_note(found: Verified) -> str:
    """The same as a row's note, by round marks: rows then share it."""
    if found.equal is None or found.equal >= 1.0:
        return layers_text(found)
    mark = next(mark for mark in _MARKS if mark <= found.equal)
    return f"every layer: ≥ {mark * 100:g} % of codes equal to the integer reference" + (
        f", off by up to {found.largest}" if (found.largest or 0) > 1 else ""
    )


def not_verified_note(reason: str) -> str:
    """What a row says where the file was not held against the reference."""
    return f"not verified: {reason}"


def _percent(share: float) -> str:
    """Never rounded up: what is not all of them is not 100 %."""
    return "100 %" if share >= 1.0 else f"{floor(share * 10_000) / 100:g} %"

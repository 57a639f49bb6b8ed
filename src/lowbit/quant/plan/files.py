"""Plans as files, and from recipes: made, read back, checked against a model, and put into words."""

from collections import Counter
from collections.abc import Mapping
from math import inf
from pathlib import Path
from typing import Any

import onnx_ir as ir

from lowbit.core.codec import from_plain, load_json
from lowbit.core.errors import BadInput, DamagedFile, WrongField
from lowbit.quant.plan import kinds
from lowbit.quant.plan.placement import as_read, check_groups, least_groups, make_plan, narrow_group
from lowbit.quant.plan.plan import LayerPlan, QuantPlan, TensorPlan, float_note, not_a_plan
from lowbit.quant.plan.scheme import Scheme, widths

_NAMED = 4  # layers named in a note


def plan_for(model: ir.Model, graph_digest: str, recipe: str, options: Mapping[str, Any]) -> QuantPlan:
    """The plan that a recipe (`w4a8`, whatever stands behind a hyphen) means for a prepared graph.

    options: `plan`, the path of a plan to carry out instead; or the fields of Scheme that differ from its defaults.
    """
    if "plan" in options:
        return read_plan(Path(options["plan"]), model, graph_digest)
    weight_bits, activation_bits = widths(recipe.split("-")[0])
    plain = {"weight_bits": weight_bits, "activation_bits": activation_bits, **options}
    try:
        scheme = from_plain(Scheme, plain)
    except WrongField as error:
        raise BadInput(f"quantization options: {error}") from error
    return make_plan(model, graph_digest, scheme)


def read_plan(path: Path, model: ir.Model, graph_digest: str) -> QuantPlan:
    """A plan that was saved and perhaps edited; BadInput where it is no plan, or one of another model."""
    try:
        plan = load_json(QuantPlan, path)
    except OSError as error:
        raise BadInput(f"plan {path}: cannot be read ({error.strerror}); check the path") from error
    except DamagedFile as error:
        raise BadInput(f"plan {path}: {not_a_plan(error)}") from error
    if plan.graph_digest != graph_digest:
        raise BadInput(
            f"plan {path} was made for another model (graph {plan.graph_digest[:12]}, not {graph_digest[:12]}); "
            "make one for this model with --dry-run"
        )
    fresh = make_plan(model, graph_digest, Scheme(8, 8))
    tensors = {tensor.tensor for tensor in fresh.tensors}
    _check_names(path, "layers", [layer.node for layer in plan.layers], {layer.node for layer in fresh.layers})
    _check_names(path, "tensors", [tensor.tensor for tensor in plan.tensors if tensor.role == "main"], tensors)
    _check_names(path, "tensors", [t.tensor for t in plan.tensors if t.role == "product"], tensors, lacks=False)
    _check_names(path, "floats", [entry.node for entry in plan.floats], {entry.node for entry in fresh.floats})
    _check_names(path, "undecided Concat nodes", list(plan.undecided), set(fresh.undecided), lacks=False)
    nodes = {str(node.name): node for node in model.graph}
    expected = {layer.node: layer for layer in fresh.layers}
    for layer in plan.layers:
        _check_layer(path, layer, expected[layer.node], nodes[layer.node])
    _check_shared(path, plan, fresh, least_groups(model))
    groups: dict[str, TensorPlan] = {}
    for tensor in plan.tensors:
        _check_tensor(path, tensor, groups.setdefault(tensor.group, tensor))
    for layer, read in zip(plan.layers, as_read(plan, model).layers, strict=True):
        if layer.activation_bits != read.activation_bits:
            raise BadInput(
                f"plan {path}: layer {layer.node!r} has activation_bits {layer.activation_bits}, but what it reads "
                f"({_reads(nodes[layer.node])}) has format.bits {read.activation_bits}; change both alike"
            )
    return plan


def _reads(node: ir.Node) -> str:
    return ", ".join(repr(value.name) for value in kinds.inputs_of(node))


def _check_names(path: Path, what: str, found: list[str], expected: set[str], *, lacks: bool = True) -> None:
    twice = {name for name, count in Counter(found).items() if count > 1}
    absent = expected - set(found) if lacks else set()
    for problem, names in (("names", set(found) - expected), ("lacks", absent), ("has twice the", twice)):
        if names:
            some = ", ".join(sorted(names)[:3])
            raise BadInput(
                f"plan {path} does not fit the model: it {problem} {what} {some}; change widths, ranges and rounding "
                "in a plan that --dry-run printed, and leave the names"
            )


def _check_layer(path: Path, layer: LayerPlan, fresh: LayerPlan, node: ir.Node) -> None:
    """What a layer of this kind can have: `group` for matrix products, weights that fit int8."""
    where, found, usual = f"plan {path}: layer {layer.node!r}", layer.format, fresh.format
    if (layer.op_type, layer.weight) != (fresh.op_type, fresh.weight):
        raise BadInput(f"{where} is {layer.op_type} with weight {layer.weight!r}; the model's is {fresh.op_type} with "
                       f"{fresh.weight!r}: leave these names")  # fmt: skip
    if (found is None) != (usual is None):
        raise BadInput(f"{where} has format {found}; expected {'none' if usual is None else 'one'}: it multiplies "
                       f"{'two activations' if usual is None else 'with a weight'}")  # fmt: skip
    if found is None or usual is None:
        return
    allowed = {"tensor", usual.granularity} | ({"group"} if layer.op_type == "Gemm" else set())
    if found.granularity not in allowed:
        raise BadInput(f"{where} has granularity {found.granularity!r}; expected {' or '.join(sorted(allowed))}")
    if found.bits > 8 or (found.bits == 8 and not (found.signed and found.symmetric)):
        raise BadInput(f"{where} has weights of {found.bits} bits, signed={found.signed}, symmetric={found.symmetric}; "
                       "expected 8 bits, signed and symmetric, or fewer")  # fmt: skip
    try:
        check_groups(node, found)
    except BadInput as error:
        raise BadInput(f"plan {path}: {error}") from error


def _check_shared(path: Path, plan: QuantPlan, fresh: QuantPlan, least: Mapping[str, str]) -> None:
    """Tensors share a range where the model wants it: neither fewer than must, nor more than may.

    Only what a Concat reads may be in its group or not.
    """
    most = {tensor.tensor: tensor.group for tensor in fresh.tensors if tensor.role == "main"}
    of_least: dict[str, str] = {}
    of_group = dict(most)  # a group is called like the first of its tensors
    for tensor in plan.tensors:
        name, group = tensor.tensor, tensor.group
        if tensor.role == "product":
            usual, right = narrow_group(name), group == narrow_group(name)
        else:
            whole = group == of_least.setdefault(least[name], group)
            usual, right = most[name], whole and most[name] == of_group.setdefault(group, most[name])
        if not right:
            raise BadInput(f"plan {path}: tensor {name!r} is in group {group!r}, but which tensors share a range "
                           f"follows from the model; leave it at {usual!r}")  # fmt: skip


def _check_tensor(path: Path, tensor: TensorPlan, first: TensorPlan) -> None:
    """One scale and limits that are a range, as the first tensor of its group has them."""
    if tensor.format.granularity != "tensor" or tensor.format.reduced:
        raise BadInput(f"plan {path}: tensor {tensor.tensor!r} has granularity {tensor.format.granularity!r}, reduced="
                       f"{tensor.format.reduced}; activations have one scale and their full range")  # fmt: skip
    lo, hi = tensor.limits or (0.0, 0.0)
    if tensor.range == "fixed" and not -inf < lo < hi < inf:
        raise BadInput(
            f"plan {path}: tensor {tensor.tensor!r} has the range 'fixed' and limits {tensor.limits}; give [lo, hi], "
            "two finite numbers, the smaller one first"
        )
    fixed = tensor.limits == first.limits or tensor.range != "fixed"
    if (tensor.format, tensor.range) != (first.format, first.range) or not fixed:
        raise BadInput(
            f"plan {path}: tensors {first.tensor!r} and {tensor.tensor!r} share one range (group {tensor.group!r}), "
            "but not its format, method and limits; change them alike"
        )


def notes_of(plan: QuantPlan) -> tuple[str, ...]:
    """What a user should know of a plan, one line each."""
    notes = []
    others: dict[tuple[str, str], list[str]] = {}
    for layer in plan.layers:
        if layer.format is not None and (layer.format.bits, layer.activation_bits) != widths(plan.recipe):
            others.setdefault((f"w{layer.format.bits}a{layer.activation_bits}", layer.why), []).append(layer.node)
    for (width, why), names in others.items():
        some = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        notes.append(f"{len(names)} of {len(plan.layers)} layers at {width}: {why or 'so edited'} ({some})")
    if any(layer.activation_bits < 8 for layer in plan.layers):
        count = sum(tensor.role == "main" and tensor.format.bits == 8 for tensor in plan.tensors)
        notes.append(f"{count} tensors stay at 8 bits: the input, and what additions, poolings or 8-bit layers read")
    if plan.floats:
        notes.append(float_note(plan))
    return (*notes, *plan.notes)

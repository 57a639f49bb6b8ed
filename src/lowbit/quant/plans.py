"""Plans as files, and from recipes: made, read back, checked against a model, and put into words."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx_ir as ir
from cattrs.errors import BaseValidationError

from lowbit.core.codec import from_plain, load_json
from lowbit.core.errors import BadInput, DamagedFile
from lowbit.quant.placement import make_plan
from lowbit.quant.plan import QuantPlan
from lowbit.quant.scheme import Scheme, widths


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
    except BaseValidationError as error:
        bad = next((e for e in error.exceptions if isinstance(e, BadInput)), None)
        if bad is not None:
            raise bad from error
        raise BadInput(f"quantization options {dict(options)}: expected fields of a Scheme") from error
    return make_plan(model, graph_digest, scheme)


def read_plan(path: Path, model: ir.Model, graph_digest: str) -> QuantPlan:
    """A plan that was saved and perhaps edited; BadInput where it is no plan, or one of another model."""
    try:
        plan = load_json(QuantPlan, path)
    except OSError as error:
        raise BadInput(f"plan {path}: cannot be read ({error.strerror}); check the path") from error
    except DamagedFile as error:
        cause = f" ({error.__cause__})" if error.__cause__ else ""
        raise BadInput(f"plan {path}: not a plan as lowbit writes it{cause}; start from a saved one") from error
    if plan.graph_digest != graph_digest:
        raise BadInput(
            f"plan {path} was made for another model (graph {plan.graph_digest[:12]}, not {graph_digest[:12]}); "
            "make one for this model with --dry-run"
        )
    fresh = make_plan(model, graph_digest, Scheme(8, 8))
    _check_names(path, "layers", {layer.node for layer in plan.layers}, {layer.node for layer in fresh.layers})
    tensors = {tensor.tensor for tensor in plan.tensors if tensor.role == "main"}
    _check_names(path, "tensors", tensors, {tensor.tensor for tensor in fresh.tensors})
    for tensor in plan.tensors:
        if tensor.range == "fixed" and tensor.limits is None:
            raise BadInput(f"plan {path}: tensor {tensor.tensor!r} has the range 'fixed' and no limits; give [lo, hi]")
    return plan


def _check_names(path: Path, what: str, found: set[str], expected: set[str]) -> None:
    for problem, names in (("names", found - expected), ("lacks", expected - found)):
        if names:
            some = ", ".join(sorted(names)[:3])
            raise BadInput(
                f"plan {path} does not fit the model: it {problem} {what} {some}; change widths, ranges and rounding "
                "in a plan that --dry-run printed, and leave the names"
            )


def notes_of(plan: QuantPlan) -> tuple[str, ...]:
    """What a user should know of a plan, one line each."""
    notes = []
    wide = [layer for layer in plan.layers if layer.why]
    usual = Counter((layer.format.bits if layer.format else 0, layer.activation_bits) for layer in plan.layers)
    if wide and len(usual) > 1:
        notes.append(f"{len(wide)} of {len(plan.layers)} layers have other widths: first, last, named, or scalings")
    if any(layer.activation_bits < 8 for layer in plan.layers):
        count = sum(tensor.role == "main" and tensor.format.bits == 8 for tensor in plan.tensors)
        notes.append(f"{count} tensors stay at 8 bits: the input, and what additions, poolings or 8-bit layers read")
    kinds = Counter(entry.op_type for entry in plan.floats)
    if kinds:
        notes.append("in float: " + ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items())))
    return (*notes, *plan.notes)

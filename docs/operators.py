"""`make docs`: write docs/operators.md from the importer's and the quantizer's own tables. A test checks it."""

import sys
from pathlib import Path

import onnx.defs

from lowbit.graph.refused import FOLDED, FOLDED_IF_CONSTANT, REFUSED
from lowbit.quant.model import PRODUCTS
from lowbit.quant.plan import kinds
from lowbit.torchgraph.importer import OLDEST_OPSET, OPERATORS

PAGE = Path(__file__).with_name("operators.md")
NEWEST_OPSET = 23

HEAD = f"""# Operators

Written by `make docs` from the program's own tables: every operator of the ONNX standard, operator sets {OLDEST_OPSET} to
{NEWEST_OPSET}, and what becomes of it. "Since" lists the operator sets that gave it its present form or changed it; each is carried
as its own set means it. Older graphs are converted to {OLDEST_OPSET} first. What ONNX defines as a function of others counts too.

- **integer**: the engine computes it on codes. A sum, a product or a mean is exact in int32; what only moves entries keeps
  the codes; BatchNormalization is folded into the layer before it, and a Relu or Clip behind a layer is done by saturation.
- **float between integers**: a function of one tensor, entry by entry: runtimes compute it in float, from 8 bits to 8 bits.
- **float**: no integer kernel in ONNX Runtime or OpenVINO; the plan names it ("in float: 2 LSTM").
- **no floats**: it gives sizes, places, or truth values. What depends on the image's size alone is folded.
- **folded**: it depends on constants only, and is computed when the graph is read.
- **refused**: `lowbit compare` goes on without the toolchains that start from torch (torch, LiteRT, our own engine), and
  gives this reason.

An operator that is carried may have a variant that is not (a convolution whose weights are computed from the image, a
sequence whose length differs from image to image); the error then names the node and the variant.
"""


def render() -> str:
    """The page."""
    rows = ["| operator | since | what becomes of it | why |", "| --- | --- | --- | --- |"]
    for name, versions in sorted(_standard().items()):
        rows.append(f"| {name} | {', '.join(map(str, versions))} | {_becomes(name)} | {REFUSED.get(name, '')} |")
    newer = sorted(set(OPERATORS) - set(_standard()))
    return "\n".join([HEAD, *rows, "", f"Of newer sets: {', '.join(newer)}.", ""])


def _standard() -> dict[str, list[int]]:
    """Operator → the operator sets that matter from the oldest that is read to the newest; no deprecated ones."""
    found: dict[str, list[int]] = {}
    deprecated = set()
    for schema in sorted(onnx.defs.get_all_schemas_with_history(), key=lambda schema: schema.since_version):
        if schema.domain or schema.since_version > NEWEST_OPSET:
            continue
        found.setdefault(schema.name, []).append(schema.since_version)
        (deprecated.add if schema.deprecated else deprecated.discard)(schema.name)
    kept = {name: versions for name, versions in found.items() if name not in deprecated}
    return {name: _from_oldest(versions) for name, versions in kept.items()}


def _from_oldest(versions: list[int]) -> list[int]:
    first = max((version for version in versions if version <= OLDEST_OPSET), default=versions[0])
    return [version for version in versions if version >= first]


def _becomes(name: str) -> str:
    if name in REFUSED:
        return "refused, unless constant" if name in FOLDED_IF_CONSTANT else "refused"
    if name in FOLDED:
        return "folded"
    if name not in OPERATORS:
        raise SystemExit(f"{name} is neither carried nor refused: give it a rule, or a reason in graph/refused.py")
    if name in {*PRODUCTS, *kinds.ARITHMETIC, *kinds.PASSING, "BatchNormalization", "Relu", "Clip", "Dropout"}:
        return "integer"
    if name in kinds.POINTWISE | kinds.POINTWISE_OF_TWO:
        return "float between integers"
    return "float" if _gives_floats(name) else "no floats"


def _gives_floats(name: str) -> bool:
    schema = onnx.defs.get_schema(name, NEWEST_OPSET)
    types = {constraint.type_param_str: constraint.allowed_type_strs for constraint in schema.type_constraints}
    kind = schema.outputs[0].type_str
    return "tensor(float)" in types.get(kind, [kind])


if __name__ == "__main__":
    PAGE.write_text(render())
    sys.stdout.write(f"{PAGE}\n")

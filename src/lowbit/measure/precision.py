"""Executed precision: how much of the arithmetic really ran on integers.

What a runtime lists is held to the float graph: every multiply–accumulate of the graph belongs to exactly one operator
of the result. Vendors split, merge, pad and add layers, and some list operators that do several things at once
(OpenVINO's Subgraph holds both products of an attention) without saying what these multiply.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TypeVar

from lowbit.core.adapter import OpPrecision
from lowbit.core.model import LayerMacs

_PADDED = 0.1  # what is left on both sides differs by less than this share: padded or rewritten, but the same work
_NOT_LISTED = "not listed"
_NAMED = 3  # operators that a reason lists

T = TypeVar("T")


def int8_share(operators: Iterable[OpPrecision]) -> float | None:
    """Share of multiply-accumulates whose kernel took both operands as integers; None where nothing multiplies."""
    counted = [(operator.macs, operator.integer) for operator in operators if operator.macs]
    total = sum(macs for macs, _ in counted)
    return sum(macs for macs, integer in counted if integer) / total if total else None


def accounted(operators: Sequence[OpPrecision], layers: Sequence[LayerMacs]) -> tuple[OpPrecision, ...]:
    """`operators` as a runtime lists them, with exactly the multiply–accumulates of the float graph's `layers`.

    An operator stands for a layer that counts the same (one whose name it bears, if there is one, and rather one that
    is in no other operator), for several layers in a row that were merged into it, or with others in a row for a layer
    that was split. If what is then left on both
    sides agrees within a tenth in total, it is the same work, padded. Otherwise the operators that are left multiply
    what the float graph does not, and count nothing; the layers that are left are appended, as not integer. Without
    layers (where there is no float graph), or where a runtime lists nothing, `operators` are returned as they are.
    """
    if not layers or not operators:
        return tuple(operators)
    found = list(operators)
    layers_left = list(layers)
    left = [place for place, operator in enumerate(found) if operator.macs]
    held = {name for operator in operators if not operator.macs for name in operator.fused}
    fits: tuple[Callable[[OpPrecision, LayerMacs], bool], ...] = (
        lambda operator, layer: _bears(operator, layer.name),
        lambda _, layer: layer.name not in held,
        lambda _, __: True,
    )
    for fit in fits:
        left = [place for place in left if not _take_equal(found[place], layers_left, fit)]
    left = [place for place in left if not _take_run(layers_left, [x.macs for x in layers_left], found[place].macs)]
    layers_left = [layer for layer in layers_left if not _take_run(left, [found[x].macs for x in left], layer.macs)]
    wanted, listed = sum(layer.macs for layer in layers_left), sum(found[place].macs for place in left)
    if left and abs(listed - wanted) < _PADDED * wanted:
        ends = [total * wanted // listed for total in accumulate(found[place].macs for place in left)]
        for place, start, end in zip(left, [0, *ends], ends, strict=False):
            found[place] = replace(found[place], macs=end - start)
        return tuple(found)
    for place in left:
        reason = f"its {found[place].macs:,} multiply–accumulates are none of the float graph's"
        found[place] = replace(found[place], macs=0, reason=reason)
    return (*found, *(_missing(layer, operators) for layer in layers_left))


def _take_equal(operator: OpPrecision, layers: list[LayerMacs], fit: Callable[[OpPrecision, LayerMacs], bool]) -> bool:
    """Remove the first layer that counts as `operator` does and fits it."""
    for place, layer in enumerate(layers):
        if layer.macs == operator.macs and fit(operator, layer):
            del layers[place]
            return True
    return False


def _take_run(things: list[T], counts: Sequence[int], total: int) -> bool:
    """Remove the first two or more neighbours whose `counts` sum up to `total`."""
    for start in range(len(counts) - 1):
        for end, reached in enumerate(accumulate(counts[start:]), start + 1):
            if reached == total and end - start > 1:
                del things[start:end]
                return True
            if reached >= total:
                break
    return False


def _bears(operator: OpPrecision, layer: str) -> bool:
    """Whether the operator is named after a layer: runtimes append words (Conv_0/WithoutBiases)."""
    return layer in operator.fused or re.match(rf"{re.escape(layer)}(?!\w)", operator.name) is not None


def _missing(layer: LayerMacs, operators: Sequence[OpPrecision]) -> OpPrecision:
    holder = next((operator for operator in operators if not operator.macs and layer.name in operator.fused), None)
    if holder is not None:
        reason = f"inside {holder.op_type} {holder.name}, of which the runtime does not tell what it multiplies"
        return OpPrecision(layer.name, layer.op_type, holder.precision, False, layer.macs, reason=reason)
    several = [f"{each.op_type} {each.name}" for each in operators if not each.macs and len(each.fused) > 1]
    perhaps = f"; it is perhaps inside {' or '.join(several[:_NAMED])}" if several else ""
    reason = f"of this layer, or another of its size, nothing is seen in what the runtime lists{perhaps}"
    return OpPrecision(layer.name, layer.op_type, _NOT_LISTED, False, layer.macs, reason=reason)

"""Executed precision: which share of the arithmetic really ran on integers.

The operators that a runtime lists are matched with the float graph, so that every multiply–accumulate of the graph
belongs to exactly one operator of the result. Runtimes split, merge, pad and add layers. Some list an operator that
does several things at once (OpenVINO's Subgraph holds both products of an attention) without saying what it multiplies.
"""

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import accumulate
from typing import TypeVar

from lowbit.core.adapter import OpPrecision
from lowbit.core.model import LayerMacs

_PADDED = 0.1  # unmatched operators and layers whose totals differ by less than this share are the same work, padded
_NOT_LISTED = "not listed"
_NAMED = 3  # most operators that a reason names

T = TypeVar("T")


def int8_share(operators: Iterable[OpPrecision]) -> float | None:
    """Share of multiply-accumulates whose kernel took both operands as integers; None where nothing multiplies."""
    counted = [(operator.macs, operator.integer) for operator in operators if operator.macs]
    total = sum(macs for macs, _ in counted)
    return sum(macs for macs, integer in counted if integer) / total if total else None


def accounted(operators: Sequence[OpPrecision], layers: Sequence[LayerMacs]) -> tuple[OpPrecision, ...]:
    """The `operators` that a runtime lists, with exactly the multiply–accumulates (MACs) of the float graph's `layers`.

    An operator is matched with a layer that has the same MACs: preferably one whose name it bears, then one that no
    other operator contains. Failing that, one operator is matched with several layers in a row that were merged into
    it, or several operators in a row with one layer that was split.

    If the totals of what then remains on both sides agree within a tenth, it is the same work, padded, and the
    operators' MACs are scaled to the layers'. Otherwise the remaining operators compute something that the float graph
    does not and count as 0 MACs, and the remaining layers are appended as not integer.

    Without layers (no float graph), or where a runtime lists nothing, `operators` are returned unchanged.
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
    """Remove the first layer that fits `operator` and has the same MACs; return whether there was one."""
    for place, layer in enumerate(layers):
        if layer.macs == operator.macs and fit(operator, layer):
            del layers[place]
            return True
    return False


def _take_run(things: list[T], counts: Sequence[int], total: int) -> bool:
    """Remove the first two or more neighbours whose `counts` add up to `total`; return whether there were any."""
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

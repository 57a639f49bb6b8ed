"""Executed precision: which share of the arithmetic really ran on integers.

The operators that a runtime lists are matched with the float graph, so that every multiply–accumulate of the graph
belongs to exactly one operator of the result. Runtimes split, merge, pad and add layers. Some list an operator that
does several things at once (OpenVINO's Subgraph holds both products of an attention) without saying what it multiplies.
"""

import re
from bisect import bisect
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
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


@dataclass(frozen=True, slots=True)
class Matching:
    """The operators that a runtime lists, each with the float graph's layers that it computes.

    - operators: with exactly the multiply–accumulates of those layers
    - layers: names of the layers of each operator, in the same order; empty for an operator that multiplies nothing
    - missing: the layers that belong to no operator
    """

    operators: tuple[OpPrecision, ...]
    layers: tuple[tuple[str, ...], ...]
    missing: tuple[LayerMacs, ...]


def accounted(operators: Sequence[OpPrecision], layers: Sequence[LayerMacs]) -> tuple[OpPrecision, ...]:
    """The `operators` that a runtime lists, with exactly the multiply–accumulates (MACs) of the float graph's `layers`.

    They are matched as `matched` says. The layers that belong to none of them are appended as not integer.

    Without layers (no float graph), or where a runtime lists nothing, `operators` are returned unchanged.
    """
    if not layers or not operators:
        return tuple(operators)
    found = matched(operators, layers)
    return (*found.operators, *(_missing(layer, operators) for layer in found.missing))


def matched(operators: Sequence[OpPrecision], layers: Sequence[LayerMacs]) -> Matching:
    """Match `operators` with the float graph's `layers` by their multiply–accumulates (MACs).

    An operator is matched with a layer that has the same MACs: preferably one whose name it bears, then one that no
    other operator contains. Failing that, one operator is matched with several layers in a row that were merged into
    it, or several operators in a row with one layer that was split.

    If the totals of what then remains on both sides agree within a tenth, it is the same work, padded, and the
    operators' MACs are scaled to the layers'. Otherwise the remaining operators compute something that the float graph
    does not and count as 0 MACs, and the remaining layers are missing.
    """
    found, layers_left = list(operators), list(layers)
    computes: dict[int, tuple[str, ...]] = {}  # place of an operator → its layers
    left = [place for place, operator in enumerate(found) if operator.macs]
    held = {name for operator in operators if not operator.macs for name in operator.fused}
    fits: tuple[Callable[[OpPrecision, LayerMacs], bool], ...] = (
        lambda operator, layer: bears(operator, layer.name),
        lambda _, layer: layer.name not in held,
        lambda _, __: True,
    )
    for fit in fits:
        for place in left:
            for layer in _take_equal(found[place], layers_left, fit):
                computes[place] = (layer.name,)
        left = [place for place in left if place not in computes]
    for place in left:
        run = _take_run(layers_left, [layer.macs for layer in layers_left], found[place].macs)
        computes |= {place: tuple(layer.name for layer in run)} if run else {}
    left = [place for place in left if place not in computes]
    for layer in tuple(layers_left):
        run_of = _take_run(left, [found[place].macs for place in left], layer.macs)
        computes |= dict.fromkeys(run_of, (layer.name,))
        if run_of:
            layers_left.remove(layer)
    wanted, listed = sum(layer.macs for layer in layers_left), sum(found[place].macs for place in left)
    if left and abs(listed - wanted) < _PADDED * wanted:
        ends = [total * wanted // listed for total in accumulate(found[place].macs for place in left)]
        computes |= _in_order(left, [found[place].macs for place in left], layers_left)
        for place, start, end in zip(left, [0, *ends], ends, strict=False):
            found[place] = replace(found[place], macs=end - start)
        left, layers_left = [], []
    for place in left:
        reason = f"its {found[place].macs:,} multiply–accumulates are none of the float graph's"
        found[place] = replace(found[place], macs=0, reason=reason)
    return Matching(tuple(found), tuple(computes.get(place, ()) for place in range(len(found))), tuple(layers_left))


def _in_order(places: Sequence[int], counts: Sequence[int], layers: Sequence[LayerMacs]) -> dict[int, tuple[str, ...]]:
    """Place → names of layers, where both are the same padded work: in order, each layer where its middle falls."""
    ends = list(accumulate(counts))
    wanted = sum(layer.macs for layer in layers)
    found: dict[int, list[str]] = {place: [] for place in places}
    before = 0
    for layer in layers:
        middle = (before + layer.macs / 2) * ends[-1] / wanted
        found[places[min(bisect(ends, middle), len(places) - 1)]].append(layer.name)
        before += layer.macs
    return {place: tuple(names) for place, names in found.items()}


def _take_equal(
    operator: OpPrecision, layers: list[LayerMacs], fit: Callable[[OpPrecision, LayerMacs], bool]
) -> list[LayerMacs]:
    """Remove the first layer that fits `operator` and has the same MACs; return it, or nothing."""
    for place, layer in enumerate(layers):
        if layer.macs == operator.macs and fit(operator, layer):
            return [layers.pop(place)]
    return []


def _take_run(things: list[T], counts: Sequence[int], total: int) -> list[T]:
    """Remove the first two or more neighbours whose `counts` add up to `total`; return them, or nothing."""
    for start in range(len(counts) - 1):
        for end, reached in enumerate(accumulate(counts[start:]), start + 1):
            if reached == total and end - start > 1:
                taken = things[start:end]
                del things[start:end]
                return taken
            if reached >= total:
                break
    return []


def bears(operator: OpPrecision, layer: str) -> bool:
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

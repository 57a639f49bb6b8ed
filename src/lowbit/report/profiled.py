"""What `lowbit profile` prints: every operator of one profile, or two profiles side by side, layer by layer."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lowbit.core.profile import Profile, ProfiledOperator
from lowbit.report import words
from lowbit.report.inspected import precision_text

_CLOSE = 0.15  # share of the latency by which the operators' time may differ without an explanation
_SAME = 0.05  # a layer whose time shrinks by less than this share does not gain


@dataclass(frozen=True, slots=True)
class LayerTimes:
    """One layer in two profiles. Operators of no layer are grouped by what they do.

    - name: the float graph's layer, or a kind of work in parentheses
    - left, right: the operators of each profile that compute it
    - explained: why it does not gain from left to right; empty where it does, or where nothing tells
    """

    name: str
    left: tuple[ProfiledOperator, ...]
    right: tuple[ProfiledOperator, ...]
    explained: str

    @property
    def left_us(self) -> float:
        """Time of one run in the first profile."""
        return sum(each.run_us for each in self.left)

    @property
    def right_us(self) -> float:
        """Time of one run in the second profile."""
        return sum(each.run_us for each in self.right)


@dataclass(frozen=True, slots=True)
class _Group:
    """A layer, or a kind of work that belongs to no layer."""

    name: str
    is_layer: bool

    @property
    def text(self) -> str:
        return self.name if self.is_layer else f"({self.name})"


def profile_text(found: Profile) -> RenderableType:
    """Facts, then a table of operators in the order in which they ran."""
    texts = ("layer", "operator", "kernel", "ran in")
    table = _table((*texts, "calls", "µs a call", "%", "MACs", "writes", "alive"), figures=range(len(texts), 10))
    for each in found.operators:
        macs = each.operator.macs
        cells = [", ".join(each.layers) or words.ABSENT, _name(each), each.kernel, _ran_in(each)]
        cells += [str(each.calls), f"{each.median_us:.1f}", words.percent(each.share, 1)]
        cells += [f"{macs:,}" if macs else words.ABSENT, words.size(each.bytes_written), words.size(each.bytes_alive)]
        table.add_row(*map(Text, cells))
    return Group(_grid(_facts(found)), Text(), table)


def compared_text(left: Profile, right: Profile) -> RenderableType:
    """Facts of both, then a table of layers: the time of each in both, and what ran."""
    headings = ("layer", "left µs", "right µs", "times as fast", "left ran in", "right ran in", "left kernels")
    table = _table((*headings, "right kernels", "why no gain"), figures=range(1, 4))
    for layer in layers_of(left, right):
        cells = [layer.name, _us(layer.left), _us(layer.right), _gain(layer.left_us, layer.right_us)]
        cells += [_precisions(layer.left), _precisions(layer.right), _kernels(layer.left), _kernels(layer.right)]
        table.add_row(*map(Text, (*cells, layer.explained)))
    table.add_section()
    table.add_row("all", _us(left.operators), _us(right.operators), _gain(left.total_us, right.total_us))
    sides = (("left", left), ("right", right))
    facts = ((f"{side}: {name}", text) for side, each in sides for name, text in _facts(each))
    return Group(_grid(facts), Text(), table)


def layers_of(left: Profile, right: Profile) -> list[LayerTimes]:
    """The layers of both profiles: those that multiply in the graph's order, then others, then work of no layer."""
    groups = _grouped(left), _grouped(right)
    multiply = [_Group(layer.name, is_layer=True) for layer in (*left.layers, *right.layers)]
    seen = [group for found in groups for group in found]
    order = dict.fromkeys([*multiply, *(each for each in seen if each.is_layer), *seen])
    pairs = [(group, groups[0].get(group, ()), groups[1].get(group, ())) for group in order]
    return [
        LayerTimes(group.text, mine, other, _why_no_gain(mine, other)) for group, mine, other in pairs if mine or other
    ]


def _grouped(found: Profile) -> Mapping[_Group, tuple[ProfiledOperator, ...]]:
    groups: dict[_Group, list[ProfiledOperator]] = {}
    for each in found.operators:
        groups.setdefault(_group(each), []).append(each)
    return {group: tuple(operators) for group, operators in groups.items()}


def _group(each: ProfiledOperator) -> _Group:
    if each.converts:
        return _Group("quantize, dequantize, requantize", is_layer=False)
    return _Group(each.layers[0], is_layer=True) if each.layers else _Group(each.operator.op_type, is_layer=False)


def _why_no_gain(left: Sequence[ProfiledOperator], right: Sequence[ProfiledOperator]) -> str:
    """The reasons of what multiplies in the second profile, or what its kernels tell."""
    before, after = sum(each.run_us for each in left), sum(each.run_us for each in right)
    if not before or after < before * (1 - _SAME):
        return ""
    multiply = [each for each in right if each.operator.macs]
    reasons = dict.fromkeys(each.operator.reason for each in multiply if each.operator.reason)
    if reasons:
        return "; ".join(reasons)
    if _kernels(left) == _kernels(right):
        return "the same kernel"
    return "an integer kernel, but no faster" if multiply and all(each.operator.integer for each in multiply) else ""


def _us(operators: Sequence[ProfiledOperator]) -> str:
    return f"{sum(each.run_us for each in operators):.1f}" if operators else words.ABSENT


def _gain(before: float, after: float) -> str:
    return words.times(before / after if before and after else None)


def _precisions(operators: Sequence[ProfiledOperator]) -> str:
    multiply = [each for each in operators if each.operator.macs] or list(operators)
    return ", ".join(dict.fromkeys(map(_ran_in, multiply)))


def _ran_in(each: ProfiledOperator) -> str:
    return precision_text(each.operator) if each.operator.macs else each.operator.precision


def _name(each: ProfiledOperator) -> str:
    """Type and name, or the name alone where it contains the type."""
    operator = each.operator
    return operator.name if operator.op_type in operator.name else f"{operator.op_type} {operator.name}"


def _kernels(operators: Sequence[ProfiledOperator]) -> str:
    return ", ".join(dict.fromkeys(each.kernel for each in operators))


def _facts(found: Profile) -> Iterator[tuple[str, str]]:
    yield "file", f"{found.artifact} in {found.runtime} {found.version}".rstrip()
    yield "session", f"{words.count(found.threads, 'thread')}, {words.count(found.batch_size, 'image')} a run"
    yield "operators", f"{found.total_us:,.0f} µs a run in all: medians over {found.runs} runs, from {found.profiler}"
    if found.taken_off_us:
        yield "taken off", f"{found.taken_off_us:,.0f} µs of the profiler's own work, measured on nodes that do nothing"
    waits = f", without {found.waits_us:,.0f} µs of waiting for a core" if found.waits_us else ""
    yield "latency", f"{found.latency_us:,.0f} µs without a profiler, median of {found.latency_runs} runs{waits}"
    if found.besides_us:
        yield "besides", f"{found.besides_us:,.0f} µs of it are no operator's: the call, pictures in and scores out"
    yield "difference", difference_text(found)
    share = words.percent(found.convert_share, 1)
    yield "conversions", f"{found.convert_us:,.0f} µs, {share} % of the time, only quantize, dequantize or requantize"
    if found.int8_share is not None:
        yield "integers", f"{words.percent(found.int8_share, 1)} % of multiply–accumulates on integer kernels"
        for reason, operators in _reasons(found).items():
            yield "", f"{', '.join(operators)}: {reason}"
    if found.peak_bytes is not None:
        yield "memory", f"{words.size(found.peak_bytes)} of intermediate results at the peak, weights not counted"
    if found.missing:
        lost = ", ".join(f"{layer.name} ({layer.macs:,})" for layer in found.missing)
        yield "not found", f"no operator for these layers of the float graph (multiply–accumulates): {lost}"
    if not found.layers:
        yield "layers", "no float graph is known: give it with --model to see which layer every operator comes from"
    if found.disturbed:
        yield "note", "other work on this machine disturbed the measurement"
    for note in found.notes:
        yield "note", note


def _reasons(found: Profile) -> Mapping[str, list[str]]:
    """Why operators that multiply did not run as the others of a quantized file did → their names."""
    reasons: dict[str, list[str]] = {}
    for each in found.operators:
        if found.int8_share and each.operator.macs and each.operator.reason:
            reasons.setdefault(each.operator.reason, []).append(each.layers[0] if each.layers else each.operator.name)
    return reasons


def difference_text(found: Profile) -> str:
    """How the operators' time, with what was measured besides, differs from the latency; where it is much, why."""
    gap = abs(found.latency_us - found.total_us - found.besides_us)
    side = "more" if found.differs > 0 else "less"
    what = "the operators and what is besides them" if found.besides_us else "the operators together"
    share = f"{what}: {gap:,.0f} µs or {words.percent(abs(found.differs), 1)} % {side} than the latency"
    if abs(found.differs) <= _CLOSE:
        return share
    if found.differs > 0:
        each = gap / max(1, sum(operator.calls for operator in found.operators))
        inside = "waiting for a core and the profiler's own work" if found.disturbed else "the profiler's own work"
        return f"{share}; {inside}, about {each:.1f} µs a call, is in the operators' times"
    reasons = ["time outside of the operators"]
    if found.resolution_us >= 1:
        reasons.append(f"times that are cut to whole steps of {found.resolution_us:g} µs")
    return f"{share}; that is {' and '.join(reasons)}"


def _grid(facts: Iterable[tuple[str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for name, text in facts:
        grid.add_row(Text(name, style="bold"), Text(text, overflow="fold"))
    return grid


def _table(headings: Sequence[str], figures: range) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place in figures else "left", overflow="fold")
    return table

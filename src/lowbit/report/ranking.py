"""Which row stands where: points lost, the order of merit, the Pareto front. Nothing is drawn here."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import inf

from lowbit.core.row import Row
from lowbit.core.study import Report


def publishable(report: Report) -> Report:
    """The report without what must not be shown: the accuracy of a network nobody trained says nothing."""
    if not report.model.random_weights:
        return report
    rows = tuple(replace(row, top1=None, top1_low=None, top1_high=None, top5=None, p_value=None) for row in report.rows)
    return replace(report, rows=rows, reference=None)


def float_top1(report: Report) -> float | None:
    """The float model's own top-1, a fraction."""
    reference = report.reference
    return None if reference is None or reference.n_samples == 0 else reference.correct / reference.n_samples


def gained(row: Row, report: Report) -> float | None:
    """Top-1 above the float model's, in points; below it is negative."""
    base = float_top1(report)
    return None if base is None or row.top1 is None else (row.top1 - base) * 100


def meets(row: Row, report: Report) -> bool:
    """Whether the row loses no more than `max_drop` points of top-1, or of agreement where float's top-1 is unknown."""
    points = gained(row, report)
    if float_top1(report) is None and row.agreement is not None:
        points = (row.agreement - 1) * 100
    return points is not None and points >= -report.choice.max_drop - 1e-9


def cost(row: Row, report: Report) -> float:
    """What the study minimizes, in its own unit; infinite where it is absent."""
    if report.choice.optimize == "size":
        return _or_infinite(row.size_bytes)
    if report.choice.optimize == "memory":
        return _or_infinite(row.peak_memory_bytes)
    if row.scenario == "offline":
        return inf if not row.samples_per_s else 1 / row.samples_per_s
    return _or_infinite(row.latency_p50_ms)


def winner(report: Report) -> Row | None:
    """The row to ship."""
    return None if report.choice.row is None else report.rows[report.choice.row]


def reason(report: Report) -> str:
    """Why the winner wins, without its name in front: that stands above it already."""
    best = winner(report)
    return report.choice.reason if best is None else report.choice.reason.removeprefix(f"{best.name}: ")


def measured(report: Report) -> list[Row]:
    """Measured rows, best first: the winner, then all that meet `max_drop` by cost, then the others by cost."""
    best = winner(report)

    def key(row: Row) -> tuple[bool, bool, float, str]:
        return (row is not best, not meets(row, report), cost(row, report), row.name)

    return sorted(with_status(report, "measured"), key=key)


def with_status(report: Report, status: str) -> list[Row]:
    """The report's rows of one status, in the report's order."""
    return [row for row in report.rows if row.status == status]


def recipes(report: Report) -> list[str]:
    """The study's recipes, widest numbers first, then by name: fp32, bf16, fp16, int8-…; the order of every list."""
    widths: dict[str, tuple[int, int]] = {}
    for row in report.rows:
        bits = (row.weight_bits or 0, row.activation_bits or 0)
        widths[row.recipe] = max(bits, widths.get(row.recipe, (0, 0)))
    return sorted(widths, key=lambda name: (-widths[name][0], -widths[name][1], name))


def front(rows: Sequence[Row], quality: Callable[[Row], float], price: Callable[[Row], float]) -> list[Row]:
    """Rows that no other row beats in both: cheapest first, quality strictly rising."""
    kept: list[Row] = []
    for row in sorted(rows, key=lambda row: (price(row), -quality(row))):
        if not kept or quality(row) > quality(kept[-1]):
            kept.append(row)
    return kept


def by_reason(rows: Iterable[Row]) -> dict[str, list[Row]]:
    """Rows with the same reason together, the most frequent reason first."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.reason or "no reason was given", []).append(row)
    return dict(sorted(groups.items(), key=lambda group: -len(group[1])))


def cautions(report: Report) -> list[str]:
    """What must stand beside the title: the study's own warnings, and how far the timings may be trusted."""
    timed = with_status(report, "measured")
    said = list(report.warnings)
    if timed and not report.settings.official:
        said.append("Not an official MLPerf run: rounds are shorter than MLPerf's.")
    invalid = [row.name for row in timed if row.loadgen_valid is False]
    if invalid:
        said.append(f"LoadGen calls these timings invalid: {', '.join(invalid)}.")
    return said


def _or_infinite(value: float | None) -> float:
    return inf if value is None else value

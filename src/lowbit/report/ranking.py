"""Which row stands where: points lost, the order of merit, the Pareto front. Nothing is drawn here."""

from collections.abc import Callable, Iterable, Sequence

from lowbit.core import figures
from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.core.sweep import group
from lowbit.report import words


def float_top1(report: Report) -> float | None:
    """The float model's own top-1, a fraction; None for a network nobody trained."""
    reference = report.reference
    return None if reference is None or reference.n_samples == 0 else reference.correct / reference.n_samples


def gained(row: Row, report: Report) -> float | None:
    """Top-1 above the float model's, in points; below it is negative."""
    base = float_top1(report)
    drop = None if base is None else figures.drop_points(row, base)
    return None if drop is None else -drop


def loses_little(row: Row, report: Report) -> bool:
    """Whether the row was measured where its file belongs, and loses no more than the study allows."""
    return figures.meets(row, float_top1(report), report.choice.max_drop)


def answers_as_float(row: Row, report: Report) -> bool:
    """Whether the row predicts the float model's class on as many images as the study asks for."""
    return figures.agrees(row, report.choice.min_agreement)


def at_first(report: Report) -> list[Row]:
    """The rows of the study's first settings, which is all of them where nothing is swept."""
    if not report.other_settings:
        return list(report.rows)
    return [row for row in report.rows if group(row) == group(report.settings)]


def eligible(report: Report) -> list[Row]:
    """The rows that the winner was chosen from: where none of them answers as float does, all that lose little."""
    close = [row for row in at_first(report) if loses_little(row, report)]
    return [row for row in close if answers_as_float(row, report)] or close


def loses_too_much(row: Row, report: Report) -> bool:
    """Whether a measured row loses too much; False in runtimes that its file was not made for."""
    return row.intended and not loses_little(row, report)


def answers_otherwise(row: Row, report: Report) -> bool:
    """Whether a measured row agrees too little; False in runtimes that its file was not made for."""
    return row.intended and not answers_as_float(row, report)


def winner(report: Report) -> Row | None:
    """The row to ship."""
    return None if report.choice.row is None else report.rows[report.choice.row]


def measured(report: Report) -> list[Row]:
    """Measured rows, best first: the winner, then all that lose and differ little by cost, then the others by cost.

    In a sweep the rows of the first settings come first, then those of the next, each in this order.
    """
    best = winner(report)
    places = {group(each): place for place, each in enumerate(report.all_settings)} if report.other_settings else {}
    close = [row for row in report.rows if loses_little(row, report)]
    agreeing = {group(row) for row in close if answers_as_float(row, report)}

    def key(row: Row) -> tuple[int, bool, bool, float, str]:
        cost = figures.cost(row, report.choice.optimize)
        there = group(row) in agreeing if places else bool(agreeing)
        may_ship = loses_little(row, report) and (answers_as_float(row, report) or not there)
        return (places.get(group(row), 0), row is not best, not may_ship, cost, row.name)

    return sorted(with_status(report, "measured"), key=key)


def measured_at_first(report: Report) -> list[Row]:
    """The measured rows of the study's first settings, best first: what plots of one number a version draw."""
    first = {row.name for row in at_first(report)}
    return [row for row in measured(report) if row.name in first]


def has_spread(report: Report) -> bool:
    """Whether any row's rounds differ in latency: never offline, nor with a single round."""
    return any((row.latency_p50_low_ms or 0) < (row.latency_p50_high_ms or 0) for row in report.rows)


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
    timed = [row for row in with_status(report, "measured") if row.samples_per_s is not None]
    said = list(report.warnings)
    if timed and not report.settings.official:
        met = {name for row in timed for name in row.rules_met}
        if not met:
            said.append("Not an official MLPerf run: rounds are shorter than MLPerf's.")
    invalid = sum(row.loadgen_valid is False for row in timed)
    if invalid:
        said.append(f"LoadGen calls {words.count(invalid, 'timing')} invalid: the rows' notes say why.")
    return said

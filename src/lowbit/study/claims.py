"""Holds published figures against the rows of a study."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields

from lowbit.core.figure import Claim, Figure, Quantity, Selector, limit_of
from lowbit.core.figures import rate
from lowbit.core.row import Row
from lowbit.core.study import Report

_UNTRIED = {
    "arm": "it was measured on an ARM processor",
    "gpu": "it needs a GPU",
    "imagenet": "it needs ImageNet's validation images",
    "weights": "it needs trained weights that are not given",
}
_VALUES: dict[Quantity, Callable[[Row], float | None]] = {
    "top1": lambda row: None if row.top1 is None else 100 * row.top1,
    "size_mb": lambda row: None if row.size_bytes is None else row.size_bytes / 1e6,
    "latency_ms": lambda row: row.latency_p50_ms,
    "rate": rate,
    "peak_mb": lambda row: None if row.peak_memory_bytes is None else row.peak_memory_bytes / 1e6,
    "int8_share": lambda row: None if row.int8_share is None else 100 * row.int8_share,
}
_SETTINGS = ("scenario", "batch_size", "threads", "isa")
_SMALLER_IS_BETTER: tuple[Quantity, ...] = ("size_mb", "latency_ms", "peak_mb")


def selects(selector: Selector, model: str | None, row: Row | Selector) -> bool:
    """Whether `selector` means this row, or planned row, of the model that the study file calls `model`."""
    return selector.model in (None, model) and all(
        getattr(selector, each.name) in (None, getattr(row, each.name))
        for each in fields(selector)
        if each.name != "model"
    )


def claim(figure: Figure, rows: Mapping[str, Sequence[Row]], float_top1: Mapping[str, float | None]) -> Claim:
    """The figure with what was measured here.

    - rows: name of a model in the study file → its rows
    - float_top1: name of a model → the float model's accuracy, a fraction
    """
    if figure.untried is not None or figure.of is None:
        return Claim(figure, "could not be tried", reason=_UNTRIED.get(figure.untried or "", ""))
    found, reasons = [], []
    for model in rows:
        if figure.of.model in (None, model):
            measured = _of_model(figure, figure.of, figure.over, rows[model], float_top1[model])
            if isinstance(measured, str):
                reasons.append(f"{model}: {measured}")
            else:
                found.append((measured[0], tuple(f"{model}: {name}" for name in measured[1])))
    if not found:
        return Claim(figure, "could not be tried", reason=reasons[0] if reasons else "no such model was measured")
    value, names = min(found) if figure.quantity in _SMALLER_IS_BETTER else max(found)
    return Claim(figure, "held" if holds(figure, value) else "not held", value, names)


def holds(figure: Figure, value: float) -> bool:
    """Whether `value` is what the figure claims: within its tolerance, or on the side of its limit."""
    if figure.within is not None:
        return abs(value - figure.value) <= figure.within * abs(figure.value)
    sign, limit = limit_of(figure.holds or "")
    return {">=": value >= limit, "<=": value <= limit, ">": value > limit, "<": value < limit}[sign]


def _of_model(
    figure: Figure, of: Selector, over: Selector | None, rows: Sequence[Row], float_top1: float | None
) -> tuple[float, tuple[str, ...]] | str:
    """The figure for one model and the names of its rows; a reason where it has none."""
    best = min if figure.quantity in _SMALLER_IS_BETTER else max
    above = _known(figure, of, rows, float_top1)
    if isinstance(above, str):
        return above
    if over is None:
        return best((value, (row.name,)) for value, row in above)
    below = _known(figure, over, rows, float_top1)
    if isinstance(below, str):
        return below
    pairs = [(a, b) for a in above for b in below if _alike(a[1], b[1], of, over)]
    if not pairs:
        return "its two rows were not measured with the same settings"
    side_by_side = [
        (a, b) for a, b in pairs if a[1].swept == b[1].swept
    ]  # of one part of the study, where there are some
    return best((a / b, (row.name, other.name)) for (a, row), (b, other) in side_by_side or pairs)


def _known(
    figure: Figure, selector: Selector, rows: Sequence[Row], float_top1: float | None
) -> list[tuple[float, Row]] | str:
    """The values of the rows that are meant; a reason where there is none."""
    meant = [row for row in rows if selects(selector, selector.model, row)]
    values = []
    for row in meant:
        value = _gained(row, float_top1) if figure.quantity == "gained" else _VALUES[figure.quantity](row)
        if row.status == "measured" and value is not None:
            values.append((value, row))
    if values:
        return values
    if not meant:
        return "no such row was measured"
    return f"{meant[0].name}: {meant[0].reason or f'its {figure.quantity} is not known'}"


def _alike(row: Row, other: Row, of: Selector, over: Selector) -> bool:
    """Whether two rows may be divided: they have the same settings, but for those that the figure names for both."""
    return all(
        getattr(row, name) == getattr(other, name)
        for name in _SETTINGS
        if getattr(of, name) is None or getattr(over, name) is None
    )


def _gained(row: Row, float_top1: float | None) -> float | None:
    return None if row.top1 is None or float_top1 is None else 100 * (row.top1 - float_top1)


def float_accuracy(report: Report) -> float | None:
    """The float model's top-1 as a fraction; None for random weights."""
    return None if report.reference is None else report.reference.correct / report.reference.n_samples

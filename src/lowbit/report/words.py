"""How numbers are written: one place, so that table, page and notebook say the same. Absent values are a dash."""

from collections.abc import Mapping, Sequence
from math import floor, log10

from lowbit.core.figures import Optimize
from lowbit.core.row import Row
from lowbit.core.settings import Settings
from lowbit.core.sweep import Swept, values_of

ABSENT = "–"
MINUS = "\u2212"
NOT_INTENDED = "†"
TIED = "≈"
TIE: Mapping[Optimize, str] = {
    "latency": "the lead is within the spread of the rounds",
    "size": "the files have the same size",
    "memory": "the peaks of memory are the same",
}


def percent(fraction: float | None, digits: int = 2) -> str:
    """0.9173 → "91.73"; the sign "%" stands in the heading."""
    return ABSENT if fraction is None else f"{fraction * 100:.{digits}f}"


def half_interval(low: float | None, high: float | None) -> str:
    """Half the width of an interval of fractions, in points: "±0.54"."""
    return "" if low is None or high is None else f"±{(high - low) * 50:.2f}"


def signed(points: float | None) -> str:
    """Points with a true minus sign; what rounds to zero has no sign."""
    if points is None:
        return ABSENT
    text = f"{abs(points):.2f}"
    if text == "0.00":
        return text
    return f"+{text}" if points > 0 else f"{MINUS}{text}"


def significant(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits, or all that stand before the point; no exponent: 0.327, 12.3, 1234."""
    if value is None:
        return ABSENT
    if value == 0:
        return "0"
    decimals = digits - 1 - floor(log10(abs(value)))
    if round(abs(value), decimals) >= 10.0 ** (digits - decimals):  # 9.996 becomes 10.0: one decimal less
        decimals -= 1
    return f"{value:.{max(0, decimals)}f}"


def size(count: int | None) -> str:
    """Decimal units, as vendors and file managers print them: "367 kB"."""
    if count is None:
        return ABSENT
    if count < 1000:
        return f"{count} B"
    for factor, unit in ((1e3, "kB"), (1e6, "MB")):
        if count < factor * 999.5:
            return f"{significant(count / factor)} {unit}"
    return f"{significant(count / 1e9)} GB"


def times(factor: float | None) -> str:
    """2.566 → "2.57×"."""
    return ABSENT if factor is None else f"{factor:.2f}×"


def p_value(p: float | None) -> str:
    """Three decimals, or "< 0.001"; what is too small for floating point is no certainty either: "< 1e-300"."""
    if p is None:
        return ABSENT
    if p == 0:
        return "< 1e-300"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def fidelity(difference: float) -> str:
    """How closely the float graph follows its source: the largest absolute difference of their outputs, in words."""
    return f"differs from its source by at most {difference:.2g} on real samples"


def claims_integer(row: Row) -> bool:
    """Whether the row says of itself that both operands are integers: w8a8, w4a8, w8a16, but not weight-only."""
    return row.claim in ("integer", "dynamic")


def shows_integer(row: Row) -> bool:
    """Whether its share of integer kernels is worth a look: it claims some, or nobody says what it is."""
    return claims_integer(row) or row.claim is None


def integer_share(row: Row) -> str:
    """The share of multiply-accumulates on integer kernels, never rounded up; empty when the row claims none."""
    if row.int8_share is None or not shows_integer(row):
        return ""
    return "100 %" if row.int8_share >= 1 - 1e-9 else f"{floor(row.int8_share * 100)} %"


def falls_short(row: Row) -> str:
    """What a row that is called int8 must say when part of it ran in float: "int8 62 %"; else empty."""
    share = integer_share(row)
    if share in ("", "100 %") or not claims_integer(row):
        return ""
    return f"int8 {share}" if (row.activation_bits or 0) <= 8 else f"integer {share}"


def notes(row: Row) -> tuple[str, ...]:
    """What a reader of the row must know, in sentences."""
    return (*row.notes, "timed beside other work on this machine") if row.disturbed else row.notes


def agreement(fraction: float | None) -> str:
    """0.9984 → "99.8"; never rounded up: what is not all of the images is not 100.0."""
    return ABSENT if fraction is None else f"{floor(fraction * 1000 + 1e-9) / 10:.1f}"


def divergence(nats: float | None) -> str:
    """Two significant digits in at most five characters: ".0041", "2.4", "5e-8"."""
    if nats is None:
        return ABSENT
    if nats == 0:
        return "0"
    if nats >= 0.00095:
        return significant(nats, 2).lstrip("0")
    mantissa, exponent = f"{nats:.0e}".split("e")
    return f"{mantissa}e{int(exponent)}"


def count(number: int, one: str, many: str = "") -> str:
    """1 → "1 thread", 10000 → "10,000 threads"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


HEADINGS: Mapping[Swept, str] = {
    "scenario": "scenario",
    "isa": "limited to",
    "batch_size": "batch",
    "threads": "threads",
}


def swept_value(name: Swept, row: Row) -> str:
    """A setting of a row as its own column shows it."""
    value = getattr(row, name)
    return ABSENT if value is None else str(value)


def conditions(settings: Sequence[Settings]) -> list[str]:
    """How rows were measured, a setting each, in a sweep with all its values: "1, 2 threads", "batch 1, 4, 16"."""
    scenarios, isa, sizes, threads = (
        ", ".join(str(value) for value in values_of(name, settings) if value is not None)
        for name in ("scenario", "isa", "batch_size", "threads")
    )
    limit = [f"limited to {isa}"] if isa else []
    return [scenarios, f"{threads} {'thread' if threads == '1' else 'threads'}", f"batch {sizes}", *limit]


def moment(iso: str) -> str:
    """2026-11-20T14:03:00+00:00 → "2026-11-20 14:03:00 UTC"."""
    return iso.replace("T", " ").replace("+00:00", " UTC")


def rounds(settings: Settings) -> str:
    """How many timing rounds there were and, where a budget decided it, how long each run was."""
    if not settings.rounds:
        return "not timed"
    said = count(settings.rounds, "round")
    if settings.max_duration_s is None:
        return said
    return f"{said} of {settings.min_duration_s:.2g} to {settings.max_duration_s:.3g} s (budget)"

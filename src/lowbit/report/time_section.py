"""Where the time of each version goes: a bar of its layers, and how near it comes to the machine's matrix products."""

from collections.abc import Mapping

from lowbit.core.peak import Peak
from lowbit.core.profile import PartOfTime, TimeSpent, Work
from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.report import ranking, words
from lowbit.report.markup import Markup, el

_COLOUR: Mapping[Work, str] = {
    "integer product": "c2",
    "float product": "c0",
    "conversion": "c1",
    "other": "c5",
}
_MEANING: Mapping[Work, str] = {
    "integer product": "multiplies integers",
    "float product": "multiplies floats",
    "conversion": "quantizes or dequantizes",
    "other": "everything else",
}
_HALF = 0.5


def time_section(report: Report) -> Markup:
    """The page's section; nothing where no row was profiled."""
    rows = [row for row in ranking.measured_at_first(report) if row.name in report.profiles]
    if not rows:
        return Markup("")
    rows.sort(key=lambda row: _image_us(report.profiles[row.name]))
    longest = max(_spent_us(report.profiles[row.name]) for row in rows)
    key = el("p", el("span", *(el("span", _swatch(work), _MEANING[work]) for work in _COLOUR)), class_="key")
    lead = (
        "Time of one image, as each runtime's own profiler tells it, layer by layer in the order in which they ran. "
        "The last figure is the roofline: multiply–accumulates a second, as a share of the fastest matrix product of "
        "the same kind on this machine. Press a version for its layers."
    )
    return el(
        "section",
        el("h2", "Where the time goes"),
        el("p", lead, class_="lead"),
        key,
        el("div", *(_version(row, report.profiles[row.name], report, longest) for row in rows), class_="spent"),
        id="time",
    )


def _image_us(spent: TimeSpent) -> float:
    return spent.latency_us / spent.batch_size


def _spent_us(spent: TimeSpent) -> float:
    """Microseconds of an image that its operators account for."""
    return sum(part.us for part in spent.parts) / spent.batch_size


def _version(row: Row, spent: TimeSpent, report: Report, longest: float) -> Markup:
    peak = roof(row, spent, report.peaks)
    width = _spent_us(spent) / longest * 100
    stack = el("span", *map(_segment, spent.parts), class_="stack", style=f"width:{width:.2f}%")
    summary = el(
        "summary",
        el("span", row.name, class_="who"),
        el("span", stack, class_="track"),
        el("span", f"{words.significant(_image_us(spent) / 1000)} ms", class_="number strong"),
        el("span", "" if peak is None else _percent(spent.macs_per_s / peak.macs_per_s), class_="number"),
        class_="line",
    )
    disturbed = (
        el("p", "Other work on the machine disturbed this profile.", class_="careful") if spent.disturbed else ""
    )
    said = el("p", arithmetic(spent, peak), class_="ties")
    return el("details", summary, disturbed, said, el("div", *_layers(spent), class_="layers"))


def roof(row: Row, spent: TimeSpent, peaks: tuple[Peak, ...]) -> Peak | None:
    """The peak that the row is held against: of integers where most of its products are, with as many threads."""
    kind = "int8" if (row.int8_share or 0.0) >= _HALF else "fp32"
    return next((peak for peak in peaks if peak.kind == kind and peak.threads == spent.threads), None)


def arithmetic(spent: TimeSpent, peak: Peak | None) -> str:
    """How the share of the peak is computed, in a sentence."""
    images = "" if spent.batch_size == 1 else f" of {words.count(spent.batch_size, 'image')}"
    made = (
        f"{spent.macs / 1e6:,.1f} M multiply–accumulates{images} ÷ "
        f"{words.significant(spent.latency_us / 1000)} ms = {words.significant(spent.macs_per_s / 1e9)} G a second"
    )
    if peak is None:
        return f"{made}. No library here could be timed to compare it with."
    share, roof_g = _percent(spent.macs_per_s / peak.macs_per_s), words.significant(peak.macs_per_s / 1e9)
    sides = " × ".join([f"{peak.size:,}"] * 3)
    threads = words.count(peak.threads, "thread")
    return f"{made}, {share} of the {roof_g} G that {peak.how} reaches with {threads} ({peak.kind}, {sides})."


def _percent(share: float) -> str:
    return f"{share * 100:.0f} %"


def _segment(part: PartOfTime) -> Markup:
    return el("span", class_=_COLOUR[part.work], style=f"flex-grow:{part.us:.1f}", title=_told(part))


def _told(part: PartOfTime) -> str:
    return f"{part.name}: {words.significant(part.us)} µs, {_MEANING[part.work]}"


def _layers(spent: TimeSpent) -> list[Markup]:
    """A bar a layer; operators of a network that take no time are left out."""
    whole = sum(part.us for part in spent.parts)
    longest = max((part.us for part in spent.parts), default=1.0)
    return [
        el(
            "div",
            el("span", part.name, class_="who", title=part.name),
            el(
                "span",
                el("span", class_=f"bar {_COLOUR[part.work]}", style=f"width:{part.us / longest * 100:.2f}%"),
                class_="track",
            ),
            el("span", f"{words.significant(part.us / spent.batch_size)} µs", class_="number"),
            el("span", f"{part.us / whole * 100:.1f} %", class_="number"),
            class_="line",
        )
        for part in spent.parts
        if part.us > 0
    ]


def _swatch(work: Work) -> Markup:
    return el("span", class_=f"block {_COLOUR[work]}", aria_hidden="true")

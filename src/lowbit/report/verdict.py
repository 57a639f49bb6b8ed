"""Text about the winner, made from its row: why it wins, how it compares with float, and what to watch out for."""

from lowbit.core.figures import Optimize, cost, drop_points
from lowbit.core.row import Row
from lowbit.core.study import Report
from lowbit.core.sweep import swept_in, told_apart
from lowbit.report import ranking, words

_BEST: dict[Optimize, str] = {"latency": "fastest", "size": "smallest", "memory": "least memory"}
_CHANCE = 0.05  # a gain whose p-value is above this may well be chance


def why(report: Report) -> str:
    """Why the winner wins, without its name; or why there is none."""
    best = ranking.winner(report)
    if best is None:
        return _nothing(report)
    choice, chosen_from = report.choice, ranking.eligible(report)
    figures = [_speed(best)] if best.samples_per_s is not None else []
    if best.speedup is not None:
        figures.append(f"{words.times(best.speedup)} the best fp32")
    if best.size_bytes is not None:
        figures.append(words.size(best.size_bytes))
    shown = f" ({', '.join(figures)})" if figures else ""
    return (
        f"{_BEST[choice.optimize]} of {len(chosen_from)} that lose at most {_points(choice.max_drop)}{shown}; "
        f"{_against_float(best, report)}{_passed_over(best, report)}"
    )


def within(report: Report) -> str:
    """With which of the settings of a sweep the winner was chosen; empty where nothing is swept."""
    swept = swept_in(report.all_settings)
    return told_apart(report.settings, swept)


def cautions(report: Report) -> list[str]:
    """What a user must know before shipping the winner, a sentence each; empty where there is nothing, or no winner."""
    best, choice = ranking.winner(report), report.choice
    if best is None:
        return []
    said = []
    if not ranking.answers_as_float(best, report):
        said.append(
            f"it gives float's answer on {words.agreement(best.agreement)} % of the images only, less than the "
            f"{choice.min_agreement:g} % of --min-agreement: it is another classifier, not the same one made smaller"
        )
    chosen_from = ranking.eligible(report)
    disturbed = sum(row.disturbed for row in chosen_from)
    if best.disturbed:
        said.append("it was timed beside other work on this machine: repeat the command while nothing else runs")
    elif disturbed and choice.optimize == "latency":
        said.append(
            f"{disturbed} of the {len(chosen_from)} it was chosen from were timed beside other work on this machine: "
            "repeat the command while nothing else runs"
        )
    return said


def _speed(row: Row) -> str:
    if row.latency_p50_ms is not None:
        return f"{words.significant(row.latency_p50_ms)} ms"
    return f"{words.significant(row.samples_per_s)} samples/s"


def _against_float(row: Row, report: Report) -> str:
    agreement = f"agreement {words.agreement(row.agreement)} %"
    gained = ranking.gained(row, report)
    if gained is None:
        return agreement
    if round(gained, 2) > 0:
        return f"{gained:.2f} points above float on these images: {_why_above(row)}; {agreement}"
    if round(gained, 2) < 0:
        return f"it loses {-gained:.2f} points against float; {agreement}"
    if ranking.answers_as_float(row, report):
        return f"it is as accurate as float; {agreement}"
    return f"its top-1 is float's; {agreement}"


def _why_above(row: Row) -> str:
    """What a gain above float is: no version knows more than the model it was made from."""
    if row.p_value is not None and row.p_value > _CHANCE:
        return f"that may be chance, p {words.p_value(row.p_value)}"
    if row.calibration_s is not None:
        return "calibration and test share classes"
    return "on others it may lose"


def _passed_over(best: Row, report: Report) -> str:
    """How many rows would have been better, were it not for their answers."""
    optimize = report.choice.optimize
    better = [
        row
        for row in ranking.at_first(report)
        if ranking.loses_little(row, report)
        and not ranking.answers_as_float(row, report)
        and cost(row, optimize) < cost(best, optimize)
    ]
    if not better or not ranking.answers_as_float(best, report):
        return ""
    adjective = {"latency": "faster", "size": "smaller", "memory": "leaner"}[optimize]
    agree = "version agrees" if len(better) == 1 else "versions agree"
    return (
        f"; {len(better)} {adjective} {agree} with float on less than {report.choice.min_agreement:g} % of the images"
    )


def _points(count: float) -> str:
    return f"{count:g} point" if count == 1 else f"{count:g} points"


def _nothing(report: Report) -> str:
    base = ranking.float_top1(report)
    drops = [
        (drop, row.name)
        for row in ranking.measured_at_first(report)
        if row.intended and (drop := drop_points(row, base)) is not None
    ]
    if not drops:
        return "no version was measured in a runtime it was made for"
    least, name = min(drops)
    limit = _points(report.choice.max_drop)
    return f"no version stays within {limit} of float; the closest is {name}, which loses {least:.2f}"

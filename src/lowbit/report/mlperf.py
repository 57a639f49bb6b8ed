"""What a row says about MLPerf's rules, in words."""

from lowbit.core.row import Row
from lowbit.core.settings import Round
from lowbit.measure.rules import Shortfall


def shortfall_text(lack: Shortfall) -> str:
    """One unmet demand, such as "60 s instead of 600 s"."""
    measured, demanded = _number(lack.measured), _number(lack.demanded)
    return {
        "valid": "LoadGen calls it INVALID",
        "scenario": "the round has no such scenario",
        "duration": f"{measured} s instead of {demanded} s",
        "queries": f"{measured} queries instead of {demanded}",
        "samples": f"{measured} samples instead of {demanded}",
        "latency": f"a target latency of {measured} ms instead of {demanded} ms",
    }[lack.demand]


def _number(value: float | None) -> str:
    if value is None:
        return "none"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.1f}"


def rules_note(row: Row, name: Round) -> str:
    """Whether the row meets the rules of the round `name`, and what is missing where it does not."""
    if name in row.rules_met:
        return f"meets the rules of MLPerf {name}"
    return f"does not meet the rules of MLPerf {name}: {', '.join(row.rules_missing)}"

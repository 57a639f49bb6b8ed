"""Profiles as a trace that Chrome (chrome://tracing) and Perfetto show: Google's trace event format."""

from collections.abc import Iterator, Sequence
from typing import Any

from lowbit.core.profile import Profile, ProfiledOperator
from lowbit.report.inspected import precision_text


def trace(profiles: Sequence[Profile]) -> dict[str, Any]:
    """One process a profile. Its operators lie one after the other, in the order in which they ran.

    Durations are the medians of the profile, so that the whole is one typical run and no run that took place.
    """
    return {
        "traceEvents": [event for number, each in enumerate(profiles, 1) for event in _events(number, each)],
        "displayTimeUnit": "ns",
    }


def _events(process: int, found: Profile) -> Iterator[dict[str, Any]]:
    name = f"{found.artifact} in {found.runtime}"
    yield {"ph": "M", "pid": process, "tid": 1, "name": "process_name", "args": {"name": name}}
    yield {"ph": "M", "pid": process, "tid": 1, "name": "thread_name", "args": {"name": "operators"}}
    at = 0.0
    for each in found.operators:
        yield {
            "ph": "X",
            "pid": process,
            "tid": 1,
            "ts": at,
            "dur": each.run_us,
            "name": f"{each.operator.op_type} {each.operator.name}",
            "cat": "conversion" if each.converts else "operator",
            "args": _arguments(each),
        }
        if each.bytes_alive is not None:
            yield {
                "ph": "C", "pid": process, "tid": 1, "ts": at, "name": "intermediate results",
                "args": {"bytes": each.bytes_alive},
            }  # fmt: skip
        at += each.run_us


def _arguments(each: ProfiledOperator) -> dict[str, Any]:
    return {
        "kernel": each.kernel,
        "precision": precision_text(each.operator),
        "layers": ", ".join(each.layers),
        "multiply-accumulates": each.operator.macs,
        "calls": each.calls,
        "bytes written": each.bytes_written,
    }

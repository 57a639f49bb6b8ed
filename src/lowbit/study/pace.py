"""A budget of time for a whole study: how many rounds, and how long each run, so that it ends in time."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from lowbit.core import digest
from lowbit.core.codec import load_json, save_json
from lowbit.core.errors import BadInput, DamagedFile
from lowbit.core.settings import Settings
from lowbit.study.store import Store

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0}
_AMOUNT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([smh]?)")
_AROUND_S = 3.0  # of each run: starting the child, importing the runtime, opening the file, warming up
_SHORTEST_S = 0.3


@dataclass(frozen=True, slots=True)
class Pace:
    """How the cells of a study are timed.

    - rounds: of timing
    - min_duration_s, max_duration_s: shortest and longest run
    """

    rounds: int
    min_duration_s: float
    max_duration_s: float


def seconds_of(text: str | float) -> float:
    """Seconds of "90", "90s", "20m" or "2h". Raises BadInput."""
    match = _AMOUNT.fullmatch(str(text).strip())
    if match is None or float(match[1]) <= 0:
        raise BadInput(f"--budget {text}: expected a time above 0, such as 90s, 20m or 2h")
    return float(match[1]) * _UNITS[match[2] or "s"]


def pace(settings: Settings, cells: int, left_s: float) -> Pace:
    """The pace at which `cells` cells are timed within `left_s` seconds: at most the rounds and durations asked for.

    Rounds are given up before runs become shorter than asked for, since a run that is too short says nothing; the last
    round stays in any case.
    """
    for rounds in range(settings.rounds, 0, -1):
        each = left_s / (max(1, cells) * rounds) - _AROUND_S
        if each >= settings.min_duration_s or rounds == 1:
            break
    longest = max(each, _SHORTEST_S)
    return Pace(rounds, min(settings.min_duration_s, longest), longest)


def kept_pace(store: Store, budget_s: float, settings: Sequence[Settings], names: Sequence[str], left_s: float) -> Pace:
    """The pace of these cells; the one of an earlier command with the same cells and budget, where there was one.

    Without that, a command that goes on would ask for other durations than the one that was interrupted, and measure
    everything again.
    """
    path = store.pace(digest.of_value([budget_s, settings, sorted(names)]))
    try:
        return load_json(Pace, path)
    except (FileNotFoundError, DamagedFile):
        found = pace(settings[0], len(names), left_s)
        path.parent.mkdir(parents=True, exist_ok=True)
        save_json(path, found)
        return found


def paced(settings: Settings, found: Pace) -> Settings:
    """`settings` at this pace."""
    return replace(
        settings,
        rounds=found.rounds,
        min_duration_s=found.min_duration_s,
        max_duration_s=found.max_duration_s,
    )

"""What a build of our own engine is doing, in a line: its layer, or how its training stands."""

import time
from typing import Any

from lowbit.core.codec import load_json
from lowbit.core.errors import DamagedFile
from lowbit.core.progress import BuildProgress
from lowbit.core.training import TrainingProgress
from lowbit.study.execute.placed import PlacedJob
from lowbit.worker.jobs import BuildJob


class BuildWatch:
    """Turns the progress of a build into text such as "layer 7/20 Conv_12, 5 s left", or of its training into
    "6,400 of 45,000 pictures, loss 0.52, held out: 0.49, answers as float 91.2 %, 240 s left".

    The remaining time is estimated from the mean time per layer since the first layer that was observed.
    """

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def __call__(self, placed: PlacedJob[Any]) -> str:
        """Text for the build's current layer; empty for other jobs, and before the first layer."""
        if not isinstance(placed.job, BuildJob):
            return ""
        try:
            progress = load_json(BuildProgress, placed.job.progress)
        except (FileNotFoundError, DamagedFile):
            return ""
        if progress.training is not None:
            return _training_text(progress.training)
        at = progress.layers
        if at is None:
            return ""
        if not at.layer:
            return f"{at.total} layers rounded, writing"
        now, number = time.monotonic(), at.done + 1
        first, start = self._first = self._first or (number, now)
        left = f", {(now - start) / (number - first) * (at.total - number + 1):.0f} s left" if number > first else ""
        return f"layer {number}/{at.total} {at.layer}{left}"


def _training_text(at: TrainingProgress) -> str:
    """How far a training is, for a line of progress."""
    held = at.latest
    accuracy = "" if held.accuracy is None else f", right {100 * held.accuracy:.1f} %"
    return (
        f"{at.images:,} of {at.total:,} pictures, loss {at.loss:.3f}; held out: {held.loss:.3f}, "
        f"as float {100 * held.agreement:.1f} %{accuracy}; {at.seconds_left:.0f} s left"
    )

"""Progress on standard error: redrawn only when a job ends, so that it does not disturb what is timed."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from lowbit.core.artifact import Manifest
from lowbit.core.model import FloatModel
from lowbit.core.outcome import Accuracy, Timing
from lowbit.report import words
from lowbit.study.execute.local import Listener, Progress

_MARKS = {"done": "[green]✓[/]", "unsupported": "[yellow]–[/]", "failed": "[red]✗[/]"}


@contextmanager
def shown() -> Iterator[Listener]:
    """A listener that draws a bar a stage on a terminal, and prints a line a job elsewhere."""
    console, figures = Console(stderr=True), Figures()
    if not console.is_terminal:
        yield lambda event: _print_line(console, event, figures.of(event.value))
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
    with Bars(*columns, console=console, auto_refresh=False) as bars:
        stages: dict[str, TaskID] = {}

        def listener(event: Progress) -> None:
            if event.stage not in stages:
                stages[event.stage] = bars.add_task(event.stage, total=event.total, now="")
            said = figures.of(event.value)
            if event.end in ("unsupported", "failed") or said:
                bars.console.print(_line(event, said), highlight=False)
            bars.update(stages[event.stage], completed=event.done, total=event.total, now=_now(event))
            bars.refresh()

        yield listener


def _print_line(console: Console, event: Progress, said: str) -> None:
    if event.ended:
        console.print(f"{event.stage} {event.done}/{event.total} {_line(event, said)}", highlight=False, soft_wrap=True)


def _line(event: Progress, said: str) -> str:
    said = event.reason[:160] or said
    return f"{_MARKS.get(event.end, '')} {escape(event.ended)}{f': {escape(said)}' if said else ''}"


class Figures:
    """The first figures of jobs that have just ended, so that nobody waits for the whole table to see them.

    Accuracy is told of trained networks alone, and of a pass that ended early as the table tells it: the float model's
    plus the difference.
    """

    def __init__(self) -> None:
        self._trained = True
        self._float: Accuracy | None = None

    def of(self, value: object) -> str:
        """What is told of the result of a job; empty for nothing."""
        if isinstance(value, FloatModel):
            self._trained, self._float = not value.random_weights, None
        if isinstance(value, Manifest):
            return f"{words.size(value.size_bytes)}, built in {value.build_s:.1f} s"
        if isinstance(value, Accuracy):
            return self._accuracy(value)
        if isinstance(value, Timing):
            latency = value.latency_p50_ms
            rate = f"{words.significant(value.samples_per_s)} samples/s"
            return rate if latency is None else f"{words.significant(latency)} ms (p50), {rate}"
        return ""

    def _accuracy(self, found: Accuracy) -> str:
        if found.kl is None:
            self._float = found
        agreement = f"as float on {words.agreement(found.agreement)} %"
        if not self._trained:
            return agreement
        if self._float is None or found.n_samples >= self._float.n_samples:
            return f"top-1 {words.percent(found.correct / found.n_samples)} %, {agreement}"
        top1 = self._float.correct / self._float.n_samples + (found.c - found.b) / found.n_samples
        return f"top-1 {words.percent(top1)} %, {agreement}, from {words.count(found.n_samples, 'image')}"


def _now(event: Progress) -> str:
    left = "" if event.left_s is None or not event.running else f"  {_clock(event.left_s)} left"
    return escape(event.detail or ", ".join(event.running)) + left


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

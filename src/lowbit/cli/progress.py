"""Progress on standard error: redrawn only when a job ends, so that it does not disturb what is timed."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

from lowbit.core.artifact import Manifest
from lowbit.core.outcome import Accuracy, Timing
from lowbit.report import words
from lowbit.study.execute.local import Listener, Progress

_MARKS = {"done": "[green]✓[/]", "unsupported": "[yellow]–[/]", "failed": "[red]✗[/]"}


@contextmanager
def shown() -> Iterator[Listener]:
    """A listener that draws a bar a stage on a terminal, and prints a line a job elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda event: _print_line(console, event)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[now]}"))
    with Bars(*columns, console=console, auto_refresh=False) as bars:
        stages: dict[str, TaskID] = {}

        def listener(event: Progress) -> None:
            if event.stage not in stages:
                stages[event.stage] = bars.add_task(event.stage, total=event.total, now="")
            if event.end in ("unsupported", "failed") or figures(event.value):
                bars.console.print(_line(event), highlight=False)
            bars.update(stages[event.stage], completed=event.done, total=event.total, now=_now(event))
            bars.refresh()

        yield listener


def _print_line(console: Console, event: Progress) -> None:
    if event.ended:
        console.print(f"{event.stage} {event.done}/{event.total} {_line(event)}", highlight=False, soft_wrap=True)


def _line(event: Progress) -> str:
    said = event.reason[:160] or figures(event.value)
    return f"{_MARKS.get(event.end, '')} {escape(event.ended)}{f': {escape(said)}' if said else ''}"


def figures(value: object) -> str:
    """The first figures of a job that has just ended, so that nobody waits for the whole table to see them."""
    if isinstance(value, Manifest):
        return f"{words.size(value.size_bytes)}, built in {value.build_s:.1f} s"
    if isinstance(value, Accuracy):
        top1 = words.percent(value.correct / value.n_samples)
        return f"top-1 {top1} %, as float on {words.agreement(value.agreement)} %"
    if isinstance(value, Timing):
        latency = value.latency_p50_ms
        rate = f"{words.significant(value.samples_per_s)} samples/s"
        return rate if latency is None else f"{words.significant(latency)} ms (p50), {rate}"
    return ""


def _now(event: Progress) -> str:
    left = "" if event.left_s is None or not event.running else f"  {_clock(event.left_s)} left"
    return escape(event.detail or ", ".join(event.running)) + left


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

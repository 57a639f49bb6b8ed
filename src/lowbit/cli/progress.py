"""Progress on standard error: redrawn only when a job ends, so that it does not disturb what is timed."""

from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn
from rich.progress import Progress as Bars

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
            if event.end in ("unsupported", "failed"):
                bars.console.print(_line(event), highlight=False)
            bars.update(stages[event.stage], completed=event.done, now=_now(event))
            bars.refresh()

        yield listener


def _print_line(console: Console, event: Progress) -> None:
    if event.ended:
        console.print(f"{event.stage} {event.done}/{event.total} {_line(event)}", highlight=False, soft_wrap=True)


def _line(event: Progress) -> str:
    reason = f": {escape(event.reason[:160])}" if event.reason else ""
    return f"{_MARKS.get(event.end, '')} {escape(event.ended)}{reason}"


def _now(event: Progress) -> str:
    left = "" if event.left_s is None or not event.running else f"  {_clock(event.left_s)} left"
    return escape(event.detail or ", ".join(event.running)) + left


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"

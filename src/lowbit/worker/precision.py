"""Job `precision`: lists what a runtime executes of an artifact, in a session opened as it is for timing."""

from collections.abc import Sequence
from pathlib import Path

from lowbit.core.adapter import Session, SessionOptions
from lowbit.core.codec import save_json
from lowbit.core.model import LayerMacs
from lowbit.core.outcome import Executed
from lowbit.core.settings import Settings
from lowbit.measure.precision import accounted
from lowbit.runtimes import find
from lowbit.worker.jobs import Nothing, PrecisionJob


def run(job: PrecisionJob) -> Nothing:
    """Write the list of executed operators to `job.out`. Nothing is timed."""
    runtime = find.runtimes((job.runtime,))[job.runtime]
    with runtime.open_session(job.artifact, timed_options(job.settings)) as session:
        save_executed(session, job.layers, job.out)
    return Nothing()


def timed_options(settings: Settings) -> SessionOptions:
    """The options of a timed session. Threads and batch size can change which kernels run."""
    return SessionOptions(threads=settings.threads, batch_size=settings.batch_size)


def save_executed(session: Session, layers: Sequence[LayerMacs], path: Path) -> None:
    """Write to `path`, as an `Executed`, what `session` executes, matched with the float graph's `layers`."""
    save_json(path, Executed(accounted(session.executed_precision(), layers)))

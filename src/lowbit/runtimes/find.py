"""Which runtimes there are: one module each in this package, and entry points named `lowbit.runtimes`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Protocol, cast

from lowbit.core.adapter import RuntimeInfo, Session, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.discover import adapters


class Runtime(Protocol):
    """A runtime's module."""

    INFO: RuntimeInfo

    def open_session(self, artifact: Artifact, options: SessionOptions) -> AbstractContextManager[Session]:
        """Load the artifact; raises UnsupportedError where the vendor refuses it. Call `require(INFO)` first."""
        ...

    def warm_up(self, options: SessionOptions) -> None:
        """Run a one-operator model made in memory, so that the runtime's own fixed memory is resident."""
        ...


def runtimes(named: Sequence[str] = ()) -> dict[str, Runtime]:
    """Name → runtime: all that are not hidden, or those that are named; raises BadInput for an unknown name."""
    return cast(dict[str, Runtime], adapters("lowbit.runtimes", "lowbit.runtimes", named))

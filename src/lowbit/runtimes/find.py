"""Finds the runtimes: the modules of this package, and entry points named `lowbit.runtimes`."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, cast, runtime_checkable

from lowbit.core.adapter import CodePorts, RunCodes, RuntimeInfo, Session, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.discover import adapters


class Runtime(Protocol):
    """The interface of a runtime's module."""

    INFO: RuntimeInfo

    def open_session(self, artifact: Artifact, options: SessionOptions) -> AbstractContextManager[Session]:
        """Load the artifact; raises UnsupportedError where the vendor refuses it. Call `require(INFO)` first."""
        ...

    def warm_up(self, options: SessionOptions) -> None:
        """Run a one-operator model made in memory, so that the runtime's own fixed memory is resident."""
        ...


@runtime_checkable
class OpensCodes(Protocol):
    """The additional interface of a runtime in which files of our own engine can be verified."""

    def open_codes(self, path: Path, ports: CodePorts, options: SessionOptions) -> RunCodes:
        """Open the file of one part of a model: a function from the codes that it reads to its codes, or floats.

        Raises UnsupportedError where the vendor refuses the file, also when the returned function is called.
        """
        ...


def runtimes(named: Sequence[str] = ()) -> dict[str, Runtime]:
    """Name → runtime, for all that are not hidden or those that are named. Raises BadInput for an unknown name."""
    return cast(dict[str, Runtime], adapters("lowbit.runtimes", "lowbit.runtimes", named))

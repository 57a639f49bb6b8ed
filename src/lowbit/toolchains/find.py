"""Finds the toolchains: the modules of this package, and entry points named `lowbit.toolchains`."""

from collections.abc import Sequence
from typing import Protocol, cast

from lowbit.core.adapter import BuildRequest, Built, ToolchainInfo
from lowbit.core.discover import adapters


class Toolchain(Protocol):
    """The interface of a toolchain's module."""

    INFO: ToolchainInfo

    def build(self, request: BuildRequest) -> Built:
        """Write the artifact into the folder `request.out`. Call `require(INFO)` first.

        Raises UnsupportedError where the vendor refuses.
        """
        ...


def toolchains(named: Sequence[str] = ()) -> dict[str, Toolchain]:
    """Name → toolchain: all that are not hidden, or those that are named; raises BadInput for an unknown name."""
    return cast(dict[str, Toolchain], adapters("lowbit.toolchains", "lowbit.toolchains", named))

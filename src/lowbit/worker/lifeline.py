"""A child does not outlive its parent, however the parent ends."""

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "LOWBIT_PARENT"
_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent() -> None:
    """Ask Linux to kill this process when its parent dies, and leave at once if that has happened already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    expected = os.environ.get(PARENT_VARIABLE)
    if expected is not None and os.getppid() != int(expected):
        sys.exit("the parent process is gone")

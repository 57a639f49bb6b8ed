"""Makes a child process end when its parent ends, however the parent ends."""

import ctypes
import os
import signal
import sys

PARENT_VARIABLE = "LOWBIT_PARENT"  # in a child's environment: the process id of the command that started it
_PR_SET_PDEATHSIG = 1  # prctl(2)


def die_with_parent(parent: int) -> None:
    """Ask Linux to kill this process when the process `parent` dies; exit at once if it is dead already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        sys.exit("the parent process is gone")

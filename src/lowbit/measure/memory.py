"""Memory as Linux counts it: the peak of this process, and what is free."""

import re
from collections.abc import Callable
from pathlib import Path

from lowbit.core.errors import MeasurementError

_STATUS = Path("/proc/self/status")
_MEMORY = Path("/proc/meminfo")
_CLEAR_REFS = Path("/proc/self/clear_refs")


def peak_above(load_and_run: Callable[[], None]) -> int:
    """Bytes by which resident memory peaks above its present level while `load_and_run` runs.

    Whatever should not count (the interpreter, the runtime and its thread pools) must be in memory before the call.
    """
    before = _resident("VmRSS")
    _CLEAR_REFS.write_text("5")  # proc(5): resets the peak (VmHWM) to the present level
    load_and_run()
    return max(0, _resident("VmHWM") - before)


def _resident(field: str) -> int:
    match = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    if match is None:
        raise MeasurementError(f"{_STATUS} has no {field}: peak memory can be measured on Linux only")
    return int(match.group(1)) * 1024


def resident_bytes() -> int:
    """Memory that this process holds now."""
    return _resident("VmRSS")


def available_bytes() -> int:
    """Memory that can be used without swapping, as the kernel estimates it (MemAvailable in /proc/meminfo)."""
    match = re.search(r"^MemAvailable:\s+(\d+) kB$", _MEMORY.read_text(), re.MULTILINE)
    if match is None:
        raise MeasurementError(f"{_MEMORY} has no MemAvailable: expected Linux 3.14 or newer")
    return int(match[1]) * 1024

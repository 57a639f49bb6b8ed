"""`python -m lowbit.runtimes._litert_kernels FILE INPUT RUNS WARM_UP THREADS RESULT`: LiteRT's own profile of a file.

LiteRT's Python package has no profiler, but the C library inside it has one, which names the kernels in XNNPACK. Its
headers are not in the package, so that a mistake here, or another version of the library, may crash: this runs in a
process of its own, which `_litert_profile` starts.

Nothing of the layout of the library's structures is assumed but the order of an event's fields: tag, type, start,
elapsed, two records of memory, two numbers, source. The size of an event is found from what the library fills in.
"""

import ctypes
import json
import os
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core.lifeline import PARENT_VARIABLE, die_with_parent

_LIBRARY = "libLiteRt.so"
_CPU = 1  # LiteRtHwAccelerators
_WRITE = 1  # LiteRtTensorBufferLockMode
_ROOM = 512  # bytes: more than a tensor's type or an event takes
_UNTOUCHED = 0xAB
_FIELDS = 8  # bytes of every field, padding included


class NoProfile(Exception):  # noqa: N818 - there is none
    """The library cannot give a profile; the message says why."""


def main(file: str, given: str, runs: str, warm_up: str, threads: str, result: str) -> None:
    """Write the result: {"events": [[tag, type, node] …], "times_us": [[…] of each run], "runs_us": […]}."""
    library = _Library()
    environment = library.made("CreateEnvironment", 0, None)
    model = library.made("CreateModelFromFile", environment, file.encode())
    options = library.made("CreateOptions")
    library.call("SetOptionsHardwareAccelerators", options, _CPU)
    library.add(options, b"runtime_options_string", b"enable_profiling = true\n")
    library.add(options, b"xnnpack", f"num_threads = {int(threads)}\n".encode())
    compiled = library.made("CreateCompiledModel", environment, model, options)
    profiler = library.made("CompiledModelGetProfiler", compiled)
    signature = library.made("GetModelSignature", model, ctypes.c_size_t(0))
    buffers = [library.buffer(environment, compiled, signature, side) for side in ("Input", "Output")]
    _fill(library, buffers[0], np.load(given))
    arrays = [(ctypes.c_void_p * 1)(buffer) for buffer in buffers]
    one, first = ctypes.c_size_t(1), ctypes.c_size_t(0)

    def run() -> None:
        library.call("RunCompiledModel", compiled, first, one, arrays[0], one, arrays[1])

    for _ in range(int(warm_up)):
        run()
    events, times, whole = _timed(library, profiler, run, int(runs))
    Path(result).write_text(json.dumps({"events": events, "times_us": times, "runs_us": whole}))


class _Library:
    """The C library; every function whose name is given without its prefix returns a status, 0 when all is well."""

    def __init__(self) -> None:
        found = find_spec("ai_edge_litert")
        place = Path(next(iter(found.submodule_search_locations or []), "")) / _LIBRARY if found else Path(_LIBRARY)
        if not place.is_file():
            raise NoProfile(f"the package ai-edge-litert holds no {_LIBRARY}")
        self._library = ctypes.CDLL(str(place))
        self._kept: list[Any] = []  # memory that the library holds on to
        self._free = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(lambda _: None)

    def call(self, name: str, *arguments: Any) -> None:
        function = getattr(self._library, f"LiteRt{name}", None)
        if function is None:
            raise NoProfile(f"{_LIBRARY} has no function LiteRt{name}")
        status = function(*arguments)
        if status:
            raise NoProfile(f"LiteRt{name} returned status {status}")

    def made(self, name: str, *arguments: Any) -> ctypes.c_void_p:
        """What a function puts where its last argument points."""
        found = ctypes.c_void_p()
        self.call(name, *arguments, ctypes.byref(found))
        return found

    def add(self, options: ctypes.c_void_p, name: bytes, text: bytes) -> None:
        """Add an option whose value is TOML."""
        payload = ctypes.create_string_buffer(text)
        self._kept.append(payload)
        made = self.made("CreateOpaqueOptions", name, ctypes.cast(payload, ctypes.c_void_p), self._free)
        self.call("AddOpaqueOptions", options, made)

    def buffer(self, environment: Any, compiled: Any, signature: Any, side: str) -> ctypes.c_void_p:
        """A buffer for the only input or output."""
        first = ctypes.c_size_t(0)
        tensor = self.made(f"GetSignature{side}TensorByIndex", signature, first)
        kind = (ctypes.c_uint8 * _ROOM)()
        self.call("GetRankedTensorType", tensor, kind)
        needs = self.made(f"GetCompiledModel{side}BufferRequirements", compiled, first, first)
        return self.made("CreateManagedTensorBufferFromRequirements", environment, kind, needs)


def _fill(library: _Library, buffer: ctypes.c_void_p, x: Any) -> None:
    size, place = ctypes.c_size_t(), ctypes.c_void_p()
    library.call("GetTensorBufferPackedSize", buffer, ctypes.byref(size))
    if size.value != x.nbytes:
        raise NoProfile(f"the library's buffer for the input has {size.value} bytes, the input {x.nbytes}")
    library.call("LockTensorBuffer", buffer, ctypes.byref(place), _WRITE)
    ctypes.memmove(place, np.ascontiguousarray(x).tobytes(), x.nbytes)
    library.call("UnlockTensorBuffer", buffer)


def _timed(
    library: _Library, profiler: ctypes.c_void_p, run: Callable[[], None], runs: int
) -> tuple[list[tuple[str, int, int]], list[list[int]], list[float]]:
    """The events of a run (tag, type, node), their times in each run, and the time of each whole run."""
    events: list[tuple[str, int, int]] = []
    times: list[list[int]] = []
    whole: list[float] = []
    for _ in range(runs):
        library.call("StartProfiler", profiler)
        start = time.perf_counter()
        run()
        whole.append((time.perf_counter() - start) * 1e6)
        library.call("StopProfiler", profiler)
        seen = _events(library, profiler)
        listed = [each[:3] for each in seen]
        if events and listed != events:
            raise NoProfile("two runs do not list the same events")
        events = listed
        times.append([each[3] for each in seen])
    return events, times, whole


def _events(library: _Library, profiler: ctypes.c_void_p) -> list[tuple[str, int, int, int]]:
    """(tag, type, node, elapsed microseconds) of every event that the profiler holds."""
    count = ctypes.c_int()
    library.call("GetNumProfilerEvents", profiler, ctypes.byref(count))
    if count.value <= 0:
        raise NoProfile("the profiler recorded no events")
    room = (ctypes.c_uint8 * (count.value * _ROOM))()
    ctypes.memset(room, _UNTOUCHED, len(room))
    library.call("GetProfilerEvents", profiler, count, room)
    filled = -(-len(bytes(room).rstrip(bytes([_UNTOUCHED]))) // _FIELDS) * _FIELDS
    size, rest = divmod(filled, count.value)
    if rest or size % _FIELDS:
        raise NoProfile(f"{count.value} events of {filled} bytes: their layout is not known")
    words = np.frombuffer(bytes(room), np.uint64)[: filled // _FIELDS].reshape(count.value, -1)
    return [
        (
            ctypes.string_at(int(row[0])).decode(errors="replace"),
            int(row[1]) & 0xFFFFFFFF,
            int(row[-3]) & 0xFFFFFFFF,
            int(row[3]),
        )
        for row in words
    ]


if __name__ == "__main__":
    die_with_parent(int(os.environ[PARENT_VARIABLE]))
    try:
        main(*sys.argv[1:])
    except NoProfile as error:
        Path(sys.argv[-1]).write_text(json.dumps({"reason": str(error)}))
    sys.stdout.flush()
    os._exit(0)  # the library may crash while it is unloaded; the result is already written

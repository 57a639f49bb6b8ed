"""The machine a number was measured on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """Facts that can change a result; `id` is their digest. Rows of different hosts are never compared silently.

    isa: the instruction sets that matter to kernels, as the kernel names them (avx2, avx512_vnni, …); governor: the
    frequency governor, or "unknown"; memory_bytes: physical memory.
    """

    id: str
    cpu: str
    isa: tuple[str, ...]
    cores: int
    threads: int
    governor: str
    memory_bytes: int
    system: str
    python: str

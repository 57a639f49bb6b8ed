"""The machine that a measurement was made on."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Host:
    """Facts about the machine that can change a result. Rows from different hosts are never compared without a warning.

    - id: digest of what decides kernels and speed: cpu, isa, cores, memory and kind of system
    - cpu: the processor's model name
    - isa: the instruction sets that matter to kernels, as Linux names them (avx2, avx512_vnni …)
    - cores: logical processors that the process may use
    - threads: logical processors of the machine
    - governor: the frequency governor, or "unknown"
    - memory_bytes: physical memory
    - system: the operating system
    - python: Python's version
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

"""Facts about this machine, which are recorded with every measurement."""

import os
import platform
from pathlib import Path

from lowbit.core import digest
from lowbit.core.host import Host

_ISA = (
    "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx_vnni", "avx_vnni_int8", "avx512_bf16",
    "avx512_fp16", "amx_int8", "amx_bf16", "asimd", "asimddp", "i8mm", "bf16", "sve",
)  # fmt: skip
_LIMITS = {  # what a runtime may be limited to → what a processor must have for it
    "avx2": {"avx2", "fma"},
    "avx512": {"avx512f", "avx512bw"},
    "avx512_vnni": {"avx512f", "avx512bw", "avx512_vnni"},
}
_WITHOUT_DOT_PRODUCTS = {"avx2", "avx512"}
_GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def facts() -> Host:
    """Read this machine's facts. The id covers what decides kernels and speed, not Python's version."""
    cpu, flags = _processor()
    isa = tuple(name for name in _ISA if name in flags)
    cores = len(os.sched_getaffinity(0))
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    system = f"{platform.system()} {platform.release()} {platform.machine()}"
    return Host(
        id=digest.of_value([cpu, isa, cores, round(memory / 2**30), platform.system(), platform.machine()])[:8],
        cpu=cpu,
        isa=isa,
        cores=cores,
        threads=os.cpu_count() or cores,
        governor=_GOVERNOR.read_text().strip() if _GOVERNOR.exists() else "unknown",
        memory_bytes=memory,
        system=system,
        python=platform.python_version(),
    )


def _processor() -> tuple[str, frozenset[str]]:
    """The processor's name and its flags, from /proc/cpuinfo (x86 says `flags`, ARM says `Features`)."""
    cpu, flags = platform.processor() or platform.machine(), frozenset[str]()
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            cpu = value.strip()
        elif key.strip() in ("flags", "Features"):
            flags = frozenset(value.split())
            break
    return cpu, flags


def limits(host: Host) -> tuple[str, ...]:
    """The instruction sets that runtimes can be limited to on this machine, the oldest first."""
    return tuple(name for name, needed in _LIMITS.items() if needed <= set(host.isa))


def saturates_within(isa: str) -> bool:
    """Whether kernels for u8 × s8 products saturate where a runtime is limited to `isa`, see `int8_sums_saturate`."""
    return isa in _WITHOUT_DOT_PRODUCTS


def int8_meaning(host: Host) -> str:
    """One or two sentences on what this processor's integer instructions mean for int8 models."""
    isa = set(host.isa)
    if isa & {"avx512_vnni", "avx_vnni", "amx_int8"}:
        names = ", ".join(sorted(isa & {"avx512_vnni", "avx_vnni", "amx_int8"}))
        return (
            f"int8 dot products in hardware ({names}): u8 × s8 products are summed in 32 bits, full 8-bit weights are "
            "safe, and int8 models usually run 2-4 times as fast as float."
        )
    if isa & {"asimddp", "i8mm"}:
        return "int8 dot products in hardware (ARM dot product): full 8-bit weights are safe."
    if "avx2" in isa:
        return (
            "no int8 dot products (AVX2 only): u8 × s8 products saturate in 16 bits, so weights keep to 7 bits "
            "(reduce_range) in ONNX Runtime's and lowbit's own files, and int8 models run at most about twice as fast "
            "as float."
        )
    return "no SIMD support for int8 was found: quantized models are smaller but seldom faster."


def has_int8_dot_product(host: Host) -> bool:
    """Whether the processor has an instruction that sums products of 8-bit integers in 32 bits."""
    return bool(set(host.isa) & {"avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"})


def int8_sums_saturate(host: Host) -> bool:
    """Whether kernels for u8 × s8 add two products in 16 bits, which saturate unless weights use only 7 bits.

    This is so on x86 without dot products (`vpmaddubsw`). ARM kernels widen every product first, so they never
    saturate.
    """
    return not has_int8_dot_product(host) and "asimd" not in host.isa

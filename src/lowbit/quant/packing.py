"""Packing: codes of n bits in exactly n bits, as bytes that standard operators can take apart again.

A width is a sum of fields of 8, 4, 2 and 1 bits (5 = 4 + 1, 7 = 4 + 2 + 1), the widest one holding a code's highest
bits. Each field of all codes is one run of bytes, 8/f codes a byte, the first code in the byte's lowest bits; the last
byte is filled up with zeros. So every field is a table look-up away from the codes: `table`.
"""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput

Bytes = npt.NDArray[np.uint8]


def fields(bits: int) -> tuple[int, ...]:
    """The fields of a code of 2 … 8 bits, its highest bits first.

    >>> fields(7)
    (4, 2, 1)
    """
    if not 2 <= bits <= 8:
        raise BadInput(f"{bits} bits cannot be packed: expected 2 to 8")
    return tuple(field for field in (8, 4, 2, 1) if bits & field)


def pack(codes: npt.NDArray[np.integer], bits: int) -> list[Bytes]:
    """One array of bytes [⌈count · f / 8⌉] a field f. `codes`: 0 … 2ⁿ−1, of any shape, in row-major order."""
    flat = codes.reshape(-1)
    if flat.size and not (flat.min() >= 0 and flat.max() < 1 << bits):
        raise BadInput(f"codes {flat.min()} … {flat.max()} do not fit {bits} bits: expected 0 … {(1 << bits) - 1}")
    small = flat.astype(np.uint8)
    packed = []
    for field, shift in _shifts(bits):
        part = (small >> shift) & ((1 << field) - 1)
        per_byte = 8 // field
        rows = np.pad(part, (0, -part.size % per_byte)).reshape(-1, per_byte)
        rows <<= (np.arange(per_byte) * field).astype(np.uint8)
        packed.append(np.bitwise_or.reduce(rows, axis=1))
    return packed


def unpack(packed: Sequence[Bytes], bits: int, count: int) -> Bytes:
    """The codes 0 … 2ⁿ−1 [count] that `pack` was given."""
    codes = np.zeros(count, np.uint8)
    for data, (field, shift) in zip(packed, _shifts(bits), strict=True):
        entries = (data[:, None] >> (np.arange(8 // field) * field).astype(np.uint8)) & ((1 << field) - 1)
        codes |= entries.reshape(-1)[:count] << shift
    return codes


def table(bits: int, index: int) -> npt.NDArray[np.int8]:
    """What each byte of field number `index` adds to its codes: int8 [256, 8/f]; bits < 8.

    The sum over the fields is code − 2ⁿ⁻¹, since the first table holds the −2ⁿ⁻¹: it fits int8 at every step.
    """
    field, shift = _shifts(bits)[index]
    lowest = -(1 << (bits - 1)) if index == 0 else 0
    byte = np.arange(256)[:, None] >> np.arange(8 // field) * field
    return (((byte & ((1 << field) - 1)) << shift) + lowest).astype(np.int8)


def _shifts(bits: int) -> list[tuple[int, np.uint8]]:
    """Each field, and where its lowest bit stands in the code."""
    found = fields(bits)
    return [(field, np.uint8(sum(found[index + 1 :]))) for index, field in enumerate(found)]

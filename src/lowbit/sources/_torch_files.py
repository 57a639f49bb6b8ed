"""What a file that torch wrote holds, found by looking into it: nothing is unpickled, and torch is not imported."""

import io
import pickletools
import struct
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal

Kind = Literal["torchscript", "exported", "weights", "objects", "cut-short", "unknown"]

_ZIP = b"PK\x03\x04"
_LENGTHS_AT = 26  # of a record's header: two bytes each for the lengths of its name and of what follows the name
_PICKLES = 5  # an old file of torch.save is as many pickles in a row: three about itself, the object, its storages
_OF_WEIGHTS = ("torch", "torch._utils", "torch.serialization", "torch.storage", "torch._tensor", "torch.nn.parameter")
_PLAIN = ("collections.OrderedDict", "collections.defaultdict")


@dataclass(frozen=True, slots=True)
class TorchFile:
    """What a file holds.

    - kind: torchscript (`torch.jit.save`), exported (`torch.export.save`), weights (tensors and plain values: a state
      dict or a checkpoint), objects (a pickle that makes objects of other classes, such as a whole module), cut-short
      (a zip file without its end), unknown
    - classes: of objects, the dotted names of the classes and functions that are no tensors
    """

    kind: Kind
    classes: tuple[str, ...] = ()


def look_into(path: Path) -> TorchFile:
    """What `path` holds, which must exist."""
    with path.open("rb") as file:
        if file.read(len(_ZIP)) == _ZIP:
            return _of_zip(file)
        file.seek(0)
        return _of_pickles(file, _PICKLES)


def _of_zip(file: IO[bytes]) -> TorchFile:
    try:
        with zipfile.ZipFile(file) as archive:
            inner = {name.partition("/")[2]: name for name in archive.namelist()}
            if "constants.pkl" in inner and any(name.startswith("code/") for name in inner):
                return TorchFile("torchscript")
            if "archive_format" in inner or "serialized_exported_program.json" in archive.namelist():
                return TorchFile("exported")
            if "data.pkl" in inner:
                return _of_pickles(_record(file, archive.getinfo(inner["data.pkl"])), 1)
    except (zipfile.BadZipFile, EOFError, OSError):
        return TorchFile("cut-short")
    return TorchFile("unknown")


def _record(file: IO[bytes], record: zipfile.ZipInfo) -> IO[bytes]:
    """A record's bytes, which torch never compresses. Its checksum is not asked: torch can be told to write none."""
    file.seek(record.header_offset + _LENGTHS_AT)
    name, extra = struct.unpack("<HH", file.read(4))
    file.seek(name + extra, io.SEEK_CUR)
    return io.BytesIO(file.read(record.file_size))


def _of_pickles(file: IO[bytes], most: int) -> TorchFile:
    """By the classes that the first pickles of a stream name; unknown where the stream begins with no pickle."""
    named: list[str] = []
    read = 0
    try:
        for _ in range(most):
            named += _classes(file)
            read += 1
    except (ValueError, EOFError, IndexError, UnicodeDecodeError):
        if not read:
            return TorchFile("unknown")
    others = tuple(name for name in dict.fromkeys(named) if not _is_plain(name))
    return TorchFile("objects", others) if others else TorchFile("weights")


def _classes(file: IO[bytes]) -> Iterator[str]:
    """The dotted names of all classes and functions that one pickle refers to, in order."""
    strings: list[str] = []
    for opcode, argument, _ in pickletools.genops(file):
        if opcode.name == "GLOBAL":
            yield str(argument).replace(" ", ".")
        elif opcode.name == "STACK_GLOBAL":
            yield ".".join(strings[-2:])
        elif isinstance(argument, str):
            strings.append(argument)


def _is_plain(name: str) -> bool:
    return name in _PLAIN or name.rpartition(".")[0] in _OF_WEIGHTS

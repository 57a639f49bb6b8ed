"""The file formats of artifacts: the name of each, its file endings, and whether it fixes the batch size."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A file format.

    - suffixes: the endings of its files, the main file's first
    - fixes_batch: whether a file has one fixed batch size
    """

    name: str
    suffixes: tuple[str, ...] = ()
    fixes_batch: bool = False

    @property
    def main_suffix(self) -> str:
        """The ending of the main file; empty where it is not known."""
        return self.suffixes[0] if self.suffixes else ""


ONNX = FileFormat("onnx", (".onnx",))
OPENVINO_IR = FileFormat("openvino-ir", (".xml", ".bin"))
TFLITE = FileFormat("tflite", (".tflite",), fixes_batch=True)
TORCHSCRIPT = FileFormat("torchscript", (".pt",))

_KNOWN = {each.name: each for each in (ONNX, OPENVINO_IR, TFLITE, TORCHSCRIPT)}


def file_format(name: str) -> FileFormat:
    """The format called `name`. One that lowbit does not know has no endings and a free batch size."""
    return _KNOWN.get(name, FileFormat(name))


def format_of_suffix(suffix: str) -> FileFormat | None:
    """The format whose main file ends in `suffix`; None where there is none."""
    return next((each for each in _KNOWN.values() if each.main_suffix == suffix), None)

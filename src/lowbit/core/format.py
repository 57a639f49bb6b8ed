"""File formats of artifacts: one home for each one's name, the endings of its files, and what it fixes."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class FileFormat:
    """One format. suffixes: of its files, the main one's first; fixes_batch: whether a file carries one batch size."""

    name: str
    suffixes: tuple[str, ...] = ()
    fixes_batch: bool = False

    @property
    def main_suffix(self) -> str:
        """How the name of the main file ends; empty where nobody has said."""
        return self.suffixes[0] if self.suffixes else ""


ONNX = FileFormat("onnx", (".onnx",))
OPENVINO_IR = FileFormat("openvino-ir", (".xml", ".bin"))
TFLITE = FileFormat("tflite", (".tflite",), fixes_batch=True)
TORCHSCRIPT = FileFormat("torchscript", (".pt",))

_KNOWN = {each.name: each for each in (ONNX, OPENVINO_IR, TFLITE, TORCHSCRIPT)}


def file_format(name: str) -> FileFormat:
    """The format of that name; one that only an adapter knows of has no endings and a free batch size."""
    return _KNOWN.get(name, FileFormat(name))


def format_of_suffix(suffix: str) -> FileFormat | None:
    """The format whose main file ends in `suffix`; None where there is none."""
    return next((each for each in _KNOWN.values() if each.main_suffix == suffix), None)

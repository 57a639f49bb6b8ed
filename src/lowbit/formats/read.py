"""What a file of any format that lowbit can read says of itself."""

from pathlib import Path

from lowbit.core.errors import UnsupportedError
from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE, file_format
from lowbit.core.stored import StoredGraph
from lowbit.formats.facts import FileFacts


def read_facts(path: Path, form: str) -> FileFacts:
    """Shapes, metadata and layers of the file at `path`, whose format is `form`. UnsupportedError for others."""
    if form == ONNX.name:
        from lowbit.formats.onnx.read import read_onnx

        return read_onnx(path)
    if form == OPENVINO_IR.name:
        from lowbit.formats.openvino.read import read_openvino

        return read_openvino(path)
    if form == TFLITE.name:
        from lowbit.formats.litert.read import read_litert

        return read_litert(path)
    raise UnsupportedError(f"a {form} file does not say the shape of its input", "look at the study's page")


def read_stored(path: Path, form: str) -> StoredGraph | None:
    """Every tensor and operator of the file at `path`; None for formats that are read by their vendor alone."""
    if form == ONNX.name:
        from lowbit.formats.onnx.read import stored_onnx

        return stored_onnx(path)
    if form == OPENVINO_IR.name:
        from lowbit.formats.openvino.read import stored_openvino

        return stored_openvino(path)
    if form == TFLITE.name:
        from lowbit.formats.litert.read import stored_litert

        return stored_litert(path)
    return None


def together(path: Path, form: str) -> list[Path]:
    """The file at `path`, whose format is `form`, and those that a runtime reads together with it.

    Raises BadInput where it is an ONNX file that cannot be read, or whose external data cannot.
    """
    if form == ONNX.name:
        from lowbit.graph.load import files_of  # late: `onnx` costs the command line 0.2 s

        return files_of(path)
    return [path, *(path.with_suffix(suffix) for suffix in file_format(form).suffixes[1:])]

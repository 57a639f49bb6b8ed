"""`x.tflite`: a float file of LiteRT, also with weights in half precision."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy.typing as npt

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, refuse_weights, versions

if TYPE_CHECKING:
    from lowbit.sources._batches import Run

INFO = SourceInfo(
    name="tflite",
    form="x.tflite",
    packages=("ai-edge-litert",),
    extra="litert",
    default_preprocess=None,
    stable=True,
)


def claims(spec: str) -> bool:
    """A path that ends in .tflite."""
    return spec.lower().endswith(".tflite")


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the file."""
    refuse_weights(INFO, weights)
    if not Path(spec).is_file():
        raise BadInput(f"{spec}: no such file; give a .tflite file that exists")
    return digest.of_files([Path(spec)])


def load(request: SourceRequest) -> Loaded:
    """Read the file; the source is the same file in LiteRT's interpreter."""
    from lowbit.formats.litert.to_onnx import read_float
    from lowbit.graph.check import check_graph
    from lowbit.sources._exported import from_graph

    versions(INFO)
    path, source_digest = Path(request.spec), fingerprint(request.spec, request.weights)
    graph = check_graph(read_float(path, request.spec), request.spec)

    def opened(_: tuple[str, ...]) -> tuple["Run", tuple[str, ...]]:
        return _run(path, request.threads), ()

    return from_graph(graph, request, opened, name=path.stem, source_digest=source_digest)


def _run(path: Path, threads: int) -> "Run":
    """The file as it is: as many images as it takes, in the layout and type that it takes → its scores."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BadInput(f"{path}: LiteRT cannot open it: {said(error)}; convert it again") from error
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()

    def run(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        interpreter.set_tensor(source["index"], images.astype(source["dtype"]))
        interpreter.invoke()
        scores: npt.NDArray[Any] = interpreter.get_tensor(target["index"])
        return scores.reshape(len(images), -1)

    return run

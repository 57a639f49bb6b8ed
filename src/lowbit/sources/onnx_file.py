"""`x.onnx`: a graph that somebody exported, also with external data."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, refuse_weights

if TYPE_CHECKING:
    import onnx
    import onnxruntime

    from lowbit.sources._batches import Run

_PROVIDERS = ["CPUExecutionProvider"]
_KINDS = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}

INFO = SourceInfo(
    name="onnx",
    form="x.onnx",
    packages=("onnxruntime",),
    extra=None,
    default_preprocess=None,
    stable=True,
)


def claims(spec: str) -> bool:
    """A path that ends in .onnx."""
    return spec.lower().endswith(".onnx")


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the file and of its external data."""
    from lowbit.graph.load import files_of  # late: `onnx` costs the command line 0.2 s

    refuse_weights(INFO, weights)
    return digest.of_files(files_of(Path(spec)))


def load(request: SourceRequest) -> Loaded:
    """Adapt and clean the graph; the source is the untouched file in ONNX Runtime without optimizations."""
    from lowbit.graph.load import load_graph
    from lowbit.sources._exported import from_graph

    path = Path(request.spec)
    graph = load_graph(path)

    def opened(float_types: tuple[str, ...]) -> tuple["Run", tuple[str, ...]]:
        session, notes = _opened(path, graph, request.threads, float_types)
        return _run(session, graph), notes

    source_digest = fingerprint(request.spec, request.weights)
    return from_graph(graph, request, opened, name=path.stem, source_digest=source_digest)


def _opened(
    path: Path, graph: "onnx.ModelProto", threads: int, float_types: tuple[str, ...]
) -> tuple["onnxruntime.InferenceSession", tuple[str, ...]]:
    """A session of the file as the user gave it, and what must be said of it.

    ONNX Runtime has no kernels for bfloat16, nor for many operators in float64, on CPUs: where it lacks them, the
    source is the same graph with its numbers made float32 and nothing else changed.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    from lowbit.graph.passes.float32 import to_float32

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: a user's graph may hold weights that nothing reads
    refusals = (errors.Fail, errors.InvalidGraph, errors.InvalidArgument, errors.NotImplemented)
    try:
        if "bfloat16" not in float_types:
            return onnxruntime.InferenceSession(str(path), options, providers=_PROVIDERS), ()
    except refusals as error:
        if not float_types:
            raise BadInput(f"{path}: ONNX Runtime cannot open it: {said(error)}; export it again") from error
    same = type(graph)()
    same.CopyFrom(graph)
    to_float32(same)
    try:
        session = onnxruntime.InferenceSession(same.SerializeToString(), options, providers=_PROVIDERS)
    except refusals as error:
        raise BadInput(f"{path}: ONNX Runtime cannot open it: {said(error)}; export it again") from error
    names = " and ".join(float_types)
    return session, (f"ONNX Runtime cannot run it in {names}: compared with the same numbers in float32",)


def _run(session: "onnxruntime.InferenceSession", graph: "onnx.ModelProto") -> "Run":
    """The session as a function of images in the layout and number that the user's graph takes."""
    from lowbit.graph.values import image_input

    name = image_input(graph).name
    (kind,) = (_KINDS[value.type] for value in session.get_inputs() if value.name == name)

    def run(images: npt.NDArray[Any]) -> npt.NDArray[Any]:
        scores: npt.NDArray[Any] = session.run(None, {name: images.astype(kind, copy=False)})[0]
        return scores

    return run

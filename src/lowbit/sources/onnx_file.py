"""`x.onnx`: a graph that somebody exported, also with external data."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from lowbit.core import digest
from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.sources._batches import parts
from lowbit.sources._edge import (
    HALF_TOLERANCE,
    TOLERANCE,
    Loaded,
    Predict,
    SourceInfo,
    SourceRequest,
    free_size,
    refuse_weights,
)

if TYPE_CHECKING:
    import onnx
    import onnxruntime

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
    from lowbit.graph.adapt import adapt
    from lowbit.graph.load import load_graph
    from lowbit.sources._float import write_float

    path = Path(request.spec)
    graph = load_graph(path)
    adapted = adapt(graph, request.spec, request.sample_shape, free_size(request))
    source, notes = _opened(path, graph, request.threads, adapted.float_types)
    model = write_float(
        adapted.model,
        request,
        name=path.stem,
        source_digest=fingerprint(request.spec, request.weights),
        notes=(*adapted.notes, *notes),
    )
    half = adapted.float_types and not notes
    return Loaded(model, _predict(source, graph, adapted.layout), HALF_TOLERANCE if half else TOLERANCE)


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


def _predict(session: "onnxruntime.InferenceSession", graph: "onnx.ModelProto", layout: str) -> Predict:
    """Images float32 [N, C, H, W] → scores float32 [N, K], given to the session as the user's graph takes them."""
    from lowbit.graph.values import dims, image_input

    name = image_input(graph).name
    (kind,) = (_KINDS[value.type] for value in session.get_inputs() if value.name == name)
    batch = (dims(image_input(graph)) or [None])[0]

    def predict(images: Floats) -> Floats:
        if layout == "NHWC":
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        if layout == "NHW":
            images = images[:, 0]
        given = images.astype(kind, copy=False)
        scores = [session.run(None, {name: part})[0][:real] for part, real in parts(given, batch)]
        return np.concatenate(scores).reshape(len(images), -1).astype(np.float32, copy=False)

    return predict

"""`x.onnx`: a graph that somebody exported, also with external data."""

from pathlib import Path

import numpy as np

from lowbit.core import digest
from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.sources._edge import Loaded, Predict, SourceInfo, SourceRequest, refuse_weights

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
    """Clean the graph; the source is the untouched file in ONNX Runtime without optimizations."""
    from lowbit.graph.batch import is_free
    from lowbit.graph.load import load_graph
    from lowbit.sources._float import write_float

    path = Path(request.spec)
    graph = load_graph(path)
    model = write_float(graph, request, name=path.stem, source_digest=fingerprint(request.spec, request.weights))
    return Loaded(model, _untouched(path, request.threads, one_by_one=not is_free(graph)))


def _untouched(path: Path, threads: int, *, one_by_one: bool) -> Predict:
    """The file as the user gave it. Where its batch size is fixed at 1, images go in one by one."""
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors only: a user's graph may hold weights that nothing reads
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except (errors.Fail, errors.InvalidGraph, errors.InvalidArgument, errors.NotImplemented) as error:
        raise BadInput(f"{path}: ONNX Runtime cannot open it: {said(error)}; export it again") from error
    weights = {value.name for value in session.get_overridable_initializers()}
    (name,) = (value.name for value in session.get_inputs() if value.name not in weights)

    def predict(images: Floats) -> Floats:
        if one_by_one:
            return np.concatenate([session.run(None, {name: images[i : i + 1]})[0] for i in range(len(images))])
        scores: Floats = session.run(None, {name: images})[0]
        return scores

    return predict

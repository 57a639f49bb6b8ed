"""`x.tflite`: a float file of LiteRT, also with weights in half precision."""

from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core import digest
from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.sources._batches import parts
from lowbit.sources._edge import Loaded, Predict, SourceInfo, SourceRequest, refuse_weights, versions

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
    from lowbit.sources._float import write_float
    from lowbit.sources._litert_graph import adapted_graph

    versions(INFO)
    path, source_digest = Path(request.spec), fingerprint(request.spec, request.weights)
    adapted = adapted_graph(path, request)
    model = write_float(
        adapted.model,
        request,
        name=path.stem,
        source_digest=source_digest,
        notes=adapted.notes,
    )
    return Loaded(model, _predict(path, adapted.layout, request.threads))


def _predict(path: Path, layout: str, threads: int) -> Predict:
    """Images float32 [N, C, H, W] → scores float32 [N, K], given to the interpreter as the file takes them."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter: Any = Interpreter(model_path=str(path), num_threads=threads)
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BadInput(f"{path}: LiteRT cannot open it: {said(error)}; convert it again") from error
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()

    def predict(images: Floats) -> Floats:
        if layout == "NHWC":
            images = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
        if layout == "NHW":
            images = images[:, 0]
        scores = []
        for part, real in parts(images.astype(source["dtype"]), int(source["shape"][0])):
            interpreter.set_tensor(source["index"], part)
            interpreter.invoke()
            scores.append(interpreter.get_tensor(target["index"]).reshape(len(part), -1)[:real])
        return np.concatenate(scores).astype(np.float32, copy=False)

    return predict

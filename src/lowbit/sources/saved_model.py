"""A folder with a SavedModel, as TensorFlow, Keras' `model.export` and TensorFlow Hub write it."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.sources._edge import SAY_TRUST, Loaded, SourceInfo, SourceRequest, refuse_weights, versions

if TYPE_CHECKING:
    from lowbit.sources._tensorflow import Function

INFO = SourceInfo(
    name="saved-model",
    form="the folder of a SavedModel",
    packages=("tensorflow", "ai-edge-litert"),
    extra="tensorflow",
    default_preprocess=None,
    stable=True,
)

_GRAPH = "saved_model.pb"
_SERVING = "serving_default"
_CODE = ("PyFunc", "PyFuncStateless", "EagerPyFunc", "ReadFile", "WriteFile")  # operators that reach outside the graph


def claims(spec: str) -> bool:
    """A folder that holds saved_model.pb, or that file itself."""
    return (_folder(spec) / _GRAPH).is_file()


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of all files in the folder."""
    refuse_weights(INFO, weights)
    folder = _folder(spec)
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    names = [str(file.relative_to(folder)) for file in files]
    return digest.of_value([names, digest.of_files(files), versions(INFO)])


def load(request: SourceRequest) -> Loaded:
    """Convert the signature that serves; the source is that signature as TensorFlow runs it."""
    from lowbit.sources._tensorflow import load_function, start

    folder = _folder(request.spec)
    tf = start(request.threads, request.seed)
    if not request.trust:
        _refuse_code(folder)
    try:
        model = tf.saved_model.load(str(folder))
    except Exception as error:  # TensorFlow raises many kinds of errors here
        raise BadInput(
            f"{folder}: TensorFlow cannot load this SavedModel: {said(error)}; save it again with "
            "model.export(folder), or copy the whole folder again"
        ) from error
    function = _function(model, folder)
    source_digest = fingerprint(request.spec, request.weights)
    return load_function(function, request, name=folder.absolute().name, source_digest=source_digest)


def _folder(spec: str) -> Path:
    path = Path(spec)
    return path.parent if path.name == _GRAPH else path


def _refuse_code(folder: Path) -> None:
    """BadInput for operators that run Python, or read or write files."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    content = saved_model_pb2.SavedModel()
    try:
        content.ParseFromString((folder / _GRAPH).read_bytes())
    except DecodeError as error:
        raise BadInput(
            f"{folder / _GRAPH}: no SavedModel, or cut short ({said(error)}); copy the whole folder again"
        ) from error
    graphs = [meta.graph_def for meta in content.meta_graphs]
    found = {node.op for graph in graphs for node in graph.node}
    found |= {node.op for graph in graphs for function in graph.library.function for node in function.node_def}
    code = sorted(found & set(_CODE))
    if code:
        raise BadInput(
            f"{folder}: its operators {', '.join(code)} run Python, or read or write files; {SAY_TRUST} where "
            "you know who made it, or export the classifier alone"
        )


def _function(model: Any, folder: Path) -> "Function":
    from lowbit.sources._tensorflow import Function

    signatures = dict(model.signatures)
    if not signatures:
        raise BadInput(
            f"{folder}: this SavedModel has no signature that could be called; save it with model.export(folder), or "
            f"with tf.saved_model.save(model, folder, signatures={{{_SERVING!r}: …}})"
        )
    if _SERVING not in signatures and len(signatures) > 1:
        raise BadInput(
            f"{folder}: this SavedModel has the signatures {', '.join(sorted(signatures))}, expected {_SERVING!r} or "
            f"only one; save it with the one that classifies as {_SERVING!r}"
        )
    name = _SERVING if _SERVING in signatures else next(iter(signatures))
    signature = signatures[name]
    inputs = signature.structured_input_signature[1]
    for what, found in (("inputs", inputs), ("outputs", signature.structured_outputs)):
        if len(found) != 1:
            expected = "one image" if what == "inputs" else "one, the class scores"
            raise BadInput(
                f"{folder}: the signature {name!r} has {len(found)} {what} ({', '.join(sorted(found)) or 'none'}), "
                f"expected {expected}; save a signature that takes an image and returns its scores"
            )
    ((argument, value),) = inputs.items()

    def call(images: Any) -> Any:
        return model.signatures[name](**{argument: images})  # the variables live as long as the model

    shape = None if value.shape.rank is None else tuple(value.shape.as_list())
    return Function(call, shape, value.dtype.name)

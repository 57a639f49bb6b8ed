"""A checked ONNX graph is cleaned, written as `float.onnx` and described: the end of every source's `load`."""

import onnx

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.core.files import aside
from lowbit.core.model import GRAPH, FloatModel
from lowbit.graph.clean import clean
from lowbit.graph.products import layer_macs
from lowbit.graph.scores import kind_of_scores
from lowbit.graph.values import dims, image_input
from lowbit.sources._edge import SourceRequest


def write_float(
    model: onnx.ModelProto,
    request: SourceRequest,
    *,
    name: str,
    source_digest: str,
    random_weights: bool = False,
    notes: tuple[str, ...] = (),
    class_names: tuple[str, ...] = (),
) -> FloatModel:
    """Write `out/float.onnx`; BadInput when the graph and the data do not fit together."""
    cleaned = clean(model, request.spec)
    image, scores = image_input(cleaned), cleaned.graph.output[0]
    _, channels, height, width = _fixed(image)
    _check_fit((channels, height, width), request)

    path = request.out / GRAPH
    with aside(path) as temporary:
        temporary.write_bytes(cleaned.SerializeToString(deterministic=True))
    return FloatModel(
        path=path,
        digest=digest.of_files([path]),
        name=name,
        source=request.spec,
        source_digest=source_digest,
        input_name=image.name,
        output_name=scores.name,
        input_shape=(channels, height, width),
        outputs=_fixed(scores)[1],
        probabilities=kind_of_scores(cleaned) in ("softmax", "sigmoid"),
        random_weights=random_weights,
        notes=notes,
        layer_macs=layer_macs(cleaned),
        class_names=class_names if len(class_names) == _fixed(scores)[1] else (),
    )


def _fixed(value: onnx.ValueInfoProto) -> list[int]:
    """The sides of a value in a cleaned graph, where only the batch (given as 0) is free."""
    return [side if isinstance(side, int) else 0 for side in dims(value) or []]


def _check_fit(shape: tuple[int, int, int], request: SourceRequest) -> None:
    if request.input_size is not None and request.input_size != shape[1:]:
        raise BadInput(
            f"--input-size {_size(request.input_size)}: {request.spec} takes images of {_size(shape[1:])}; "
            "leave the option out"
        )
    if shape != request.sample_shape:
        raise BadInput(
            f"{request.spec}: takes images of {_sides(shape)}, but preprocessing {request.preprocess.name!r} makes "
            f"{_sides(request.sample_shape)} (channels × height × width); set resize, crop and channels of --preprocess"
        )


def _size(size: tuple[int, ...]) -> str:
    return "x".join(str(side) for side in size)


def _sides(shape: tuple[int, int, int]) -> str:
    return " × ".join(str(side) for side in shape)

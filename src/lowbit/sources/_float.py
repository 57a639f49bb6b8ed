"""A checked ONNX graph is cleaned, written as `float.onnx` and described: the end of every source's `load`."""

import onnx

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.core.files import aside
from lowbit.core.model import FloatModel
from lowbit.graph.check import dims, image_input
from lowbit.graph.clean import clean, ends_in_softmax
from lowbit.graph.products import layer_macs
from lowbit.sources._edge import SourceRequest

GRAPH = "float.onnx"


def write_float(
    model: onnx.ModelProto, request: SourceRequest, *, name: str, source_digest: str, random_weights: bool = False
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
        probabilities=ends_in_softmax(cleaned),
        random_weights=random_weights,
        layer_macs=layer_macs(cleaned),
    )


def _fixed(value: onnx.ValueInfoProto) -> list[int]:
    """The sides of a value in a cleaned graph, where only the batch (given as 0) is free."""
    return [side if isinstance(side, int) else 0 for side in dims(value) or []]


def _check_fit(shape: tuple[int, int, int], request: SourceRequest) -> None:
    if shape != request.sample_shape:
        raise BadInput(
            f"{request.spec}: takes images of {_sides(shape)}, but preprocessing {request.preprocess.name!r} makes "
            f"{_sides(request.sample_shape)} (channels × height × width); set resize, crop and channels of --preprocess"
        )


def _sides(shape: tuple[int, int, int]) -> str:
    return " × ".join(str(side) for side in shape)

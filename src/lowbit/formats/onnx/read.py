"""What an ONNX file says of itself: shapes, metadata, and what its layers' weights take."""

from math import prod
from pathlib import Path

from lowbit.core.errors import UnsupportedError
from lowbit.core.refusal import vendor_call
from lowbit.formats.facts import FileFacts

# Operators that take the range of the whole tensor before they quantize it.
_DYNAMIC = frozenset({"DynamicQuantizeLinear", "DynamicQuantizeLSTM", "DynamicQuantizeMatMul"})


def read_onnx(path: Path) -> FileFacts:
    """Weights in files beside it are not read. Raises UnsupportedError where it is no ONNX file."""
    import onnx

    from lowbit.graph.nested import with_nested
    from lowbit.graph.scores import kind_of_scores

    with vendor_call("it is no ONNX file that can be read", path):
        model = onnx.load(path, load_external_data=False)
    initializers = {tensor.name for tensor in model.graph.initializer}
    images = [value for value in model.graph.input if value.name not in initializers]
    if len(images) != 1 or not model.graph.output:
        raise UnsupportedError(
            f"{path.name} has {len(images)} inputs and {len(model.graph.output)} outputs, one of each was expected"
        )
    (image,) = images
    shape = [dim.dim_value for dim in image.type.tensor_type.shape.dim]
    scores = [dim.dim_value for dim in model.graph.output[0].type.tensor_type.shape.dim]
    bytes_of: dict[str, int] = {}
    for tensor in model.graph.initializer:
        layer, colon, part = tensor.name.rpartition(":w")
        if colon and (not part or part.isdigit()):
            bytes_of[layer] = bytes_of.get(layer, 0) + len(tensor.raw_data)
    metadata = {entry.key: entry.value for entry in model.metadata_props}
    dynamic = any(node.op_type in _DYNAMIC for graph in with_nested(model.graph) for node in graph.node)
    kind = kind_of_scores(model)
    return FileFacts(
        input_shape=tuple(shape[1:]),
        outputs=prod(scores[1:]) if scores else 0,
        batch_size=shape[0] or None if shape else None,
        metadata=metadata,
        weight_bytes=bytes_of,
        results=len(model.graph.output),
        probabilities=None if kind is None else kind != "logits",
        dynamic=dynamic,
    )

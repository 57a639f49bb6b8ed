"""A graph that was exported becomes the float graph; its source runs on images as the exported model does."""

from collections.abc import Callable

import onnx

from lowbit.graph.adapt import adapt
from lowbit.graph.values import dims, image_input
from lowbit.sources._batches import Run, in_its_own_form
from lowbit.sources._edge import HALF_TOLERANCE, TOLERANCE, Loaded, SourceRequest, free_size
from lowbit.sources._float import write_float

Opened = tuple[Run, tuple[str, ...]]


def from_graph(
    graph: onnx.ModelProto,
    request: SourceRequest,
    open_source: Callable[[tuple[str, ...]], Opened],
    *,
    name: str,
    source_digest: str,
    random_weights: bool = False,
    own_batch: bool = True,
) -> Loaded:
    """Adapt and clean `graph`, which has passed `check_graph`, and write the float graph.

    own_batch: whether a batch size that is fixed in the graph is the model's own, rather than of a conversion.
    open_source: gets the types of float besides float32 that the graph computes in; gives the model as it is, and what
    must be said where it does not run in those types.
    """
    adapted = adapt(graph, request.spec, request.sample_shape, free_size(request), own_batch=own_batch)
    run, notes = open_source(adapted.float_types)
    model = write_float(
        adapted.model,
        request,
        name=name,
        source_digest=source_digest,
        random_weights=random_weights,
        notes=(*adapted.notes, *notes),
    )
    batch = (dims(image_input(graph)) or [None])[0] if own_batch else None
    predict = in_its_own_form(run, adapted.layout, batch)
    half = adapted.float_types and not notes
    return Loaded(model, predict, HALF_TOLERANCE if half else TOLERANCE)

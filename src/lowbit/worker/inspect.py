"""Job `inspect`: reads a file's metadata, the bytes of its layers' weights, and what a runtime executes of it."""

import re
from collections.abc import Mapping, Set
from dataclasses import replace

from lowbit.core.adapter import OpPrecision, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import UnsupportedError
from lowbit.core.inspected import Inspected
from lowbit.formats.read import read_facts, read_stored
from lowbit.runtimes import find
from lowbit.worker.doing import doing
from lowbit.worker.jobs import InspectJob

_OPENVINO = "/WithoutBiases"  # what OpenVINO calls a layer whose bias it has taken off, and what it fused behind it


def run(job: InspectJob) -> Inspected:
    """Raises UnsupportedError for a file that does not state its input's shape or that the runtime refuses."""
    found = read_facts(job.path, job.format)
    if len(found.input_shape) != 3 or not all(found.input_shape):
        raise UnsupportedError(f"its input is {list(found.input_shape)} without the batch; [C, H, W] was expected")
    channels, height, width = found.input_shape
    artifact = Artifact(
        path=job.path,
        format=job.format,
        digest="",
        input_shape=(channels, height, width),
        outputs=found.outputs,
        batch_size=found.batch_size,
        runtime_options=job.runtime_options,
    )
    runtime = find.runtimes((job.runtime,))[job.runtime]
    doing(f"opening {job.path.name} in {job.runtime}")
    with runtime.open_session(artifact, SessionOptions(job.threads, found.batch_size or 1)) as session:
        operators = session.executed_precision()
    layers = {*job.layers, *found.weight_bytes}
    named = tuple(_renamed(operator, layers, found.layer_of) for operator in operators)
    return Inspected(found.metadata, found.weight_bytes, named, read_stored(job.path, job.format))


def _renamed(operator: OpPrecision, layers: Set[str], layer_of: Mapping[str, str]) -> OpPrecision:
    """Under its layer's name: runtimes append words (Conv_0/WithoutBiases), or name it by what it computes."""
    if not operator.macs:
        return operator
    name = layer_of.get(operator.name, operator.name).partition(_OPENVINO)[0]
    found = [layer for layer in layers if re.match(rf"{re.escape(layer)}(?!\w)", name)]
    return replace(operator, name=max(found, key=len, default=name))

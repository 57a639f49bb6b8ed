"""Job `profile`: times the operators of one file in one runtime with the runtime's own profiler."""

from pathlib import Path

import numpy as np

from lowbit.core.adapter import Floats, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.discover import require
from lowbit.core.errors import BadInput
from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE
from lowbit.core.profile import Profile
from lowbit.data.cache import open_samples
from lowbit.data.preprocess import to_input
from lowbit.formats.facts import FileFacts
from lowbit.formats.read import read_facts
from lowbit.measure.profile import Conditions, FloatGraph, profile
from lowbit.runtimes import find
from lowbit.worker.doing import doing
from lowbit.worker.jobs import ProfileJob

_TELL_THEIR_SHAPE = (ONNX.name, OPENVINO_IR.name, TFLITE.name)


def run(job: ProfileJob) -> Profile:
    """Open the file, measure its latency, and let the runtime time its operators.

    Raises BadInput where the pictures do not fit the file, and UnsupportedError where the runtime refuses the file or
    has no profiler.
    """
    runtime = find.runtimes((job.runtime,))[job.runtime]
    version = next(iter(require(runtime.INFO).values()), "")
    facts = read_facts(job.path, job.format) if job.format in _TELL_THEIR_SHAPE else None
    images = _images(job, facts)
    channels, height, width = images.shape[1:]
    artifact = Artifact(
        path=job.path,
        format=job.format,
        digest="",
        input_shape=(channels, height, width),
        outputs=facts.outputs if facts else 0,
        batch_size=facts.batch_size if facts else None,
        runtime_options=job.runtime_options,
    )
    nodes = job.nodes if job.graph is None else _nodes(job.graph)
    graph = FloatGraph(job.layers, nodes, facts.layer_of if facts else {})
    doing(f"opening {job.path.name} in {job.runtime}")
    with runtime.open_session(artifact, SessionOptions(job.threads, len(images))) as session:
        doing(f"profiling {job.path.name} in {job.runtime}")
        conditions = Conditions(job.path.name, job.runtime, version, job.threads, len(images))
        return profile(session, images, job.runs, graph, conditions)


def _images(job: ProfileJob, facts: FileFacts | None) -> Floats:
    """A batch of pictures as the model's input, repeated where there are fewer."""
    fixed = facts.batch_size if facts else None
    if fixed is not None and job.batch_size not in (None, fixed):
        raise BadInput(
            f"--batch-size {job.batch_size}: {job.path.name} has a fixed batch of {fixed}; leave the option out"
        )
    size = fixed or job.batch_size or 1
    pictures = open_samples(job.samples, "calibration").images
    images = to_input(pictures[np.arange(size) % len(pictures)], job.preprocess)
    wanted = facts.input_shape if facts else images.shape[1:]
    if len(wanted) != 3 or any(side not in (0, here) for side, here in zip(wanted, images.shape[1:], strict=True)):
        raise BadInput(
            f"{job.path.name}: takes images of {_sides(wanted)}, but preprocessing {job.preprocess.name!r} makes "
            f"{_sides(images.shape[1:])} (channels × height × width); set resize, crop and channels of --preprocess"
        )
    return images


def _sides(shape: tuple[int, ...]) -> str:
    return " × ".join(str(side) for side in shape)


def _nodes(graph: Path) -> tuple[str, ...]:
    """Names of the float graph's nodes; one without a name bears that of its first output."""
    import onnx  # imported late, because the parent process imports this module too

    model = onnx.load(graph, load_external_data=False)
    return tuple(node.name or node.output[0] for node in model.graph.node)

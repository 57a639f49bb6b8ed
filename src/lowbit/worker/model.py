"""Job `model`: converts the user's model to a float graph, and compares it with its source on real samples."""

from dataclasses import replace

from lowbit.core.adapter import SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.files import folder_aside
from lowbit.core.model import GRAPH, FloatModel
from lowbit.data.cache import open_samples
from lowbit.data.picture import UNLABELLED
from lowbit.data.preprocess import to_input
from lowbit.runtimes import find as runtimes
from lowbit.sources import find as sources
from lowbit.sources._edge import SourceRequest
from lowbit.sources.check import check_against_source
from lowbit.worker.doing import doing
from lowbit.worker.jobs import ModelJob

_CHECKED = 33  # images: an odd number reveals a graph whose batch size is not really free


def float_artifact(model: FloatModel) -> Artifact:
    """The float graph as an artifact that a runtime can open."""
    return Artifact(
        path=model.path,
        format="onnx",
        digest=model.digest,
        input_shape=model.input_shape,
        outputs=model.outputs,
    )


def run(job: ModelJob) -> FloatModel:
    """Write `job.out`/float.onnx. The result states the largest difference from the source's scores."""
    import onnx  # imported late, because the parent process imports this module too

    from lowbit.graph.scores import are_probabilities

    calibration = open_samples(job.samples, "calibration")
    images = to_input(calibration.images[:_CHECKED], job.preprocess)
    with folder_aside(job.out) as folder:
        source = sources.find(job.spec)
        doing(f"loading {job.spec}")
        loaded = source.load(
            SourceRequest(
                spec=job.spec,
                weights=job.weights,
                sample_shape=images.shape[1:],
                outputs=None if calibration.class_names == (UNLABELLED,) else len(calibration.class_names),
                calibration=calibration,
                preprocess=job.preprocess,
                out=folder,
                seed=job.seed,
                threads=job.threads,
                structure_only=job.structure_only,
                input_size=job.input_size,
                trust=job.trust,
            )
        )
        if job.structure_only:
            return replace(loaded.model, path=job.out / GRAPH)
        runtime = runtimes.runtimes(("onnxruntime",))["onnxruntime"]
        options = SessionOptions(threads=job.threads, batch_size=len(images))
        doing("running the float graph in onnxruntime and its source beside it")
        with runtime.open_session(float_artifact(loaded.model), options) as session:
            scores = session.predict(images)
        difference = check_against_source(lambda _: scores, loaded.predict, images, loaded.tolerance)
        probabilities = are_probabilities(onnx.load(loaded.model.path), scores)
    return replace(loaded.model, path=job.out / GRAPH, difference=difference, probabilities=probabilities)

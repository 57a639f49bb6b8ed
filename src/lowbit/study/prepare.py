"""What every cell starts from: samples, the float graph, and the float model's own answers."""

from dataclasses import dataclass, replace
from pathlib import Path

from lowbit.core.codec import from_plain
from lowbit.core.errors import BadInput, JobError, with_remedy
from lowbit.core.host import Host
from lowbit.core.model import FloatModel
from lowbit.core.outcome import Accuracy
from lowbit.core.samples import Samples
from lowbit.data.cache import open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.labels import output_index
from lowbit.measure.accuracy import Scoring
from lowbit.sources import find as sources
from lowbit.sources._edge import Source
from lowbit.sources._float import GRAPH
from lowbit.study import keys
from lowbit.study.ask import StudyRequest
from lowbit.study.execute.local import LocalExecutor, PlacedJob
from lowbit.study.store import Store
from lowbit.worker.accuracy import PREDICTIONS, RIGHT, SCORES
from lowbit.worker.jobs import AccuracyJob, JobResult, ModelJob, SamplesJob
from lowbit.worker.model import float_artifact

BATCH = 32  # images a call in accuracy passes, where the batch size does not change the answers


@dataclass(frozen=True, slots=True)
class Work:
    """What all stages of one study share."""

    request: StudyRequest
    store: Store
    executor: LocalExecutor
    host: Host

    @property
    def slots(self) -> int:
        """Children that may work side by side without sharing cores."""
        return max(1, self.host.cores // self.request.settings.threads)


@dataclass(frozen=True, slots=True)
class Inputs:
    """samples: the folder of both parts; reference: the folder of the float model's answers, named by its key."""

    model: FloatModel
    samples: Path
    calibration: Samples
    evaluation: Samples
    task: Scoring
    reference: Path
    reference_key: str
    float_accuracy: Accuracy


def prepare(work: Work) -> Inputs:
    """Run the three jobs without which there is no study. Raises BadInput for a model or data that cannot be used."""
    samples, model = samples_and_model(work)
    calibration, evaluation = open_samples(samples, "calibration"), open_samples(samples, "evaluation")
    outputs = output_index(evaluation.class_names, model.outputs, work.request.labels)
    task = Scoring(outputs, work.request.among, model.probabilities)
    threads = work.request.settings.threads
    key = keys.reference_key(model, evaluation, work.request.preprocess, task, threads, work.host)
    reference = work.store.reference(key)
    job = AccuracyJob(
        float_artifact(model), "onnxruntime", samples, work.request.preprocess, task, BATCH, threads, None, reference
    )
    leaves = tuple(reference / name for name in (SCORES, PREDICTIONS, RIGHT))
    answered = must(work, "float model", PlacedJob(model.name, job, _result(reference), work.store.logs(key), leaves))
    accuracy = from_plain(Accuracy, answered.data)
    return Inputs(model, samples, calibration, evaluation, task, reference, key, accuracy)


def samples_and_model(work: Work) -> tuple[Path, FloatModel]:
    """The folder of both parts of the data, and the float graph. Raises BadInput for what cannot be used."""
    source = sources.find(work.request.model)
    fingerprint = source.fingerprint(work.request.model, work.request.weights)  # a wrong path is told before decoding
    samples = _samples(work)
    return samples, _model(work, source, fingerprint, samples, open_samples(samples, "calibration"))


def _samples(work: Work) -> Path:
    request = work.request
    key = keys.samples_key(request, open_dataset(request.data, labelled=request.labelled).fingerprint())
    folder = work.store.samples(key)
    job = SamplesJob(
        data=request.data,
        preprocess=request.preprocess,
        calibration_samples=request.calibration_samples,
        seed=request.settings.seed,
        limit=request.limit,
        out=folder,
        workers=work.host.cores,
        labelled=request.labelled,
    )
    must(work, "data", PlacedJob(request.data, job, _result(folder), work.store.logs(key), (folder,)))
    return folder


def _model(work: Work, source: Source, fingerprint: str, samples: Path, calibration: Samples) -> FloatModel:
    request = work.request
    key = keys.model_key(request, fingerprint, source.INFO.packages, calibration.digest)
    folder = work.store.model(key)
    job = ModelJob(
        spec=request.model,
        weights=request.weights,
        samples=samples,
        preprocess=request.preprocess,
        out=folder,
        seed=request.settings.seed,
        threads=request.settings.threads,
    )
    task = PlacedJob(request.model, job, _result(folder), work.store.logs(key), (folder / GRAPH,))
    if not source.INFO.stable:  # user code may read what no fingerprint covers; the graph's own digest names the rest
        task.result.unlink(missing_ok=True)
    return replace(from_plain(FloatModel, must(work, "model", task).data), path=folder / GRAPH)


def _result(folder: Path) -> Path:
    """Where the result of a job lies that leaves a whole folder behind."""
    return folder.with_suffix(".json")


def must(work: Work, stage: str, task: PlacedJob) -> JobResult:
    """The result of a job without which nothing goes on; raises BadInput where it is unsupported."""
    [ended] = work.executor.run(stage, [task])
    if ended.end == "unsupported":
        raise BadInput(f"{task.name}: {with_remedy(ended.reason, ended.remedy)}")
    if ended.end != "done":
        raise JobError(f"{stage} {task.name}: {ended.reason}", work.store.folder / (ended.log or ""))
    return ended

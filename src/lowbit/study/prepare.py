"""Prepares what every cell starts from: samples, the float graph, and the float model's own scores."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from lowbit.core.cell import Outcome
from lowbit.core.errors import BadInput, JobError, with_remedy
from lowbit.core.model import GRAPH, FloatModel
from lowbit.core.outcome import Accuracy
from lowbit.core.samples import Samples
from lowbit.data.cache import open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.labels import index_by_name, output_index
from lowbit.measure.accuracy import Scoring
from lowbit.measure.stats import above_chance
from lowbit.sources import find as sources
from lowbit.sources._edge import Source
from lowbit.study import keys
from lowbit.study.ask import InputsAsk, StudyRequest
from lowbit.study.execute.local import LocalExecutor
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.store import Store
from lowbit.worker.accuracy import PREDICTIONS, RIGHT, SCORES
from lowbit.worker.jobs import AccuracyJob, ModelJob, SamplesJob
from lowbit.worker.model import float_artifact

Result = TypeVar("Result")

_LARGEST_CALL = 600_000  # numbers in the images of a call: what is computed from more leaves the processor's caches
_MOST_IMAGES = 32
_ENOUGH = 200  # images: with fewer, a poor model cannot be distinguished from guessing
_CHANCE_P = 0.05


@dataclass(frozen=True, slots=True)
class Work:
    """What all stages of one command share: the request for model and data, the study's folder, and the executor."""

    asked: InputsAsk
    store: Store
    executor: LocalExecutor

    @property
    def slots(self) -> int:
        """How many child processes may run at a time without sharing cores."""
        return max(1, self.executor.host.cores // self.asked.threads)


@dataclass(frozen=True, slots=True)
class Inputs:
    """What every cell starts from.

    - model: the float model
    - samples: the folder of calibration and evaluation images
    - calibration, evaluation: these images
    - task: how scores become predictions
    - reference: the folder of the float model's scores
    - reference_key: their key
    - float_accuracy: the float model's accuracy
    """

    model: FloatModel
    samples: Path
    calibration: Samples
    evaluation: Samples
    task: Scoring
    reference: Path
    reference_key: str
    float_accuracy: Accuracy


def prepare(work: Work, request: StudyRequest) -> Inputs:
    """Run the three jobs that every study needs. Raises BadInput for a model or data that cannot be used."""
    asked = work.asked
    samples, model = samples_and_model(work)
    model = replace(model, random_weights=model.random_weights or request.random_weights)
    calibration, evaluation = open_samples(samples, "calibration"), open_samples(samples, "evaluation")
    outputs, model = _outputs(request, model, evaluation.class_names)
    task = Scoring(outputs, request.among, model.probabilities, _threshold(request, model))
    key = keys.reference_key(model, evaluation, asked.preprocess, task, asked.threads, work.executor.host)
    reference = work.store.reference(key)
    size = images_a_call(model.input_shape)
    job = AccuracyJob(
        float_artifact(model), "onnxruntime", samples, asked.preprocess, task, size, asked.threads, None, reference
    )
    leaves = tuple(reference / name for name in (SCORES, PREDICTIONS, RIGHT))
    accuracy = must(work, "float model", PlacedJob(model.name, job, _result(reference), work.store.logs(key), leaves))
    if not model.random_weights:
        _check_above_chance(request, model, evaluation, accuracy)
    return Inputs(model, samples, calibration, evaluation, task, reference, key, accuracy)


def images_a_call(input_shape: tuple[int, int, int]) -> int:
    """Images per call in accuracy passes, where the batch size does not change the scores: 4 of 224 × 224 in colour.

    With 32 of these torch's fp32 takes 2.5 times as long for an image (54 ms instead of 22), OpenVINO's a third longer.
    """
    channels, height, width = input_shape
    return max(1, min(_MOST_IMAGES, _LARGEST_CALL // (channels * height * width)))


def _outputs(request: StudyRequest, model: FloatModel, names: tuple[str, ...]) -> tuple[tuple[int, ...], FloatModel]:
    """The model's output for each class of the data, and the model with a note of how that was found."""
    if model.random_weights and request.labels is None and len(names) <= model.outputs:
        return tuple(range(len(names))), model  # no accuracy is printed, so that any output will do
    found, note = outputs_of(model, names, request.labels)
    return found, replace(model, notes=(*model.notes, note)) if note else model


def outputs_of(model: FloatModel, names: tuple[str, ...], labels: Path | None) -> tuple[tuple[int, ...], str]:
    """For each class of the data the model's output that stands for it, and a note where names decided.

    By the user's file `labels`; by the names that both give their classes; else by place. Raises BadInput where none
    of these fits.
    """
    if labels is None and model.class_names:
        found = index_by_name(names, model.class_names)
        if found is not None:
            return found, "the data's classes are matched with the model's outputs by name"
    return output_index(names, model.outputs, labels), ""


def _threshold(request: StudyRequest, model: FloatModel) -> float | None:
    """The threshold between the two classes of a model with one output; None for a model with one output per class."""
    if model.outputs > 1:
        if request.threshold is not None:
            raise BadInput(
                f"--threshold {request.threshold:g}: {request.model} has {model.outputs} outputs; a threshold is for a "
                "model with one output for two classes: leave it out"
            )
        return None
    if request.threshold is not None:
        return request.threshold
    return 0.5 if model.probabilities else 0.0


def _check_above_chance(request: StudyRequest, model: FloatModel, evaluation: Samples, accuracy: Accuracy) -> None:
    """Raises BadInput where the float model is no better than guessing: most likely the labels do not fit."""
    names, n, correct = evaluation.class_names, accuracy.n_samples, accuracy.correct
    choices = len(names) if request.among == "data" else max(2, model.outputs)
    if len(names) < 2 or n < _ENOUGH or above_chance(correct, n, 1 / choices) < _CHANCE_P:
        return
    some = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    raise BadInput(
        f"{model.name} on {request.data}: the float model is right on {correct:,} of {n:,} images "
        f"({100 * correct / n:.2f} %), no better than guessing one of {choices:,} answers: do the labels fit? Look at "
        f"the order of the classes ({some}), at --labels, and at --preprocess"
    )


def samples_and_model(work: Work) -> tuple[Path, FloatModel]:
    """The samples' folder, and the float graph. Raises BadInput for a model or data that cannot be used."""
    source = sources.find(work.asked.model)
    fingerprint = source.fingerprint(work.asked.model, work.asked.weights)  # reports a wrong path before any decoding
    samples = samples_of(work)
    return samples, _model(work, source, fingerprint, samples, open_samples(samples, "calibration"))


def samples_of(work: Work) -> Path:
    """The folder of the decoded images. Raises BadInput for data that cannot be used."""
    asked = work.asked
    key = keys.samples_key(asked, open_dataset(asked.data, labelled=asked.labelled).fingerprint())
    folder = work.store.samples(key)
    job = SamplesJob(
        data=asked.data,
        preprocess=asked.preprocess,
        calibration_samples=asked.calibration_samples,
        seed=asked.seed,
        limit=asked.evaluated,
        out=folder,
        workers=work.executor.host.cores,
        labelled=asked.labelled,
        training_samples=asked.training_samples,
    )
    must(work, "data", PlacedJob(asked.data, job, _result(folder), work.store.logs(key), (folder,)))
    return folder


def _model(work: Work, source: Source, fingerprint: str, samples: Path, calibration: Samples) -> FloatModel:
    asked = work.asked
    key = keys.model_key(asked, fingerprint, source.INFO.packages, calibration.digest)
    folder = work.store.model(key)
    job = ModelJob(
        spec=asked.model,
        weights=asked.weights,
        samples=samples,
        preprocess=asked.preprocess,
        out=folder,
        seed=asked.seed,
        threads=asked.threads,
        structure_only=asked.structure_only,
        input_size=asked.input_size,
        trust=asked.trust,
    )
    task = PlacedJob(asked.model, job, _result(folder), work.store.logs(key), (folder / GRAPH,))
    if not source.INFO.stable:  # user code may read files that the fingerprint misses, so it runs every time
        task.result.unlink(missing_ok=True)
    return replace(must(work, "model", task), path=folder / GRAPH)


def _result(folder: Path) -> Path:
    """The result file of a job that writes a whole folder."""
    return folder.with_suffix(".json")


def must(work: Work, stage: str, task: PlacedJob[Result]) -> Result:
    """The result of a job that the whole command needs. Raises BadInput where the user's input cannot be used."""
    [ended] = work.executor.run(stage, [task])
    return result_of(ended, stage, task.name, work.store.folder)


def result_of(ended: Outcome[Result], stage: str, name: str, folder: Path) -> Result:
    """The result of a successful job. Raises BadInput for what the user must change, and JobError otherwise."""
    if ended.end == "bad-input":
        raise BadInput(ended.reason)
    if ended.end in ("unsupported", "missing"):
        raise BadInput(f"{name}: {with_remedy(ended.reason, ended.remedy)}")
    if ended.end != "done":
        raise JobError(f"{stage} {name}: {ended.reason}", folder / (ended.log or ""))
    return ended.result

"""`diff`: runs two files, each in a runtime, on the same pictures, and says how far they agree and where they part."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from lowbit.core import digest
from lowbit.core.adapter import Floats
from lowbit.core.difference import Difference, LayersDifference, ScoresDifference
from lowbit.core.errors import BadInput, with_remedy
from lowbit.core.format import ONNX
from lowbit.core.version import exact_version
from lowbit.data.cache import open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.split import split
from lowbit.measure.difference import CLOSE, compare_scores, verdict_of
from lowbit.study import sides
from lowbit.study.execute.local import Listener, LocalExecutor
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.prepare import result_of
from lowbit.study.sides import DiffRequest, FoundFile, Ready
from lowbit.study.store import Store, locked, working_folder
from lowbit.worker.accuracy import SCORES
from lowbit.worker.jobs import LayersJob, Nothing, Ran, ScoresJob

_IMAGES = 8  # pictures that single layers are run on
_TIME_LIMIT_S = 3600.0  # of one child process


def diff(request: DiffRequest, listener: Listener = lambda _: None) -> Difference:
    """Run both files and compare their scores; then their layers, where the scores differ and layers can be run alone.

    Raises BadInput for what the user must change: files, runtimes or data that do not fit; and where a runtime refuses
    a file.
    """
    files = [sides.found_file(request.first), sides.found_file(request.second or request.first)]
    names = [sides.runtime_of(file, request, place) for place, file in enumerate(files)]
    if files[0].path == files[1].path and names[0] == names[1]:
        raise BadInput(
            f"{files[0].path.name} in {names[0]} twice: expected two files or two runtimes; name those with "
            f"--runtimes {names[0]},OTHER"
        )
    if request.model is not None:
        files.append(sides.found_file(request.model))
        names.append("onnxruntime")
        if files[-1].format != ONNX.name:
            raise BadInput(f"--model {request.model}: expected the float model as an .onnx file")
    packages = [sides.installed(name) for name in names]
    with working_folder(request.cache) as folder, locked(folder.resolve(), "--cache") as store:
        executor = LocalExecutor(store.folder, _TIME_LIMIT_S, request.threads, listener)
        labelled = sides.labelled(request.data)
        ready = sides.ready(request, files, names, packages, labelled, store, executor)
        scores = _scores(ready, store, executor)
        found = _with_names(compare_scores(scores[0], scores[1]), request, labelled)
        layers, why_not = None, ""
        if found.equal_images < found.images and request.layers:
            layers, why_not = _layers(ready[0], ready[1], store, executor, far=found.error > CLOSE)
        same = files[0].digest == files[1].digest or (layers is not None and layers.same_numbers)
        classes = open_samples(ready[0].samples, "evaluation").class_names
        from_float = None
        if request.model is not None:
            from_float = (compare_scores(scores[2], scores[0], most=0), compare_scores(scores[2], scores[1], most=0))
        return Difference(
            verdict=verdict_of(found, same_network=same),
            first=ready[0].side,
            second=ready[1].side,
            same_network=same,
            data=request.data,
            scores=found,
            float_model=None if request.model is None else ready[2].side,
            from_float=from_float,
            layers=layers,
            no_layers=why_not,
            class_names=classes if len(classes) == found.outputs else (),
        )


def _scores(ready: Sequence[Ready], store: Store, executor: LocalExecutor) -> list[Floats]:
    """Scores [N, outputs] of every side, memory-mapped, each computed in a process of its own."""
    jobs: dict[str, PlacedJob[Nothing]] = {}
    keys = []
    for each in ready:
        side, artifact = each.side, each.artifact
        pictures = open_samples(each.samples, "evaluation").digest
        key = digest.of_value(
            [
                exact_version(), "scores", side.digest, side.format, artifact.batch_size, artifact.runtime_options,
                pictures, each.preprocess, side.runtime, side.versions, side.threads, side.batch_size,
                executor.host.id,
            ]
        )  # fmt: skip
        keys.append(key)
        place = store.reference(key)
        out = place / SCORES
        job = ScoresJob(artifact, side.runtime, each.samples, each.preprocess, side.batch_size, side.threads, out)
        jobs[key] = PlacedJob(each.name, job, place.with_suffix(".json"), store.logs(key), leaves=(out,))
    slots = max(1, executor.host.cores // executor.threads)
    for placed, outcome in zip(jobs.values(), executor.run("scores", list(jobs.values()), slots), strict=True):
        result_of(outcome, "scores", placed.name, store.folder)
    scores = [np.load(store.reference(key) / SCORES, mmap_mode="r") for key in keys]
    for each, found in zip(ready, scores, strict=True):
        if found.shape != scores[0].shape:
            raise BadInput(
                f"{each.file.path.name} gives {found.shape[1]} scores a picture, {ready[0].file.path.name} "
                f"{scores[0].shape[1]}: expected versions of the same classifier"
            )
    return scores


def _with_names(found: ScoresDifference, request: DiffRequest, labelled: bool) -> ScoresDifference:
    """`found` with the names of the pictures that it lists."""
    dataset = open_dataset(request.data, labelled=labelled)
    chosen = split(dataset, calibration_samples=0, seed=sides.SEED, limit=request.limit)
    places = sorted(picture.index for picture in found.farthest)  # pictures are read in ascending order
    pictures = chosen.evaluation_from.pictures(chosen.evaluation[places].tolist())
    names = {place: picture.name for place, picture in zip(places, pictures, strict=True)}
    root = f"{dataset.root}/"
    named = tuple(replace(picture, name=names[picture.index].removeprefix(root)) for picture in found.farthest)
    return replace(found, farthest=named)


def _layers(
    first: Ready, second: Ready, store: Store, executor: LocalExecutor, *, far: bool
) -> tuple[LayersDifference | None, str]:
    """The layers run one by one; or None, and why not. `far`: whether the scores are far apart."""
    if replace(first.preprocess, name="") != replace(second.preprocess, name=""):
        return None, "the two files want other preprocessing, so that their layers read other numbers"
    ran = [Ran(each.artifact, each.side.runtime, _evidence(each.file, store)) for each in (first, second)]
    job = LayersJob(
        first=ran[0],
        second=ran[1],
        samples=first.samples,
        preprocess=first.preprocess,
        images=_IMAGES,
        threads=executor.threads,
        same_file=first.side.digest == second.side.digest,
        together=far,
    )
    versions = [first.side.versions, second.side.versions]
    key = digest.of_value([exact_version(), "layers", job, versions, executor.host.id])
    placed = PlacedJob(f"{first.name} and {second.name}", job, store.build_result(f"layers-{key}"), store.logs(key))
    [outcome] = executor.run("layers", [placed])
    return outcome.value, with_remedy(outcome.reason, outcome.remedy)


def _evidence(file: FoundFile, store: Store) -> Path | None:
    """What the file's build left for verification: in its study, or in the cache of this command."""
    if file.manifest is None or not file.manifest.verifiable:
        return None
    stores = (store, Store(file.path.parent.parent.parent))  # STUDY/artifacts/NAME/FILE
    found = (each.evidence(file.manifest.key) for each in stores)
    return next((folder for folder in found if folder.is_dir()), None)

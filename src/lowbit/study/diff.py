"""`diff`: runs two files, each in a runtime, on the same pictures, and says how far they agree and where they part."""

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from lowbit.core import digest
from lowbit.core.artifact import Artifact, Manifest
from lowbit.core.cell import Outcome
from lowbit.core.codec import from_plain
from lowbit.core.difference import Difference, LayersDifference, ScoresDifference, Side
from lowbit.core.discover import require
from lowbit.core.errors import BadInput, LowbitError, MissingPackage, with_remedy
from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE, file_format, format_of_suffix
from lowbit.core.preprocess import Preprocess
from lowbit.core.version import exact_version
from lowbit.data.cache import open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.split import split
from lowbit.formats.facts import FileFacts
from lowbit.measure.difference import CLOSE, compare_scores, verdict_of
from lowbit.runtimes import find
from lowbit.study.ask import InputsAsk
from lowbit.study.execute.local import Listener, LocalExecutor, PlacedJob
from lowbit.study.inspection import artifact_at
from lowbit.study.prepare import BATCH, Work, result_of, samples_of
from lowbit.study.store import Store, locked
from lowbit.worker.jobs import FactsJob, LayersJob, Ran, ScoresJob

_READABLE = (ONNX, OPENVINO_IR, TFLITE)
_IMAGES = 8  # pictures that single layers are run on
_SEED = 0  # draws the pictures where there is a limit
_TIME_LIMIT_S = 3600.0  # of one child process


@dataclass(frozen=True, slots=True)
class DiffRequest:
    """What one `lowbit diff` asks for.

    - first, second: a file, or an artifact's folder; second may be None where two runtimes are named
    - data: as the user named it
    - preprocess: how a picture becomes the input of both; None: what each file says of itself
    - runtimes: one for both or one for each; empty: those that the files are made for
    - limit: on how many pictures; None: all
    - model: the float model, an ONNX file that is run in ONNX Runtime
    - threads: of one session
    - layers: whether to look for the layer at which they part
    - cache: a folder that keeps samples and scores, and what a build of our own engine left there
    """

    first: Path
    second: Path | None
    data: str
    preprocess: Preprocess | None = None
    runtimes: tuple[str, ...] = ()
    limit: int | None = None
    model: Path | None = None
    threads: int = 1
    layers: bool = True
    cache: Path | None = None

    def __post_init__(self) -> None:
        for good, option, value, expected in (
            (self.limit is None or self.limit >= 1, "--limit", self.limit, "1 or more pictures, or leave it out"),
            (self.threads >= 1, "--threads", self.threads, "1 or more"),
            (
                len(self.runtimes) <= 2, "--runtimes", ",".join(self.runtimes),
                "one name for both files, or one for each",
            ),
            (
                self.second is not None or len(set(self.runtimes)) == 2, "B is missing:", f"only {self.first} is given",
                "another file, or two runtimes for this one, as in --runtimes onnxruntime,openvino",
            ),
        ):  # fmt: skip
            if not good:
                raise BadInput(f"{option} {value}: expected {expected}")


@dataclass(frozen=True, slots=True)
class _File:
    """A file that was found on the disk, with its manifest where there is one."""

    path: Path
    format: str
    manifest: Manifest | None
    digest: str

    @property
    def made_by(self) -> str:
        """toolchain/recipe; empty where it is not known."""
        return "" if self.manifest is None else f"{self.manifest.toolchain}/{self.manifest.recipe.name}"

    @property
    def dynamic(self) -> bool:
        """Whether its ranges are taken over a whole call, so that scores depend on the number of images in it."""
        return self.manifest is not None and self.manifest.recipe.claim == "dynamic"


def diff(request: DiffRequest, listener: Listener = lambda _: None) -> Difference:
    """Run both files and compare their scores; then their layers, where the scores differ and layers can be run alone.

    Raises BadInput for what the user must change: files, runtimes or data that do not fit; and where a runtime refuses
    a file.
    """
    files = [_file(request.first), _file(request.second or request.first)]
    names = [_runtime(file, request, place) for place, file in enumerate(files)]
    if request.model is not None:
        files.append(_file(request.model))
        names.append("onnxruntime")
        if files[-1].format != ONNX.name:
            raise BadInput(f"--model {request.model}: expected the float model as an .onnx file")
    if files[0].path == files[1].path and names[0] == names[1] and not request.runtimes:
        raise BadInput(
            f"{files[0].path} in {names[0]} twice: expected two files or two runtimes; name them with "
            f"--runtimes {names[0]},OTHER"
        )
    sides = [
        Side(
            path=file.path,
            format=file.format,
            digest=file.digest,
            made_by=file.made_by,
            runtime=name,
            versions=_installed(name),
            threads=request.threads,
            batch_size=1 if file.dynamic else BATCH,
        )
        for file, name in zip(files, names, strict=True)
    ]
    with _folder(request.cache) as folder, locked(folder.resolve(), "--cache") as store:
        executor = LocalExecutor(store.folder, _TIME_LIMIT_S, request.threads, listener)
        return _compared(request, files, sides, store, executor)


def _compared(
    request: DiffRequest, files: Sequence[_File], sides: Sequence[Side], store: Store, executor: LocalExecutor
) -> Difference:
    facts = _facts(files, store, executor)
    preprocesses = [_preprocess(request, file, fact) for file, fact in zip(files, facts, strict=True)]
    known = next((each for each in preprocesses if each is not None), None)
    if known is None:
        raise BadInput(
            f"--preprocess is missing: neither {request.first} nor the other file says how a picture becomes its "
            "input; declare it, as in --preprocess imagenet"
        )
    preprocess = [each or known for each in preprocesses]
    labelled = _labelled(request.data)
    works = [_work(request, each, labelled, store, executor) for each in preprocess]
    samples = [samples_of(work) for work in works]  # the same folder where preprocessing is the same
    artifacts = [_artifact(file, fact, sample, facts) for file, fact, sample in zip(files, facts, samples, strict=True)]
    jobs, kept = [], []
    for side, artifact, sample, each in zip(sides, artifacts, samples, preprocess, strict=True):
        pictures = open_samples(sample, "evaluation").digest
        key = digest.of_value(
            [
                exact_version(), "scores", side.digest, side.format, artifact.batch_size, artifact.runtime_options,
                pictures, each, side.runtime, side.versions, side.threads, side.batch_size, executor.host.id,
            ]
        )  # fmt: skip
        home = store.reference(key)
        kept.append(home / "scores.npy")
        job = ScoresJob(artifact, side.runtime, sample, each, side.batch_size, side.threads, kept[-1])
        jobs.append(PlacedJob(_shown(side), job, home.with_suffix(".json"), store.logs(key), leaves=(kept[-1],)))
    outcomes = executor.run("scores", jobs, works[0].slots)
    for placed, outcome in zip(jobs, outcomes, strict=True):
        result_of(outcome, "scores", placed.name, store.folder)
    scores = [np.load(path, mmap_mode="r") for path in kept]
    for side, each in zip(sides, scores, strict=True):
        if each.shape != scores[0].shape:
            raise BadInput(
                f"{side.path.name} gives {each.shape[1]} scores a picture, {sides[0].path.name} {scores[0].shape[1]}: "
                "expected versions of the same classifier"
            )
    found = _with_names(compare_scores(scores[0], scores[1]), request, labelled)
    layers, why_not = None, ""
    if found.equal_images < found.images and request.layers:
        layers, why_not = _layers(request, files, sides, artifacts, samples, preprocess, store, executor, found.error)
    same = files[0].digest == files[1].digest or (layers is not None and layers.same_numbers)
    classes = open_samples(samples[0], "evaluation").class_names
    return Difference(
        verdict=verdict_of(found, same_network=same),
        first=sides[0],
        second=sides[1],
        same_network=same,
        data=request.data,
        scores=found,
        float_model=sides[2] if len(sides) > 2 else None,
        from_float=(
            (compare_scores(scores[2], scores[0], most=0), compare_scores(scores[2], scores[1], most=0))
            if len(sides) > 2
            else None
        ),
        layers=layers,
        no_layers=why_not,
        class_names=classes if len(classes) == found.outputs else (),
    )


def _file(path: Path) -> _File:
    file, manifest, _ = artifact_at(path)
    guessed = format_of_suffix(file.suffix)
    if manifest is None and guessed not in _READABLE:
        endings = ", ".join(each.main_suffix for each in _READABLE)
        raise BadInput(f"{path}: no artifact; expected a file ending in {endings}, or an artifact's folder")
    if not file.is_file():
        raise BadInput(f"{file}: no such file, though {path} names it; build it again")
    form = manifest.format if manifest is not None else guessed.name if guessed is not None else ""
    parts = [file.with_suffix(suffix) for suffix in file_format(form).suffixes]
    if manifest is not None:
        parts = [file.parent / name for name in manifest.files]
    for part in parts:
        if not part.is_file():
            raise BadInput(f"{part}: no such file; {file.name} is read together with it: copy it there")
    return _File(file.resolve(), form, manifest, digest.of_files([part.resolve() for part in parts]))


def _runtime(file: _File, request: DiffRequest, place: int) -> str:
    """The runtime for a side: as the user says; else the first that the file is made for; else the most special one."""
    readers = {
        name: module.INFO
        for name, module in find.runtimes(request.runtimes).items()
        if file.format in module.INFO.reads
    }
    if request.runtimes:
        name = request.runtimes[min(place, len(request.runtimes) - 1)]
        if name not in readers:
            raise BadInput(f"--runtimes {name}: it does not read {file.format}, which {file.path.name} is")
        return name
    made_for = () if file.manifest is None else file.manifest.made_for
    known = [name for name in made_for if name in readers]
    if not readers:
        raise BadInput(f"{file.path}: no runtime reads {file.format}; name a hidden one with --runtimes")
    return known[0] if known else min(readers, key=lambda name: len(readers[name].reads))


def _installed(runtime: str) -> dict[str, str]:
    try:
        return require(find.runtimes((runtime,))[runtime].INFO)
    except MissingPackage as error:
        raise BadInput(f"{runtime} cannot run here: {error}") from error


def _facts(files: Sequence[_File], store: Store, executor: LocalExecutor) -> list[FileFacts | None]:
    """What each file says of itself; None for formats that say nothing."""
    known = {each.name for each in _READABLE}
    due = {file.digest: file for file in files if file.format in known}
    jobs = []
    for file in due.values():
        key = digest.of_value([exact_version(), "facts", str(file.path), file.digest])
        result = store.build_result(f"facts-{key}")
        jobs.append(PlacedJob(file.path.name, FactsJob(file.path, file.format), result, store.logs(key)))
    outcomes = executor.run("read", jobs)
    found = {
        one: result_of(outcome, "read", placed.name, store.folder)
        for one, placed, outcome in zip(due, jobs, outcomes, strict=True)
    }
    return [found.get(file.digest) for file in files]


def _preprocess(request: DiffRequest, file: _File, facts: FileFacts | None) -> Preprocess | None:
    """What the user says, or the manifest, or the file's own metadata; None where none of them says anything."""
    if request.preprocess is not None:
        return request.preprocess
    if file.manifest is not None:
        return file.manifest.preprocess
    said = None if facts is None else facts.metadata.get("lowbit.preprocess")
    return None if said is None else from_plain(Preprocess, json.loads(said))


def _labelled(data: str) -> bool:
    """Whether the data has labels. They name its test part and its classes; nothing is measured against them."""
    try:
        open_dataset(data)
    except BadInput:
        return False
    return True


def _work(request: DiffRequest, preprocess: Preprocess, labelled: bool, store: Store, executor: LocalExecutor) -> Work:
    asked = InputsAsk(
        model=str(request.first),
        data=request.data,
        preprocess=preprocess,
        calibration_samples=0,
        evaluated=request.limit,
        labelled=labelled,
        seed=_SEED,
        threads=request.threads,
    )
    return Work(asked, store, executor)


def _artifact(file: _File, facts: FileFacts | None, samples: Path, others: Sequence[FileFacts | None]) -> Artifact:
    """The file as a runtime opens it. A size that it leaves free is that of the pictures."""
    height, width, channels = open_samples(samples, "evaluation").images.shape[1:]
    shape = (channels, height, width)
    said = shape if facts is None else facts.input_shape
    if len(said) != len(shape) or any(side not in (0, size) for side, size in zip(said, shape, strict=True)):
        raise BadInput(
            f"{file.path.name} takes images {list(said)}, preprocessing makes {list(shape)} [C, H, W] of the pictures: "
            "look at --preprocess"
        )
    batch_size = facts.batch_size if facts is not None else file.manifest.batch_size if file.manifest else None
    return Artifact(
        path=file.path,
        format=file.format,
        digest=file.digest,
        input_shape=shape,
        outputs=next((each.outputs for each in (facts, *others) if each is not None), 0),
        batch_size=batch_size,
        runtime_options={} if file.manifest is None else file.manifest.runtime_options,
    )


def _with_names(found: ScoresDifference, request: DiffRequest, labelled: bool) -> ScoresDifference:
    """`found` with the names of the pictures that it lists."""
    dataset = open_dataset(request.data, labelled=labelled)
    chosen = split(dataset, calibration_samples=0, seed=_SEED, limit=request.limit)
    places = sorted(picture.index for picture in found.farthest)  # pictures are read in ascending order
    pictures = chosen.evaluation_from.pictures(chosen.evaluation[places].tolist())
    names = {place: picture.name for place, picture in zip(places, pictures, strict=True)}
    named = tuple(replace(picture, name=names[picture.index]) for picture in found.farthest)
    return replace(found, farthest=named)


def _layers(
    request: DiffRequest,
    files: Sequence[_File],
    sides: Sequence[Side],
    artifacts: Sequence[Artifact],
    samples: Sequence[Path],
    preprocess: Sequence[Preprocess],
    store: Store,
    executor: LocalExecutor,
    error: float,
) -> tuple[LayersDifference | None, str]:
    """The layers run one by one; or None, and why not."""
    if replace(preprocess[0], name="") != replace(preprocess[1], name=""):
        return None, "the two files want other preprocessing, so that their layers read other numbers"
    first, second = (
        Ran(artifact, side.runtime, _evidence(file, store))
        for file, side, artifact in zip(files[:2], sides[:2], artifacts[:2], strict=True)
    )
    job = LayersJob(
        first=first,
        second=second,
        samples=samples[0],
        preprocess=preprocess[0],
        images=_IMAGES,
        threads=request.threads,
        same_file=files[0].digest == files[1].digest,
        together=error > CLOSE,
    )
    key = digest.of_value([exact_version(), "layers", job, [side.versions for side in sides[:2]], executor.host.id])
    name = f"{_shown(sides[0])} and {_shown(sides[1])}"
    placed = PlacedJob(name, job, store.build_result(f"layers-{key}"), store.logs(key))
    outcome: Outcome[LayersDifference]
    [outcome] = executor.run("layers", [placed])
    return outcome.value, with_remedy(outcome.reason, outcome.remedy)


def _evidence(file: _File, store: Store) -> Path | None:
    """What the file's build left for verification: in its study, or in the cache of this command."""
    if file.manifest is None or not file.manifest.verifiable:
        return None
    stores = (store, Store(file.path.parent.parent.parent))  # STUDY/artifacts/NAME/FILE
    found = (each.evidence(file.manifest.key) for each in stores)
    return next((folder for folder in found if folder.is_dir()), None)


def _shown(side: Side) -> str:
    return f"{side.path.name}@{side.runtime}"


@contextmanager
def _folder(cache: Path | None) -> Iterator[Path]:
    """The cache, or a temporary folder. The latter is kept after a failure, because it holds the log."""
    if cache is not None:
        yield cache
        return
    folder = Path(tempfile.mkdtemp(prefix="lowbit-"))
    failed = False
    try:
        yield folder
    except LowbitError as error:
        failed = not isinstance(error, BadInput)
        raise
    finally:
        if not failed:
            shutil.rmtree(folder, ignore_errors=True)

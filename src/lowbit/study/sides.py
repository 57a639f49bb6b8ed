"""The sides of a `diff`: which files they are, in which runtimes they run, and on which pictures."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from lowbit.core import digest
from lowbit.core.artifact import Artifact, Manifest
from lowbit.core.codec import from_plain
from lowbit.core.difference import Side
from lowbit.core.discover import require
from lowbit.core.errors import BadInput, MissingPackage
from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE, format_of_suffix
from lowbit.core.preprocess import Preprocess
from lowbit.core.version import exact_version
from lowbit.data.cache import open_samples
from lowbit.data.datasets import open_dataset
from lowbit.formats.facts import FileFacts
from lowbit.formats.read import together
from lowbit.runtimes import find
from lowbit.study.ask import InputsAsk
from lowbit.study.execute.local import LocalExecutor
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.inspection import artifact_at
from lowbit.study.prepare import Work, images_a_call, result_of, samples_of
from lowbit.study.store import Store
from lowbit.worker.jobs import FactsJob

SEED = 0  # draws the pictures where there is a limit
_READABLE = (ONNX, OPENVINO_IR, TFLITE)


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
class FoundFile:
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


@dataclass(frozen=True, slots=True)
class Ready:
    """A side that can be run: its file as a runtime opens it, and the pictures in the form that it wants."""

    file: FoundFile
    side: Side
    artifact: Artifact
    preprocess: Preprocess
    samples: Path

    @property
    def name(self) -> str:
        """The name that users see while it runs."""
        return f"{self.file.path.name}@{self.side.runtime}"


def ready(
    request: DiffRequest,
    files: Sequence[FoundFile],
    names: Sequence[str],
    packages: Sequence[dict[str, str]],
    has_labels: bool,
    store: Store,
    executor: LocalExecutor,
) -> list[Ready]:
    """The sides, their pictures decoded. Files that want the same preprocessing share them."""
    facts = _facts(files, store, executor)
    said = [_preprocess(request, file, fact) for file, fact in zip(files, facts, strict=True)]
    known = next((each for each in said if each is not None), None)
    if known is None:
        raise BadInput(
            f"--preprocess is missing: no file says how a picture becomes the input of {files[0].path.name}; declare "
            "it, as in --preprocess imagenet"
        )
    found = []
    for file, name, versions, fact, own in zip(files, names, packages, facts, said, strict=True):
        preprocess = own or known
        samples = samples_of(_work(request, preprocess, has_labels, store, executor))
        artifact = _artifact(file, fact, samples, facts)
        dynamic = file.dynamic or (fact is not None and fact.dynamic)
        side = Side(
            path=file.path,
            format=file.format,
            digest=file.digest,
            made_by=file.made_by,
            runtime=name,
            versions=versions,
            threads=request.threads,
            batch_size=artifact.batch_size or (1 if dynamic else images_a_call(artifact.input_shape)),
        )
        found.append(Ready(file, side, artifact, preprocess, samples))
    return found


def found_file(path: Path) -> FoundFile:
    """The file at `path`, or of the artifact whose folder it is. Raises BadInput where there is none."""
    file, manifest, _ = artifact_at(path)
    guessed = format_of_suffix(file.suffix)
    if manifest is None and guessed not in _READABLE:
        endings = ", ".join(each.main_suffix for each in _READABLE)
        raise BadInput(f"{path}: no artifact; expected a file ending in {endings}, or an artifact's folder")
    if not file.is_file():
        raise BadInput(f"{file}: no such file, though {path} names it; build it again")
    form = manifest.format if manifest is not None else guessed.name if guessed is not None else ""
    for part in (parts := _parts(file, form, manifest)):
        if not part.is_file():
            raise BadInput(f"{part}: no such file; {file.name} is read together with it: copy it there")
    return FoundFile(file.resolve(), form, manifest, digest.of_files([part.resolve() for part in parts]))


def _parts(file: Path, form: str, manifest: Manifest | None) -> list[Path]:
    """All files that a runtime reads together."""
    if manifest is not None:
        return [file.parent / name for name in manifest.files]
    return together(file, form)


def runtime_of(file: FoundFile, request: DiffRequest, place: int) -> str:
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


def installed(runtime: str) -> dict[str, str]:
    """The versions of the runtime's packages; BadInput where one is missing."""
    try:
        return require(find.runtimes((runtime,))[runtime].INFO)
    except MissingPackage as error:
        raise BadInput(f"{runtime} cannot run here: {error}") from error


def _facts(files: Sequence[FoundFile], store: Store, executor: LocalExecutor) -> list[FileFacts | None]:
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


def _preprocess(request: DiffRequest, file: FoundFile, facts: FileFacts | None) -> Preprocess | None:
    """What the user says, or the manifest, or the file's own metadata; None where none of them says anything."""
    if request.preprocess is not None:
        return request.preprocess
    if file.manifest is not None:
        return file.manifest.preprocess
    said = None if facts is None else facts.metadata.get("lowbit.preprocess")
    return None if said is None else from_plain(Preprocess, json.loads(said))


def labelled(data: str) -> bool:
    """Whether the data has labels. They name its test part and its classes; nothing is measured against them."""
    try:
        open_dataset(data)
    except BadInput:
        return False
    return True


def _work(
    request: DiffRequest, preprocess: Preprocess, has_labels: bool, store: Store, executor: LocalExecutor
) -> Work:
    asked = InputsAsk(
        model=str(request.first),
        data=request.data,
        preprocess=preprocess,
        calibration_samples=0,
        evaluated=request.limit,
        labelled=has_labels,
        seed=SEED,
        threads=request.threads,
    )
    return Work(asked, store, executor)


def _artifact(file: FoundFile, facts: FileFacts | None, samples: Path, others: Sequence[FileFacts | None]) -> Artifact:
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

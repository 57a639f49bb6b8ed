"""`profile`: where the time and the memory of one artifact go, or of two side by side."""

from dataclasses import dataclass, replace
from pathlib import Path

from lowbit.core.artifact import Manifest
from lowbit.core.discover import require
from lowbit.core.errors import BadInput, DamagedFile, MissingPackage, with_remedy
from lowbit.core.format import format_of_suffix
from lowbit.core.model import GRAPH, FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.profile import Profile
from lowbit.data.declare import PRESETS
from lowbit.quant.plan.plan import QuantPlan
from lowbit.runtimes import find
from lowbit.study.ask import InputsAsk
from lowbit.study.execute.local import Listener, LocalExecutor
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.inspection import artifact_at
from lowbit.study.prepare import Work, result_of, samples_and_model, samples_of
from lowbit.study.store import Store, locked, working_folder
from lowbit.worker.jobs import ProfileJob
from lowbit.worker.stored_jobs import load_outcome

_MOST = 2  # artifacts that can stand side by side
_FEWEST_RUNS = 50
_UP = 3  # folders from STUDY/artifacts/NAME/model.onnx up to STUDY
_PICTURES = 2  # the least that can be decoded


@dataclass(frozen=True, slots=True)
class ProfileRequest:
    """What one `lowbit profile` asks for.

    - artifacts: one or two files, or artifacts' folders
    - data: pictures, as for `compare`; no labels are read
    - runtimes: one name for all artifacts, or one for each; empty: the one that the artifact was made for
    - preprocess: how a picture becomes the model's input; None: as the artifact's manifest says
    - model: the float model, with whose layers the operators are matched; None: the one in the artifact's study, if any
    - threads: of each session
    - batch_size: images in a run; None: the file's own, or 1
    - runs: how many runs are timed
    - time_limit_s: seconds that each child process may take
    - trust: whether code that the float model's file brings along may run
    """

    artifacts: tuple[Path, ...]
    data: str
    runtimes: tuple[str, ...] = ()
    preprocess: Preprocess | None = None
    model: str | None = None
    threads: int = 1
    batch_size: int | None = None
    runs: int = _FEWEST_RUNS
    time_limit_s: float = 3600.0
    trust: bool = False

    def __post_init__(self) -> None:
        count = len(self.artifacts)
        if not 1 <= count <= _MOST:
            raise BadInput(f"{count} artifacts: expected one, or two to stand side by side")
        if len(self.runtimes) not in (0, 1, count):
            named = ",".join(self.runtimes)
            raise BadInput(f"--runtime {named}: expected one name, or one for each of the {count} artifacts")
        if self.runs < _FEWEST_RUNS:
            raise BadInput(f"--runs {self.runs}: expected {_FEWEST_RUNS} or more: medians of fewer are not steady")
        if self.threads < 1:
            raise BadInput(f"--threads {self.threads}: expected 1 or more")
        if self.batch_size is not None and self.batch_size < 1:
            raise BadInput(f"--batch-size {self.batch_size}: expected 1 or more")


@dataclass(frozen=True, slots=True)
class _Chosen:
    """An artifact, what is known of it, and the runtime that it is opened in."""

    file: Path
    format: str
    runtime: str
    manifest: Manifest | None
    plan: QuantPlan | None
    preprocess: Preprocess


def profile(request: ProfileRequest, listener: Listener = lambda _: None) -> tuple[Profile, ...]:
    """One profile an artifact. Raises BadInput for what the user must change, or where a runtime has no profiler."""
    named = request.runtimes * len(request.artifacts) if len(request.runtimes) == 1 else request.runtimes
    chosen = [
        _chosen(path, named[place] if named else None, request.preprocess)
        for place, path in enumerate(request.artifacts)
    ]
    with working_folder(None) as folder, locked(folder.resolve()) as store:
        executor = LocalExecutor(store.folder, request.time_limit_s, request.threads, listener)
        return tuple(_profiled(each, place, request, store, executor) for place, each in enumerate(chosen))


def _chosen(path: Path, runtime: str | None, preprocess: Preprocess | None) -> _Chosen:
    file, manifest, plan = artifact_at(path)
    guessed = format_of_suffix(file.suffix)
    if manifest is None and guessed is None:
        raise BadInput(f"{path}: no artifact; expected a file ending in .onnx, .xml, .tflite or .pt, or its folder")
    form = manifest.format if manifest is not None else guessed.name if guessed is not None else ""
    known = preprocess or (manifest.preprocess if manifest is not None else None)
    if known is None:
        raise BadInput(
            f"--preprocess is missing: {file.name} has no manifest beside it that says how pictures must be prepared; "
            f"give the preset it was trained with ({', '.join(PRESETS)}), or a YAML file"
        )
    return _Chosen(file.resolve(), form, _runtime(file, form, runtime, manifest), manifest, plan, known)


def _runtime(file: Path, form: str, named: str | None, manifest: Manifest | None) -> str:
    """The runtime that is named, or the first installed one that the file was made for, or that reads its format."""
    found = find.runtimes(() if named is None else (named,))
    reads = {name: module for name, module in found.items() if form in module.INFO.reads}
    if not reads:
        which = f"--runtime {named}: does not read" if named else "no runtime here reads"
        raise BadInput(f"{which} {form}, which {file.name} is")
    made_for = [name for name in manifest.made_for if name in reads] if manifest is not None else []
    missing = []
    for name in made_for or reads:
        try:
            require(reads[name].INFO)
        except MissingPackage as error:
            missing.append(f"{name}: {with_remedy(error.reason, error.remedy)}")
        else:
            return name
    raise BadInput(f"{file.name}: {'; '.join(missing)}")


def _profiled(chosen: _Chosen, place: int, request: ProfileRequest, store: Store, executor: LocalExecutor) -> Profile:
    asked = InputsAsk(
        model=request.model or "",
        data=request.data,
        preprocess=chosen.preprocess,
        calibration_samples=max(_PICTURES, request.batch_size or 1),
        evaluated=0,
        labelled=False,
        structure_only=True,
        threads=request.threads,
        trust=request.trust,
    )
    name = f"{chosen.file.name}@{chosen.runtime}"
    work = Work(asked, store, executor)
    samples: Path
    model: FloatModel | None
    if request.model is not None:
        samples, model = samples_and_model(work)
    else:
        samples, model = samples_of(work), _in_study(chosen)
    job = ProfileJob(
        path=chosen.file,
        format=chosen.format,
        runtime=chosen.runtime,
        runtime_options={} if chosen.manifest is None else chosen.manifest.runtime_options,
        samples=samples,
        preprocess=chosen.preprocess,
        threads=request.threads,
        batch_size=request.batch_size,
        runs=request.runs,
        graph=None if model is None else model.path,
        layers=() if model is None else model.layer_macs,
        nodes=() if chosen.plan is None else tuple(layer.node for layer in chosen.plan.layers),
    )
    stem = f"profile-{place}"
    placed = PlacedJob(name, job, store.folder / f"{stem}.json", store.logs(stem))
    [ended] = executor.run("profile", [placed])
    return result_of(ended, "profile", name, store.folder)


def _in_study(chosen: _Chosen) -> FloatModel | None:
    """The float model that the artifact was made from, where the file lies in a study or in a folder with its cache."""
    if chosen.manifest is None:
        return None
    for folder in [parent / "cache" for parent in list(chosen.file.parents)[:_UP]]:
        for kept in sorted(folder.glob("model-*.json")):
            try:
                model = load_outcome(kept, FloatModel).value
            except (OSError, DamagedFile):
                continue
            graph = kept.with_suffix("") / GRAPH
            if model is not None and model.digest == chosen.manifest.model_digest and graph.is_file():
                return replace(model, path=graph)
    return None

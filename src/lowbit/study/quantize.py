"""`quantize`: makes one file with our own engine, with its plan and manifest beside it; or only the plan."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lowbit.core import digest
from lowbit.core.artifact import PLAN, Manifest
from lowbit.core.cell import Build, Outcome
from lowbit.core.codec import from_plain, load_json, save_json
from lowbit.core.discover import require
from lowbit.core.errors import BadInput, DamagedFile, MissingPackage, WrongField
from lowbit.core.files import aside
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.samples import Samples
from lowbit.core.training import FEWEST_PICTURES, MOST_TRAINED, TrainingOptions
from lowbit.core.verified import Verified
from lowbit.data.cache import open_samples
from lowbit.data.datasets import open_dataset
from lowbit.quant.plan.plan import QuantPlan, not_a_plan
from lowbit.quant.plan.scheme import Scheme, widths
from lowbit.runtimes.find import runtimes
from lowbit.study.ask import InputsAsk
from lowbit.study.execute.local import Listener, LocalExecutor
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.prepare import Work, must, outputs_of, samples_and_model
from lowbit.study.stages import artifact_of, build_job
from lowbit.study.store import locked, working_folder
from lowbit.study.verification import failure_of, verify_job, with_outcomes
from lowbit.study.watch import BuildWatch
from lowbit.toolchains.lowbit import INFO, TARGETS, Target, recipe_name
from lowbit.worker.jobs import PlanJob

MANIFEST_ENDING, PLAN_ENDING = (
    ".manifest.json",
    ".plan.json",
)  # appended to the full name of the file that they describe
_TARGET_OF = {target.format.main_suffix: target for target in TARGETS}  # ending of the output file → target
_FEWEST = 2  # pictures: a range needs more than one
_FOR_A_PLAN = 2  # pictures to decode where only their shape is needed


@dataclass(frozen=True, slots=True)
class QuantizeRequest:
    """What one `lowbit quantize` asks for.

    - model, data: as the user named them
    - preprocess: how a picture becomes the model's input
    - recipe: the widths, such as `w4a8`; may be None where `plan` is given, which contains them
    - out: the file to write
    - weights: a file of weights for the model
    - options: those fields of `quant.plan.scheme.Scheme` that differ from its defaults
    - plan: the file of a plan to carry out instead of recipe and options
    - calibration_samples, seed: how many pictures to calibrate with, and the seed that draws them
    - threads: of the build
    - time_limit_s: seconds that each child process may take
    - cache: a folder that keeps samples, float graph and result for the next command
    - input_size: (height, width) for a model that leaves them free
    - trust: whether code that a model file brings along may run
    - training: how to train on from the closed form; None: not at all
    - training_samples: how many pictures to train on at most, held-out ones included
    - labels: a file that maps the data's classes to the model's outputs, for training with labels
    """

    model: str
    data: str
    preprocess: Preprocess
    recipe: str | None = None
    out: Path | None = None
    weights: Path | None = None
    options: dict[str, Any] = field(default_factory=dict)
    plan: Path | None = None
    calibration_samples: int = 1024
    seed: int = 0
    threads: int = 1
    time_limit_s: float = 3600.0
    cache: Path | None = None
    input_size: tuple[int, int] | None = None
    trust: bool = False
    training: TrainingOptions | None = None
    training_samples: int = MOST_TRAINED
    labels: Path | None = None

    def __post_init__(self) -> None:
        if self.training_samples < FEWEST_PICTURES:
            raise BadInput(f"--train-samples {self.training_samples}: expected at least {FEWEST_PICTURES}")
        if self.labels is not None and not self.labels.is_file():
            raise BadInput(f"--labels {self.labels}: no such file; check the path")
        if self.plan is not None and self.options:
            given = ", ".join(sorted(self.options))
            raise BadInput(f"--plan {self.plan}: says {given} already; edit the plan, or leave one of the two out")
        if self.recipe is None and self.plan is None:
            raise BadInput("--recipe is missing: give the widths, as in --recipe w4a8, or a plan with --plan")


@dataclass(frozen=True, slots=True)
class Quantized:
    """What `quantize` wrote: the file and, beside it, its plan and manifest.

    - path: the file
    - manifest: how it was made, and what verification found
    - plan: the plan that was carried out, with the calibrated ranges
    - seconds: duration of the whole command
    - shortcomings: one sentence for each runtime in which the file differs from the integer reference, or could not be
      compared with it although the runtime is installed. A file with shortcomings should not be shipped.
    """

    path: Path
    manifest: Manifest
    plan: QuantPlan
    seconds: float
    shortcomings: tuple[str, ...] = ()

    @property
    def plan_path(self) -> Path:
        """The file of the plan that was carried out, with the calibrated ranges."""
        return plan_path(self.path)

    @property
    def manifest_path(self) -> Path:
        """The file that says how it was made and what verification found."""
        return manifest_path(self.path)


def plan_path(file: Path) -> Path:
    """Path of the plan that `quantize` writes for `file`: model.onnx.plan.json."""
    return file.with_name(f"{file.name}{PLAN_ENDING}")


def manifest_path(file: Path) -> Path:
    """Path of the manifest that `quantize` writes for `file`: model.onnx.manifest.json."""
    return file.with_name(f"{file.name}{MANIFEST_ENDING}")


def quantize(request: QuantizeRequest, listener: Listener = lambda _: None) -> Quantized:
    """Write the file `request.out`. An older file there is replaced only when the new one is complete.

    Raises BadInput for what the user must change: options, a plan or data that do not fit, or a width or format that
    the engine cannot make of this model.
    """
    begun = time.monotonic()
    out = _checked(request.out)
    recipe = _recipe(request, _TARGET_OF[out.suffix])
    packages = _installed(recipe)
    with _working(request, listener, _calibration(request)) as work:
        samples, model = samples_and_model(work)
        calibration = open_samples(samples, "calibration")
        build = Build(INFO, recipe, packages, ())
        classes, _ = outputs_of(model, calibration.class_names, request.labels) if _labelled(request) else ((), "")
        folder_name = _folder_name(build, request)
        placed = build_job(work, model, calibration, build, batch_size=1, folder=folder_name, classes=classes)
        manifest = must(work, "quantize", placed)
        folder = work.store.artifact(folder_name)
        plan = load_json(QuantPlan, folder / PLAN)
        outcomes = _verify(work, calibration, manifest, folder, model)
        manifest = replace(with_outcomes(manifest, outcomes), notes=(*model.notes, *manifest.notes))
        manifest = _deliver(folder, manifest, plan, out, request.plan)
    return Quantized(out, manifest, plan, time.monotonic() - begun, tuple(_shortcomings(outcomes)))


def _labelled(request: QuantizeRequest) -> bool:
    return request.training is not None and request.training.label_loss > 0


def dry_run(request: QuantizeRequest, listener: Listener = lambda _: None) -> QuantPlan:
    """The plan that `quantize` would carry out, without ranges. It is saved where `request.out` ends in .json.

    The data are needed only for the shape of a picture.
    """
    if request.out is not None and request.out.suffix != ".json":
        _checked(request.out)
    recipe = _recipe(request, _TARGET_OF.get(request.out.suffix if request.out else "", TARGETS[0]))
    _installed(recipe)
    with _working(request, listener, _FOR_A_PLAN, structure_only=True) as work:
        _, model = samples_and_model(work)
        plan = _planned(work, model, recipe)
    if request.out is not None and request.out.suffix == ".json":
        save_json(request.out, plan)
    return plan


def _folder_name(build: Build, request: QuantizeRequest) -> str:
    """Name of the artifact's folder in the cache. Each set of options and each plan has its own folder."""
    edited = [] if request.plan is None else [digest.of_files([request.plan])]
    return f"{build.folder}-{digest.of_value([build.recipe, edited])}"


def _verify(
    work: Work, calibration: Samples, manifest: Manifest, folder: Path, model: FloatModel
) -> dict[str, Outcome[Verified]]:
    """The outcome of verification in every runtime that the file is made for, including runtimes that are missing."""
    outcomes: dict[str, Outcome[Verified]] = {}
    jobs: dict[str, PlacedJob[Verified]] = {}
    for name, runtime in runtimes(manifest.made_for).items():
        try:
            packages = require(runtime.INFO)
        except MissingPackage as error:
            outcomes[name] = Outcome("missing", reason=error.reason, remedy=error.remedy)
            continue
        jobs[name] = verify_job(work, calibration, manifest, artifact_of(folder, manifest, model), name, packages)
    outcomes |= dict(zip(jobs, work.executor.run("verify", list(jobs.values()), work.slots), strict=True))
    return {name: outcomes[name] for name in manifest.made_for}


def _shortcomings(outcomes: dict[str, Outcome[Verified]]) -> Iterator[str]:
    for runtime, outcome in outcomes.items():
        failure = failure_of(outcome)
        if failure is not None:
            yield f"{runtime}: {failure.reason}"
        elif outcome.value is None and outcome.end != "missing":
            yield f"{runtime}: not verified: {outcome.reason}"


def _installed(recipe: Recipe) -> dict[str, str]:
    """The versions of what the recipe needs; BadInput, with the command that installs it, where it is missing."""
    try:
        return require(INFO, recipe)
    except MissingPackage as error:
        raise BadInput(f"{recipe.name} cannot be made here: {error}") from error


def _planned(work: Work, model: FloatModel, recipe: Recipe) -> QuantPlan:
    key = digest.of_value(["plan", model.digest, recipe])
    placed = PlacedJob(
        recipe.name, PlanJob(model, recipe), work.store.build_result(f"plan-{key}"), work.store.logs(key)
    )
    placed.result.unlink(missing_ok=True)  # planning is quick, and the user may have edited the plan's file
    return must(work, "plan", placed)


def _checked(out: Path | None) -> Path:
    """`out`, if a file can be written there. Raises BadInput before any work begins otherwise."""
    if out is None:
        raise BadInput("-o is missing: give the file to write, ending in .onnx, .xml or .tflite")
    if out.suffix not in _TARGET_OF:
        raise BadInput(f"-o {out}: expected a name that ends in {', '.join(_TARGET_OF)}, which says the format")
    if out.is_dir():
        raise BadInput(f"-o {out}: is a folder; give a file's name")
    folder = next(folder for folder in out.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BadInput(f"-o {out}: {folder} cannot be written to; choose another place")
    return out


def _recipe(request: QuantizeRequest, target: Target) -> Recipe:
    """The toolchain's recipe for `target`'s format, with the request's options in it."""
    name = request.recipe
    if request.plan is not None:
        planned = _recipe_of(request.plan)
        if name is not None and name != planned:
            raise BadInput(f"--recipe {name}: {request.plan} is a plan for {planned}; leave --recipe out")
        name = planned
    assert name is not None
    weight_bits, activation_bits = widths(name.removesuffix(target.ending))
    try:  # checks widths and options before any work begins
        from_plain(Scheme, {"weight_bits": weight_bits, "activation_bits": activation_bits, **request.options})
    except WrongField as error:
        raise BadInput(f"how to quantize: {error}") from error
    wanted = recipe_name(weight_bits, activation_bits, target)
    found = next(recipe for recipe in INFO.recipes if recipe.name == wanted)
    training: dict[str, Any] = {}
    if request.training is not None:
        found = replace(found, epochs=request.training.epochs)
        training = request.training.for_recipe()
    if request.plan is None:
        return replace(found, options={**request.options, **training})
    contents = digest.of_files([request.plan])  # so that an edited plan is another recipe
    return replace(found, options={"plan": str(request.plan), "plan_digest": contents, **training})


def _recipe_of(plan: Path) -> str:
    try:
        return load_json(QuantPlan, plan).recipe
    except OSError as error:
        raise BadInput(f"--plan {plan}: cannot be read ({error.strerror}); check the path") from error
    except DamagedFile as error:
        raise BadInput(f"--plan {plan}: {not_a_plan(error)}") from error


@contextmanager
def _working(
    request: QuantizeRequest, listener: Listener, calibration_samples: int, *, structure_only: bool = False
) -> Iterator[Work]:
    """A store in the cache or in a temporary folder, and an executor that reports the engine's progress by layer."""
    asked = InputsAsk(
        model=request.model,
        data=request.data,
        preprocess=request.preprocess,
        weights=request.weights,
        calibration_samples=calibration_samples,
        evaluated=0,
        labelled=_labelled(request),
        structure_only=structure_only,
        input_size=request.input_size,
        seed=request.seed,
        threads=request.threads,
        trust=request.trust,
        training_samples=0 if request.training is None or structure_only else request.training_samples,
    )
    with _place(request, structure_only) as folder, locked(folder.resolve(), "--cache") as store:
        executor = LocalExecutor(store.folder, request.time_limit_s, request.threads, listener, BuildWatch())
        yield Work(asked, store, executor)


@contextmanager
def _place(request: QuantizeRequest, structure_only: bool) -> Iterator[Path]:
    """The folder to work in. A training that is killed goes on, so that its folder, beside the file, outlives the
    command until the file is written; unless the input turns out to be bad before training has begun.
    """
    if request.cache is not None or request.training is None or structure_only or request.out is None:
        with working_folder(request.cache) as folder:
            yield folder
        return
    folder = request.out.with_name(f"{request.out.name}.training")
    is_new = not folder.exists()
    try:
        yield folder
    except BadInput:
        if is_new and not any(folder.glob("cache/builds/*-training")):
            shutil.rmtree(folder, ignore_errors=True)
        raise
    shutil.rmtree(folder)


def _calibration(request: QuantizeRequest) -> int:
    """The number of calibration pictures: as many as were asked for, or all that the data has."""
    if request.calibration_samples < _FEWEST:
        raise BadInput(
            f"--calibration-samples {request.calibration_samples}: expected at least {_FEWEST}: ranges of one image "
            "say nothing about the others (1,024 is a good start)"
        )
    data = open_dataset(request.data, labelled=False)
    there = len((data.train or data.test).labels)
    if there < _FEWEST:
        raise BadInput(f"--data {request.data}: {there} pictures; at least {_FEWEST} are needed to calibrate with")
    return min(request.calibration_samples, there)


def _deliver(folder: Path, manifest: Manifest, plan: QuantPlan, out: Path, given: Path | None) -> Manifest:
    """Copy the artifact's files to `out` and rename them after it, once all are complete; the manifest comes last."""
    recipe = manifest.recipe if given is None else replace(manifest.recipe, options={"plan": given.name})
    with tempfile.TemporaryDirectory(prefix="lowbit-", dir=folder) as ready, ExitStack() as stack:
        files = [Path(ready) / f"{out.stem}{Path(name).suffix}" for name in manifest.files]
        for name, file in zip(manifest.files, files, strict=True):
            shutil.copyfile(folder / name, file)
        named = replace(
            manifest, recipe=recipe, main=out.name, files=tuple(file.name for file in files),
            digest=digest.of_files(files),
        )  # fmt: skip
        save_json(Path(ready) / manifest_path(out).name, named)
        save_json(Path(ready) / plan_path(out).name, plan)
        for file in sorted(Path(ready).iterdir(), key=lambda file: file.name != manifest_path(out).name):
            shutil.copyfile(file, stack.enter_context(aside(out.with_name(file.name))))
    return named

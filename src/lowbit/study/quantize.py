"""`quantize`: one file from our own engine, with its plan and manifest beside it; or only the plan."""

import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from lowbit.core import digest
from lowbit.core.artifact import Manifest
from lowbit.core.codec import from_plain, load_json, save_json
from lowbit.core.discover import require
from lowbit.core.errors import BadInput, DamagedFile, LowbitError, WrongField
from lowbit.core.files import aside
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings
from lowbit.data.cache import open_samples
from lowbit.data.datasets import open_dataset
from lowbit.measure import host as hosts
from lowbit.quant.plan.plan import QuantPlan, not_a_plan
from lowbit.quant.plan.scheme import Scheme, widths
from lowbit.study import keys
from lowbit.study.ask import StudyRequest
from lowbit.study.cells import PlannedBuild
from lowbit.study.execute.local import Listener, LocalExecutor, PlacedJob
from lowbit.study.prepare import Work, must, samples_and_model
from lowbit.study.stages import kept_files
from lowbit.study.store import locked
from lowbit.toolchains.lowbit import INFO, PLAN, PROGRESS, ROUNDED
from lowbit.worker.jobs import BuildJob, PlanJob

ENDINGS = {".onnx": "", ".xml": "-ir", ".tflite": "-tflite"}  # of -o → of the recipe's name
_UNUSED = 2  # pictures that the data's split must leave to a study, and that nothing is done with here
_TAIL = 4096  # bytes of a log in which the last layer stands


@dataclass(frozen=True, slots=True)
class QuantizeRequest:
    """One `lowbit quantize`. recipe: `w4a8`, or None where `plan`, the file of one, says it all.

    options: fields of `quant.scheme.Scheme` that differ from its defaults; cache: a folder in which samples, float
    graph and result are kept for the next command.
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

    def __post_init__(self) -> None:
        if self.plan is not None and self.options:
            given = ", ".join(sorted(self.options))
            raise BadInput(f"--plan {self.plan}: says {given} already; edit the plan, or leave one of the two out")
        if self.recipe is None and self.plan is None:
            raise BadInput("--recipe is missing: give the widths, as in --recipe w4a8, or a plan with --plan")


@dataclass(frozen=True, slots=True)
class Quantized:
    """What `quantize` wrote: the file and, beside it, its plan and manifest. seconds: of the whole command."""

    path: Path
    manifest: Manifest
    plan: QuantPlan
    seconds: float

    @property
    def plan_path(self) -> Path:
        """The plan that was carried out, with the ranges that were found."""
        return plan_path(self.path)

    @property
    def manifest_path(self) -> Path:
        """How it was made and what verification found."""
        return manifest_path(self.path)


def plan_path(file: Path) -> Path:
    """Where the plan of a file lies that `quantize` wrote."""
    return file.with_name(f"{file.stem}.plan.json")


def manifest_path(file: Path) -> Path:
    """Where the manifest of a file lies that `quantize` wrote."""
    return file.with_name(f"{file.stem}.manifest.json")


def quantize(request: QuantizeRequest, listener: Listener = lambda _: None) -> Quantized:
    """Make the file `request.out`; what lay there is replaced once the new one is whole.

    Raises BadInput for what the user must change: options, a plan or data that do not fit, a width or a format that
    the engine cannot make of this model.
    """
    begun = time.monotonic()
    out = _checked(request.out)
    recipe = _recipe(request, ENDINGS[out.suffix])
    require(INFO)
    with _working(request, listener) as work:
        samples, model = samples_and_model(work)
        planned = PlannedBuild(INFO, recipe, require(INFO), ())
        key = keys.build_key(work.request, planned, model, open_samples(samples, "calibration"), work.host)
        if request.plan is not None:
            key = digest.of_value([key, digest.of_files([request.plan])])
        folder = work.store.artifact(f"{planned.name}-{key}")
        job = BuildJob(
            key=key,
            toolchain=INFO.name,
            recipe=recipe,
            model=model,
            samples=samples,
            preprocess=request.preprocess,
            out=folder,
            cache=work.store.conversions,
            batch_size=1,
            threads=request.threads,
            seed=request.seed,
        )
        result, logs = work.store.build_result(key), work.store.logs(key)
        task = PlacedJob(f"{recipe.name}", job, result, logs, leaves=kept_files(folder, key))
        manifest = from_plain(Manifest, must(work, "quantize", task).data)
        plan = load_json(QuantPlan, folder / PLAN)
        manifest = _deliver(folder, manifest, plan, out, request.plan)
    return Quantized(out, manifest, plan, time.monotonic() - begun)


def dry_run(request: QuantizeRequest, listener: Listener = lambda _: None) -> QuantPlan:
    """The plan that `quantize` would carry out, without ranges; saved where `request.out` ends in .json."""
    if request.out is not None and request.out.suffix != ".json":
        _checked(request.out)
    recipe = _recipe(request, ENDINGS.get(request.out.suffix if request.out else "", ""))
    require(INFO)
    with _working(request, listener) as work:
        _, model = samples_and_model(work)
        plan = _planned(work, model, recipe)
    if request.out is not None and request.out.suffix == ".json":
        save_json(request.out, plan)
    return plan


def _planned(work: Work, model: FloatModel, recipe: Recipe) -> QuantPlan:
    key = digest.of_value(["plan", model.digest, recipe])
    task = PlacedJob(recipe.name, PlanJob(model, recipe), work.store.build_result(f"plan-{key}"), work.store.logs(key))
    task.result.unlink(missing_ok=True)  # quick, and a plan's file may have been edited
    return from_plain(QuantPlan, must(work, "plan", task).data)


def _checked(out: Path | None) -> Path:
    """`out` if a file can be written there, told before the work begins."""
    if out is None:
        raise BadInput("-o is missing: give the file to write, ending in .onnx, .xml or .tflite")
    if out.suffix not in ENDINGS:
        raise BadInput(f"-o {out}: expected a name that ends in {', '.join(ENDINGS)}, which says the format")
    if out.is_dir():
        raise BadInput(f"-o {out}: is a folder; give a file's name")
    folder = next(folder for folder in out.absolute().parents if folder.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise BadInput(f"-o {out}: {folder} cannot be written to; choose another place")
    return out


def _recipe(request: QuantizeRequest, ending: str) -> Recipe:
    """The toolchain's recipe for a format, with the request's options in it."""
    name = request.recipe
    if request.plan is not None:
        planned = _recipe_of(request.plan)
        if name is not None and name != planned:
            raise BadInput(f"--recipe {name}: {request.plan} is a plan for {planned}; leave --recipe out")
        name = planned
    assert name is not None
    weight_bits, activation_bits = widths(name.removesuffix(ending))
    try:  # says which widths and options there are, before any work
        from_plain(Scheme, {"weight_bits": weight_bits, "activation_bits": activation_bits, **request.options})
    except WrongField as error:
        raise BadInput(f"how to quantize: {error}") from error
    found = next(recipe for recipe in INFO.recipes if recipe.name == f"w{weight_bits}a{activation_bits}{ending}")
    return replace(found, options=dict(request.options) if request.plan is None else {"plan": str(request.plan)})


def _recipe_of(plan: Path) -> str:
    try:
        return load_json(QuantPlan, plan).recipe
    except OSError as error:
        raise BadInput(f"--plan {plan}: cannot be read ({error.strerror}); check the path") from error
    except DamagedFile as error:
        raise BadInput(f"--plan {plan}: {not_a_plan(error)}") from error


@contextmanager
def _working(request: QuantizeRequest, listener: Listener) -> Iterator[Work]:
    """A store in the cache, or in a temporary folder; and a executor that follows the engine's layers."""
    with _folder(request.cache) as folder, locked(folder.resolve(), "--cache") as store:
        study = StudyRequest(
            model=request.model,
            data=request.data,
            out=folder,
            preprocess=request.preprocess,
            weights=request.weights,
            calibration_samples=_calibration(request),
            limit=_UNUSED,
            settings=Settings(threads=request.threads, seed=request.seed),
            time_limit_s=request.time_limit_s,
            labelled=False,
        )
        executor = LocalExecutor(store.folder, request.time_limit_s, request.threads, listener, LayerWatch())
        yield Work(study, store, executor, hosts.facts())


@contextmanager
def _folder(cache: Path | None) -> Iterator[Path]:
    """The cache, or a folder that vanishes; but not where something failed, since the log lies in it."""
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


def _calibration(request: QuantizeRequest) -> int:
    """As many pictures as were asked for, or as there are."""
    data = open_dataset(request.data, labelled=False)
    there = len((data.train or data.test).labels) - (_UNUSED if data.train is None else 0)
    if there < 2:
        raise BadInput(f"--data {request.data}: too few pictures to calibrate with; at least 4 are needed")
    return min(request.calibration_samples, there)


class LayerWatch:
    """From the log of a build to "layer 7/20 Conv_12, 5 s left": by the layers' mean time since the first was seen."""

    def __init__(self) -> None:
        self._first: tuple[int, float] | None = None

    def __call__(self, log: Path) -> str:
        """Words for the last layer that the log names; empty before the first."""
        try:
            with log.open("rb") as stream:
                stream.seek(max(0, stream.seek(0, os.SEEK_END) - _TAIL))
                found = re.findall(PROGRESS, stream.read().decode(errors="replace"))
        except OSError:
            return ""
        if not found:
            return ""
        number, total, name = int(found[-1][0]), int(found[-1][1]), found[-1][2]
        if name == ROUNDED:
            return f"{total} layers rounded, writing and verifying"
        now = time.monotonic()
        first, start = self._first = self._first or (number, now)
        left = f", {(now - start) / (number - first) * (total - number + 1):.0f} s left" if number > first else ""
        return f"layer {number}/{total} {name}{left}"


def _deliver(folder: Path, manifest: Manifest, plan: QuantPlan, out: Path, given: Path | None) -> Manifest:
    """Put the artifact's files at `out` under its name, once all are written; the manifest takes its place last."""
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

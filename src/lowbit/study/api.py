"""`lowbit.compare`: the command line's call and the Python API, one function."""

import inspect
import shlex
from collections.abc import Sequence
from pathlib import Path

from lowbit.core.errors import BadInput
from lowbit.core.figures import Optimize
from lowbit.core.settings import Among, Scenario, Settings
from lowbit.data.preprocess import parse
from lowbit.sources.find import find
from lowbit.study.compare import compare as run_study
from lowbit.study.request import StudyRequest
from lowbit.study.result import StudyResult
from lowbit.study.run import Listener

_BATCH_SIZE: dict[Scenario, int] = {"single-stream": 1, "multi-stream": 8, "offline": 32}


def compare(
    model: str,
    data: str,
    *,
    preprocess: str | None = None,
    weights: str | Path | None = None,
    labels: str | Path | None = None,
    among: Among = "model",
    calibration_samples: int = 512,
    seed: int = 0,
    limit: int | None = None,
    toolchains: Sequence[str] = (),
    recipes: Sequence[str] = (),
    runtimes: Sequence[str] = (),
    scenario: Scenario = "single-stream",
    threads: int = 1,
    batch_size: int | None = None,
    min_duration: float = 2.0,
    rounds: int = 3,
    official: bool = False,
    optimize: Optimize = "latency",
    max_drop: float = 1.0,
    time_limit: float = 3600.0,
    out: str | Path | None = None,
    progress: Listener = lambda _: None,
) -> StudyResult:
    """Make every quantized version of `model` that the installed toolchains can make; measure each on every runtime.

    model: x.onnx, digits-cnn, file.py:name, package.module:name or torchvision:NAME; data: digits, a folder of class
    folders, a parquet file or folder, or an .npz. min_duration and time_limit are in seconds, max_drop in points of
    top-1. batch_size None: 1, 8 or 32 by scenario. out None: a folder here, named after model and data. Finished jobs
    found in `out` are kept. Raises BadInput for what the caller must change; all else is a row with its reason.
    """
    given = dict(locals())
    source = find(model)
    named = preprocess if preprocess is not None else source.INFO.default_preprocess
    if named is None:
        raise BadInput(
            f"--preprocess is missing: nobody can know how pictures must be prepared for {model}; "
            "give the preset it was trained with (imagenet, imagenet-tf, cifar10, unit, raw), or a YAML file"
        )
    request = StudyRequest(
        model=model,
        data=data,
        out=Path(out) if out is not None else Path(_default_folder(model, data)),
        preprocess=parse(named),
        weights=None if weights is None else Path(weights),
        labels=None if labels is None else Path(labels),
        among=among,
        calibration_samples=calibration_samples,
        limit=limit,
        toolchains=tuple(toolchains),
        recipes=tuple(recipes),
        runtimes=tuple(runtimes),
        settings=Settings(
            scenario=scenario,
            threads=threads,
            batch_size=_BATCH_SIZE.get(scenario, 1) if batch_size is None else batch_size,
            min_duration_s=min_duration,
            rounds=rounds,
            official=official,
            seed=seed,
        ),
        optimize=optimize,
        max_drop=max_drop,
        time_limit_s=time_limit,
        command=_command(model, data, {key: given[key] for key in _DEFAULTS if given[key] != _DEFAULTS[key]}),
    )
    return run_study(request, progress)


_DEFAULTS = {
    name: parameter.default
    for name, parameter in inspect.signature(compare).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY and name != "progress"
}


def _default_folder(model: str, data: str) -> str:
    """digits-cnn-digits, cifar10-resnet20-cifar10: what a person would call it."""
    name = model.rpartition(":")[2] if ":" in model else Path(model).stem
    return f"{name}-{Path(data).stem if Path(data).suffix else Path(data).name}"


def _command(model: str, data: str, options: dict[str, object]) -> str:
    """The command line that asks for the same."""
    words = ["lowbit", "compare", model, "--data", data]
    for key, value in options.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            words.append(option)
        else:
            text = ",".join(value) if isinstance(value, tuple | list) else str(value)
            words += [option, text]
    return shlex.join(words)

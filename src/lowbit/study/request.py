"""From the arguments of the Python API and the command line to requests, with the command that repeats a call."""

import inspect
import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path

from lowbit.core.errors import BadInput
from lowbit.core.figures import Optimize
from lowbit.core.preprocess import Preprocess
from lowbit.core.settings import Among, Round, Scenario, Settings
from lowbit.core.training import MOST_TRAINED, TrainingOptions
from lowbit.data.declare import PRESETS
from lowbit.data.preprocess import parse
from lowbit.measure.host import facts
from lowbit.quant.plan.scheme import widths
from lowbit.sources.find import find
from lowbit.study.about_model import fetch, own_preprocess
from lowbit.study.ask import StudyRequest
from lowbit.study.execute.local import Listener
from lowbit.study.pace import seconds_of
from lowbit.study.quantize import QuantizeRequest
from lowbit.study.sweep import listed, one_or_all, sweep


def compare_request(
    model: str | Path,
    data: str | Path,
    *,
    preprocess: str | Path | None = None,
    input_size: str | int | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    download: bool = False,
    labels: str | Path | None = None,
    among: Among = "model",
    threshold: float | None = None,
    calibration_samples: int = 512,
    seed: int = 0,
    limit: int | None = None,
    toolchains: Sequence[str] = (),
    recipes: Sequence[str] = (),
    bits: Sequence[int] = (),
    epochs: int | None = None,
    train_samples: int | None = None,
    given: str | Path | Sequence[str | Path] = (),
    runtimes: Sequence[str] = (),
    scenario: Scenario | Sequence[Scenario] = "single-stream",
    threads: int | Sequence[int] = 1,
    batch_size: int | Sequence[int] | None = None,
    isa: str | Sequence[str] = (),
    min_duration: float = 2.0,
    rounds: int = 3,
    official: bool = False,
    rules: Round = "v6.1",
    target_latency: float | None = None,
    target_qps: float | None = None,
    timing: bool = True,
    profile: bool = False,
    budget: str | float | None = None,
    optimize: Optimize = "latency",
    max_drop: float = 1.0,
    min_agreement: float = 90.0,
    time_limit: float = 3600.0,
    out: str | Path | None = None,
    listener: Listener = lambda _: None,
) -> StudyRequest:
    """The request for these arguments of `compare`. Raises BadInput for what they contradict.

    A model that must be fetched, or asked for its preprocessing, is: `listener` hears of it.
    """
    if timing and rounds < 1:
        raise BadInput(f"--rounds {rounds}: expected 1 or more; --no-timing leaves speed and memory out")
    model, data = str(model), str(data)
    toolchains, recipes, bits, runtimes = tuple(toolchains), tuple(recipes), tuple(bits), tuple(runtimes)
    scenarios, counts = listed("--scenario", scenario), listed("--threads", threads)
    sizes = None if batch_size is None else listed("--batch-size", batch_size)
    limits = listed("--isa", isa) if isa else ()
    files = tuple(map(str, (given,) if isinstance(given, str | Path) else given))
    options: dict[str, object] = {
        "preprocess": preprocess,
        "input_size": input_size,
        "weights": weights,
        "trust": trust,
        "download": download,
        "labels": labels,
        "among": among,
        "threshold": threshold,
        "calibration_samples": calibration_samples,
        "seed": seed,
        "limit": limit,
        "toolchains": toolchains,
        "recipes": recipes,
        "bits": bits,
        "epochs": epochs,
        "train_samples": train_samples,
        "given": files,
        "runtimes": runtimes,
        "scenario": one_or_all(scenarios),
        "threads": one_or_all(counts),
        "batch_size": None if sizes is None else one_or_all(sizes),
        "isa": limits,
        "min_duration": min_duration,
        "rounds": rounds,
        "official": official,
        "rules": rules,
        "target_latency": target_latency,
        "target_qps": target_qps,
        "timing": timing,
        "profile": profile,
        "budget": budget,
        "optimize": optimize,
        "max_drop": max_drop,
        "min_agreement": min_agreement,
        "time_limit": time_limit,
        "out": out,
    }
    common = Settings(
        min_duration_s=min_duration,
        rounds=rounds if timing else 0,
        official=official,
        rules=rules,
        target_latency_ms=15.0 if target_latency is None else target_latency,
        target_qps=target_qps,
        seed=seed,
    )
    settings = sweep(common, scenarios, counts, sizes, limits or (None,))
    return StudyRequest(
        model=model,
        data=data,
        out=Path(out) if out is not None else Path(_default_folder(model, data)),
        preprocess=_preprocess(model, preprocess, download, listener),
        input_size=_size(input_size),
        weights=None if weights is None else Path(weights),
        trust=trust,
        labels=None if labels is None else Path(labels),
        among=among,
        threshold=threshold,
        calibration_samples=calibration_samples,
        limit=limit,
        toolchains=toolchains,
        recipes=recipes,
        bits=bits,
        epochs=epochs,
        train_samples=MOST_TRAINED if train_samples is None else train_samples,
        given=tuple(map(Path, files)),
        runtimes=runtimes,
        settings=settings[0],
        other_settings=settings[1:],
        budget_s=None if budget is None else seconds_of(budget),
        optimize=optimize,
        max_drop=max_drop,
        min_agreement=min_agreement,
        time_limit_s=time_limit,
        profile=profile,
        command=_command(model, data, {key: value for key, value in options.items() if value != _DEFAULTS[key]}),
    )


def quantize_request(
    model: str | Path,
    data: str | Path,
    out: str | Path | None = None,
    *,
    recipe: str | None = None,
    preprocess: str | Path | None = None,
    input_size: str | int | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
    download: bool = False,
    layers: Mapping[str, str] | None = None,
    plan: str | Path | None = None,
    calibration_samples: int = 1024,
    seed: int = 0,
    threads: int | None = None,
    time_limit: float = 3600.0,
    cache: str | Path | None = None,
    epochs: int | None = None,
    label_loss: float | None = None,
    train_samples: int | None = None,
    budget: str | float | None = None,
    max_memory: str | int | None = None,
    labels: str | Path | None = None,
    listener: Listener = lambda _: None,
    **scheme: object,
) -> QuantizeRequest:
    """The request for these arguments of `quantize`. `scheme`: fields of `Scheme`, None for the engine's choice.

    A model that must be fetched, or asked for its preprocessing, is: `listener` hears of it.
    """
    options = {key: value for key, value in scheme.items() if value is not None}
    if layers:
        options["overrides"] = [_override(pattern, text) for pattern, text in layers.items()]
    return QuantizeRequest(
        model=str(model),
        data=str(data),
        preprocess=_preprocess(str(model), preprocess, download, listener),
        input_size=_size(input_size),
        recipe=recipe,
        out=None if out is None else Path(out),
        weights=None if weights is None else Path(weights),
        trust=trust,
        options=options,
        plan=None if plan is None else Path(plan),
        calibration_samples=calibration_samples,
        seed=seed,
        threads=facts().cores if threads is None else threads,
        time_limit_s=time_limit,
        cache=None if cache is None else Path(cache),
        training=_training(epochs, label_loss, train_samples, budget, max_memory, labels),
        training_samples=MOST_TRAINED if train_samples is None else train_samples,
        labels=None if labels is None else Path(labels),
    )


def _training(
    epochs: int | None,
    label_loss: float | None,
    train_samples: int | None,
    budget: str | float | None,
    max_memory: str | int | None,
    labels: str | Path | None,
) -> TrainingOptions | None:
    """What these arguments say of training; BadInput where they say how, but not that there is to be any."""
    others = {
        "--label-loss": label_loss, "--train-samples": train_samples, "--budget": budget, "--max-memory": max_memory,
        "--labels": labels,
    }  # fmt: skip
    if epochs is None:
        given = ", ".join(name for name, value in others.items() if value is not None)
        if given:
            raise BadInput(f"{given}: without --epochs nothing is trained; add --epochs 1 or more")
        return None
    return TrainingOptions(
        epochs=epochs,
        label_loss=0.0 if label_loss is None else label_loss,
        budget_s=None if budget is None else seconds_of(budget),
        max_memory=None if max_memory is None else _bytes(max_memory),
    )


def _bytes(text: str | int) -> int:
    """4GB, 512 MB or a plain number of bytes. Raises BadInput."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([kMG]?)B?\s*", text, re.IGNORECASE)
    if match is None:
        raise BadInput(f"--max-memory {text}: expected bytes, as in 4GB or 512MB")
    return int(float(match[1]) * {"": 1, "k": 10**3, "m": 10**6, "g": 10**9}[match[2].lower()])


def _override(pattern: str, text: str) -> dict[str, object]:
    """{"Conv_1*": "w8a8"} as plain data of a `quant.plan.scheme.Override`."""
    weight_bits, activation_bits = widths(text)
    return {"pattern": pattern, "weight_bits": weight_bits, "activation_bits": activation_bits}


def _preprocess(model: str, given: str | Path | None, download: bool, listener: Listener) -> Preprocess:
    """What the user says, or what such models, or this very model, are made for."""
    if download:
        fetch(model, listener)
    if given is not None:
        return parse(str(given))
    source = find(model)
    if source.INFO.own_preprocess:
        return own_preprocess(model, listener)
    named = source.INFO.default_for(model)
    if named is None:
        raise BadInput(
            f"--preprocess is missing: nobody can know how pictures must be prepared for {model}; "
            f"give the preset it was trained with ({', '.join(PRESETS)}), or a YAML file"
        )
    return parse(str(named))


def _size(given: str | int | None) -> tuple[int, int] | None:
    """Height and width of "224x192", or of 224 for a square."""
    if given is None:
        return None
    height, cross, width = str(given).partition("x")
    if not height.isdecimal() or not (width.isdecimal() if cross else not width):
        raise BadInput(f"--input-size {given}: expected height and width as in 224x192, or one number for a square")
    return int(height), int(width if cross else height)


_REPEATED = ("given",)  # options that are given once for each value, since a path may hold a comma
_DEFAULTS: dict[str, object] = {
    name: parameter.default
    for name, parameter in inspect.signature(compare_request).parameters.items()
    if parameter.kind is inspect.Parameter.KEYWORD_ONLY
}


def _default_folder(model: str, data: str) -> str:
    """The default folder's name: model and data, such as digits-cnn-digits."""
    name = Path(model.rpartition(":")[2]).name if ":" in model else Path(model).stem
    return f"{name}-{Path(data).stem if Path(data).suffix else Path(data).name}"


def _command(model: str, data: str, options: dict[str, object]) -> str:
    """The command line that repeats this call."""
    words = ["lowbit", "compare", model, "--data", data]
    for key, value in options.items():
        option = f"--{key.replace('_', '-')}"
        if value is True:
            words.append(option)
        elif value is False:
            words.append(f"--no-{key}")
        elif key in _REPEATED and isinstance(value, tuple):
            words += [word for each in value for word in (option, each)]
        else:
            text = ",".join(map(str, value)) if isinstance(value, tuple) else str(value)
            words += [option, text]
    return shlex.join(words)

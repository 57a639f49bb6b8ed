"""The basis of a study's numbers: host, versions, data, preprocessing, the command, and a glossary."""

from lowbit.core.preprocess import Preprocess
from lowbit.core.settings import MULTI_STREAM_SAMPLES
from lowbit.core.study import Report
from lowbit.core.sweep import SWEEPABLE, Swept, values_of
from lowbit.report import words
from lowbit.report.markup import Markup, el, join


def facts(report: Report) -> Markup:
    """Four lists of facts and the command that repeats the study."""
    blocks = (
        ("Data", _data(report)),
        ("Measurement", _measurement(report)),
        ("Host", _host(report)),
        ("Versions", [(name, version) for name, version in sorted(report.versions.items())]),
    )
    lists = [el("section", el("h3", name), _pairs(pairs)) for name, pairs in blocks if pairs]
    return join(
        [
            el("div", *lists, class_="facts"),
            el("h3", "How to repeat it"),
            el("pre", el("code", report.command), tabindex=0),
        ]
    )


def _pairs(pairs: list[tuple[str, str]]) -> Markup:
    return el("dl", *(el("div", el("dt", name), el("dd", value)) for name, value in pairs))


def _data(report: Report) -> list[tuple[str, str]]:
    pre, model = report.preprocess, report.model
    prediction = f"argmax over the outputs of the {report.among}"
    if report.threshold is not None:
        prediction = f"one output: the second class above {report.threshold:g}, else the first"
    pairs = [
        ("model", f"{model.name}, from {model.source}"),
        ("digest", model.digest),
        ("input", " × ".join(str(side) for side in model.input_shape)),
        ("data", report.data),
        ("evaluated on", f"{report.n_samples:,} images, {words.count(len(report.class_names), 'class', 'classes')}"),
        ("calibrated on", f"{report.calibration_samples:,} other images"),
        ("prediction", prediction),
        ("preprocessing", preprocess_text(pre)),
        ("channels", pre.channels),
    ]
    if model.difference is not None:
        pairs.append(("float graph", words.fidelity(model.difference)))
    pairs += [("float graph", note) for note in model.notes]
    return pairs


def preprocess_text(pre: Preprocess) -> str:
    """How a picture becomes the model's input, in words."""
    steps = [pre.name]
    steps.append(f"{_resizing(pre)} ({pre.interpolation})" if pre.resize else "no resizing")
    if pre.crop:
        height, width = pre.crop if isinstance(pre.crop, tuple) else (pre.crop, pre.crop)
        sides = f"{height or 'all'} × {width or 'all'} (height × width)"
        down = ", half pixels rounded down" if pre.crop_rounding == "down" else ""
        steps.append(f"centre crop {pre.crop if isinstance(pre.crop, int) else sides}{down}")
    steps.append(f"pixels × {pre.scale:.6g}")
    steps.append(f"mean {', '.join(f'{value:g}' for value in pre.mean)}")
    steps.append(f"std {', '.join(f'{value:g}' for value in pre.std)}")
    return "; ".join(steps)


def _resizing(pre: Preprocess) -> str:
    if not isinstance(pre.resize, tuple):
        return f"shorter side {pre.resize}"
    sides = f"{pre.resize[0]} × {pre.resize[1]} (height × width)"
    if pre.letterbox is None:
        return f"stretched to {sides}"
    return f"fitted into {sides}, the rest filled with {', '.join(map(str, pre.letterbox))}"


def _measurement(report: Report) -> list[tuple[str, str]]:
    settings = report.settings
    length = f"MLPerf {settings.rules}'s" if settings.official else f"{settings.min_duration_s:g} s"
    return [
        ("harness", "MLPerf LoadGen"),
        *((words.HEADINGS[name], text) for name in SWEEPABLE if (text := _values(name, report))),
        ("rounds", f"{settings.rounds}, interleaved" if settings.rounds else "none: not timed"),
        ("shortest run", length),
        *([("longest run", f"{settings.max_duration_s:.3g} s")] if settings.max_duration_s is not None else []),
        ("official", f"yes, by the rules of MLPerf {settings.rules}" if settings.official else "no"),
        ("seed", str(settings.seed)),
        ("measured", words.moment(report.created)),
    ]


def _values(name: Swept, report: Report) -> str:
    """All values of a setting; empty where there is none, as for an instruction set that nothing is limited to."""
    return ", ".join(str(value) for value in values_of(name, report.all_settings) if value is not None)


def _host(report: Report) -> list[tuple[str, str]]:
    host = report.host
    return [
        ("CPU", host.cpu),
        ("cores", f"{host.cores} ({words.count(host.threads, 'thread')})"),
        ("instructions", ", ".join(host.isa)),
        ("governor", host.governor),
        ("memory", words.size(host.memory_bytes)),
        ("system", host.system),
        ("Python", host.python),
        ("id", host.id),
    ]


def glossary(report: Report) -> Markup:
    """The words of this page, each in a sentence."""
    query, many = "one image", bool(report.other_settings)
    scenarios = values_of("scenario", report.all_settings)
    if "multi-stream" in scenarios:
        query = f"{MULTI_STREAM_SAMPLES} images"
        query += " in the multi-stream scenario" if len(scenarios) > 1 else ""
    timing: tuple[tuple[str, str], ...] = (
        ("p50, p90, p99", f"half, 90 % and 99 % of all queries were answered within this time; a query is {query}."),
        ("whisker", "smallest and largest median of the rounds: the noise. A lead inside it is a tie."),
    )
    rate = ("samples a second", "of all samples, handed over at once; median of the rounds.")
    if "offline" in scenarios:
        timing = (rate,) if len(scenarios) == 1 else (*timing, rate)
    if "server" in scenarios:
        held = f"{report.settings.target_latency_ms:g} ms"
        arrivals = f"server: queries arrive at random (Poisson), and 99 % are answered within {held}."
        timing = (*timing, ("server", arrivals))
    if {"single-stream", "multi-stream"} & set(scenarios):
        timing = (*timing, ("estimate", "LoadGen's early-stopping estimate of the percentile that MLPerf reports."))
    words_used = (
        ("version", "one file: a recipe carried out by a toolchain (made by). A runtime (run by) executes it."),
        (words.NOT_INTENDED, "a runtime that the file was not made for. It can read the file, so it was tried."),
        ("top-1", "share of images whose highest score is the right class."),
        ("± and interval", "Wilson's 95 % interval: where top-1 of unlimited data of this kind would lie."),
        (
            "Δ float, points",
            "top-1 less the float model's on the same images, in percentage points. The interval drawn around it is "
            "the version's own Wilson interval; whether the two models differ is what McNemar's test tells.",
        ),
        (
            "p (McNemar)",
            "probability of a difference at least this large if both models were equally good, "
            "from the images on which just one of them is right. Small means the difference is real.",
        ),
        ("agreement", "share of images on which the version predicts the same class as the float model."),
        ("KL", "mean Kullback–Leibler divergence from the float model's probabilities; 0 means the same."),
        *timing,
        (
            "speed-up",
            f"how many times faster than the fastest fp32 row of {'the same settings' if many else 'this study'}.",
        ),
        ("Pareto front", "the rows that no other row beats in both accuracy and speed."),
        ("peak memory", "largest resident memory, less what the runtime itself needs before it loads the model."),
        (
            "integer share",
            "share of multiply-accumulates whose kernel took both operands as integers; the rest ran in float.",
        ),
        ("unsupported, failed", "the vendor cannot do it; it should have worked and did not."),
    )
    return _pairs(list(words_used))

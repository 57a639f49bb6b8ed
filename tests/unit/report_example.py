"""A report as a real study gives it: every kind of row, a tie, and text that must never become markup."""

from dataclasses import replace
from pathlib import Path

from lowbit.core.host import Host
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Claim
from lowbit.core.row import Row
from lowbit.core.settings import MULTI_STREAM_SAMPLES, Scenario, Settings
from lowbit.core.study import Choice, Reference, Report
from lowbit.core.sweep import swept_in
from lowbit.core.training import Training, TrainingOptions, TrainingPoint

N_SAMPLES = 10_000
FLOAT_CORRECT = 9173
INJECTION = "<script>alert('x')</script></script> [bold]\"&\" '[red]'"

_BASE = Row(
    model="cifar10-resnet20",
    data="cifar10",
    n_samples=N_SAMPLES,
    toolchain="onnxruntime",
    recipe="fp32",
    weight_bits=32,
    activation_bits=32,
    runtime="onnxruntime",
    intended=True,
    scenario="single-stream",
    status="measured",
    threads=1,
    batch_size=1,
    official=False,
    host_id="host-a",
)
_BITS = {
    "fp32": (32, 32),
    "fp16": (16, 16),
    "bf16": (16, 16),
    "int8-dynamic": (8, 8),
    "int8-static": (8, 8),
    "int8-mixed": (8, 8),
    "int16x8": (8, 16),
    "int8-weight-only": (8, 32),
}
_CLAIMS: dict[str, Claim] = {
    "fp32": "float",
    "fp16": "float",
    "bf16": "float",
    "int8-dynamic": "dynamic",
    "int4-dynamic": "dynamic",
    "int8-weight-only": "weight-only",
}
_STORAGE = "fp16 is storage only: this runtime computes in fp32 on a CPU"

# toolchain, recipe, runtime, intended, correct of 10,000, kB, p50 in ms, MB at peak, int8 share, p-value
_MEASURED: tuple[tuple[str, str, str, bool, int, int, float, float, float | None, float], ...] = (
    ("onnxruntime", "fp32", "onnxruntime", True, 9173, 1102, 0.921, 9.1, 0.0, 1.0),
    ("onnxruntime", "fp32", "openvino", False, 9173, 1102, 0.842, 21.4, 0.0, 1.0),
    ("onnxruntime", "fp16", "onnxruntime", True, 9172, 561, 0.958, 9.8, 0.0, 1.0),
    ("onnxruntime", "fp16", "openvino", False, 9173, 561, 0.861, 21.9, 0.0, 1.0),
    ("onnxruntime", "int8-dynamic", "onnxruntime", True, 9164, 371, 1.684, 7.7, 1.0, 0.388),
    ("onnxruntime", "int8-static", "onnxruntime", True, 9165, 367, 0.388, 6.2, 1.0, 0.374),
    ("onnxruntime", "int8-static", "openvino", False, 9178, 367, 0.331, 19.7, 1.0, 0.612),
    ("onnxruntime", "int16x8", "onnxruntime", True, 9178, 368, 2.713, 8.0, 0.0, 0.583),
    ("nncf", "fp32", "openvino", True, 9173, 1148, 0.839, 21.2, 0.0, 1.0),
    ("nncf", "fp16", "openvino", True, 9173, 602, 0.848, 21.5, 0.0, 1.0),
    ("nncf", "bf16", "openvino", True, 9169, 1148, 0.512, 20.6, 0.0, 0.523),
    ("nncf", "int8-static", "openvino", True, 9180, 421, 0.327, 19.4, 1.0, 0.471),
    ("nncf", "int8-mixed", "openvino", True, 9165, 423, 0.334, 19.4, 1.0, 0.401),
    ("nncf", "int8-weight-only", "openvino", True, 9174, 419, 0.847, 21.0, 0.0, 1.0),
    ("litert", "fp32", "litert", True, 9173, 1121, 1.212, 4.4, 0.0, 1.0),
    ("litert", "fp32", "openvino", False, 9173, 1121, 0.851, 21.8, 0.0, 1.0),
    ("litert", "fp16", "litert", True, 9174, 571, 1.221, 5.1, 0.0, 1.0),
    ("litert", "int8-dynamic", "litert", True, 9169, 322, 0.718, 3.1, 1.0, 0.702),
    ("litert", "int8-static", "litert", True, 9160, 318, 0.474, 2.4, 1.0, 0.192),
    ("litert", "int16x8", "litert", True, 9166, 336, 1.902, 2.9, 0.0, 0.401),
    ("litert", "int4-dynamic", "litert", True, 9008, 184, 0.301, 2.6, 1.0, 3.1e-7),
    ("litert", "int8-weight-only", "litert", True, 9177, 319, 1.231, 4.0, 0.0, 0.655),
    ("torch", "fp32", "torch", True, 9173, 1139, 2.113, 14.9, 0.0, 1.0),
    ("torch", "bf16", "torch", True, 9166, 590, 3.402, 15.8, 0.0, 0.427),
    ("torch", "int8-dynamic", "torch", True, 9172, 1121, 2.131, 14.8, 0.0003, 1.0),
    ("torch", "int8-static", "torch", True, 9186, 352, 1.104, 11.0, 0.6234, 0.498),
)
_NOTES = {
    "onnxruntime/fp16@onnxruntime": (_STORAGE,),
    "litert/fp16@litert": (_STORAGE,),
    "torch/int8-dynamic@torch": ("dynamic quantization reaches Linear only: 21 convolutions stay float",),
    "litert/int4-dynamic@litert": (f"4-bit weights {INJECTION}",),
}
_FAILED = (
    (
        "onnxruntime",
        "int16x8",
        "openvino",
        False,
        "top-1 is 14.06 % here and 91.78 % in onnxruntime: more than 2 points apart (McNemar p < 0.01)",
    ),
    ("torch", "int16x8", "torch", True, f"killed by signal 11 (segmentation fault) {INJECTION}"),
)
_NOT_READ = "Exception from src/core/tensor.cpp: this tensor should be either input, constant or intermediate"
_UNSUPPORTED = (
    ("onnxruntime", "bf16", "onnxruntime", True, "ONNX Runtime has no bf16 kernels for convolutions on a CPU"),
    (
        "onnxruntime",
        "int8-mixed",
        "onnxruntime",
        True,
        "int8-static already has symmetric weights, asymmetric activations",
    ),
    ("onnxruntime", "int8-weight-only", "onnxruntime", True, "no weight-only quantization of convolutions"),
    ("nncf", "int8-dynamic", "openvino", True, "NNCF quantizes no convolution dynamically"),
    ("nncf", "int16x8", "openvino", True, "OpenVINO has no 16-bit activations"),
    ("litert", "bf16", "litert", True, "LiteRT has no bf16 kernels on a CPU"),
    ("litert", "int8-static", "openvino", False, _NOT_READ),
    ("litert", "int8-dynamic", "openvino", False, _NOT_READ),
    ("litert", "int16x8", "openvino", False, _NOT_READ),
    ("litert", "int4-dynamic", "openvino", False, f"transpose of i4 {INJECTION}"),
    ("torch", "fp16", "torch", True, "not installed: pip install 'lowbit[torch]'"),
    ("torch", "int8-mixed", "torch", True, "not installed: pip install 'lowbit[torch]'"),
)


def _measured(row: tuple[str, str, str, bool, int, int, float, float, float | None, float]) -> Row:
    toolchain, recipe, runtime, intended, correct, kilobytes, p50, megabytes, share, p_value = row
    bits = _BITS.get(recipe, (4, 8))
    exact = (toolchain, recipe) == ("onnxruntime", "fp32")
    return replace(
        _BASE,
        toolchain=toolchain,
        recipe=recipe,
        weight_bits=bits[0],
        activation_bits=bits[1],
        claim=_CLAIMS.get(recipe, "integer"),
        runtime=runtime,
        intended=intended,
        top1=correct / N_SAMPLES,
        top1_low=correct / N_SAMPLES - 0.0056,
        top1_high=correct / N_SAMPLES + 0.0053,
        top5=0.9966,
        agreement=1.0 if exact else 1 - abs(correct - FLOAT_CORRECT) / 5_000 - 0.002,
        kl=0.0 if exact else 0.0041,
        p_value=p_value,
        size_bytes=kilobytes * 1000,
        latency_p50_ms=p50,
        latency_p50_low_ms=p50 * 0.985,
        latency_p50_high_ms=p50 * 1.04,
        latency_p90_ms=p50 * 1.1,
        latency_p99_ms=p50 * 1.45,
        samples_per_s=1000 / p50,
        speedup=0.839 / p50,
        loadgen_valid=True,
        peak_memory_bytes=int(megabytes * 1e6),
        load_s=0.031,
        import_s=0.42,
        build_s=2.2,
        calibration_s=1.1 if "static" in recipe else None,
        int8_share=share,
        artifact=f"artifacts/{toolchain}-{recipe}",
        notes=_NOTES.get(f"{toolchain}/{recipe}@{runtime}", ()),
    )


def _other(row: tuple[str, str, str, bool, str], status: str) -> Row:
    toolchain, recipe, runtime, intended, reason = row
    log = f"logs/{toolchain}-{recipe}/build.log" if status == "failed" else None
    bits = _BITS.get(recipe, (4, 8))
    made = replace(
        _BASE,
        weight_bits=bits[0],
        activation_bits=bits[1],
        toolchain=toolchain,
        recipe=recipe,
        runtime=runtime,
        intended=intended,
        reason=reason,
        log=log,
    )
    return replace(made, status="failed" if status == "failed" else "unsupported")


def rows() -> tuple[Row, ...]:
    """All rows in the order of the plan, which is not the order of merit."""
    return (
        *(_measured(row) for row in _MEASURED),
        *(_other(row, "failed") for row in _FAILED),
        *(_other(row, "unsupported") for row in _UNSUPPORTED),
    )


def report() -> Report:
    """ResNet-20 on CIFAR-10: 26 measured, 2 failed, 12 unsupported rows; nncf's int8-static wins, int8-mixed ties."""
    all_rows = rows()
    winner = next(i for i, row in enumerate(all_rows) if row.name == "nncf/int8-static@openvino")
    return Report(
        title="cifar10-resnet20 on cifar10",
        model=FloatModel(
            path=Path("cache/float.onnx"),
            digest="0123456789abcdef",
            name="cifar10-resnet20",
            source="cifar10-resnet20.onnx",
            source_digest="fedcba9876543210",
            input_name="input",
            output_name="logits",
            input_shape=(3, 32, 32),
            outputs=10,
            probabilities=False,
            difference=2.1e-6,
        ),
        data="cifar10",
        preprocess=Preprocess(name="imagenet", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)),
        settings=Settings(),
        host=Host(
            id="host-a",
            cpu="Example Xeon 8375C @ 2.90GHz",
            isa=("avx2", "avx512f", "avx512_vnni", "avx512_bf16"),
            cores=2,
            threads=2,
            governor="performance",
            memory_bytes=16_000_000_000,
            system="Linux 6.8",
            python="3.11.7",
        ),
        versions={"onnxruntime": "1.31.1", "openvino": "2026.4.1", "nncf": "3.4.0", "torch": "2.13.0"},
        command="lowbit compare cifar10-resnet20.onnx --data cifar10 --preprocess imagenet,resize=none,crop=none",
        created="2026-11-20T14:03:00+00:00",
        n_samples=N_SAMPLES,
        calibration_samples=512,
        class_names=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
        among="model",
        reference=Reference(n_samples=N_SAMPLES, correct=FLOAT_CORRECT, correct_top5=9966),
        rows=all_rows,
        choice=Choice(
            row=winner,
            optimize="latency",
            max_drop=1.0,
            min_agreement=90.0,
            tied=("nncf/int8-mixed@openvino",),
        ),
    )


def trained() -> Report:
    """Two of its versions were trained by our own engine, with labels."""
    points = (
        TrainingPoint(0.0, 0, 0.5, 0.81, 0.8),
        TrainingPoint(30.0, 640, 0.25, 0.902, 0.88),
        TrainingPoint(60.0, 1280, 0.3, 0.9, 0.87),
    )
    training = Training(TrainingOptions(2, label_loss=0.2), 640, 64, 32, 32, points, 1, 0.9, 0.3, 0.2, 3000, 1000)
    whole = report()
    found = (replace(row, training=training) if row.recipe == "int8-static" else row for row in whole.rows)
    return replace(whole, rows=tuple(found))


def random_weights() -> Report:
    """The same study of a network nobody trained: agreement, but no accuracy."""
    base = report()
    return replace(
        base,
        model=replace(base.model, random_weights=True),
        reference=None,
        rows=tuple(
            replace(row, top1=None, top1_low=None, top1_high=None, top5=None, p_value=None) for row in base.rows
        ),
        warnings=("Random weights: nobody trained this network, so no accuracy is printed.",),
    )


def timed_as(scenario: Scenario) -> Report:
    """The same study in another scenario: offline has rates but no latency, a multi-stream query is 8 samples."""
    base = report()
    if scenario == "offline":
        rows = tuple(
            replace(
                row,
                scenario=scenario,
                latency_p50_ms=None,
                latency_p50_low_ms=None,
                latency_p50_high_ms=None,
                latency_p90_ms=None,
                latency_p99_ms=None,
            )
            for row in base.rows
        )
    else:
        each = MULTI_STREAM_SAMPLES if scenario == "multi-stream" else 1
        rows = tuple(
            replace(row, scenario=scenario, samples_per_s=row.samples_per_s and row.samples_per_s * each)
            for row in base.rows
        )
    return replace(base, settings=replace(base.settings, scenario=scenario), rows=rows)


def swept() -> Report:
    """A study offline with four batch sizes and two counts of threads; speeds grow with both, int8's more."""
    base = timed_as("offline")
    settings = [replace(base.settings, batch_size=size, threads=count) for size in (1, 2, 4, 32) for count in (1, 2)]
    names = swept_in(settings)

    def at(row: Row, one: Settings) -> Row:
        grown = one.threads * one.batch_size ** (0.3 if row.claim == "integer" else 0.1)
        rate = None if row.samples_per_s is None else row.samples_per_s * grown
        faster = None if row.speedup is None else row.speedup * one.batch_size ** (0.2 if row.claim == "integer" else 0)
        row = replace(row, batch_size=one.batch_size, threads=one.threads, swept=names)
        return replace(row, samples_per_s=rate, speedup=faster)

    cells = [row for row in base.rows if row.status != "unsupported"]
    impossible = [row for row in base.rows if row.status == "unsupported"]
    rows = (*(at(row, one) for row in cells for one in settings), *impossible)
    winner = next(
        index for index, row in enumerate(rows) if row.plain_name == "nncf/int8-static@openvino"
    )  # the first of its rows is that of the first settings
    choice = replace(base.choice, row=winner, tied=())
    return replace(base, settings=settings[0], other_settings=tuple(settings[1:]), rows=rows, choice=choice)


def nothing_measured() -> Report:
    """A study in which no cell could be measured."""
    base = report()
    left = tuple(row for row in base.rows if row.status != "measured")
    return replace(base, rows=left, choice=Choice(None, "latency", 1.0))

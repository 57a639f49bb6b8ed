"""`lowbit compare`: from a trained model to a measured table, a page, and the file to ship."""

import argparse
import json
import sys
from typing import TYPE_CHECKING, Any

from lowbit.cli.values import DOWNLOAD, MODELS, TRUST, WEIGHTS, names, number, scenarios, whole, wholes, widths

if TYPE_CHECKING:
    from lowbit.study.result import StudyResult

_GATE_NOT_MET, _INTENDED_FAILED = 1, 3
_OWN = ("run", "json", "gate")  # options that are not arguments of the study


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "compare",
        help="make and measure every quantized version of a model",
        description="Make every quantized version of MODEL that the installed toolchains can make, run each on every "
        "runtime that can read it, under MLPerf's load generator, and end with a table, a page, and the file to ship.",
        argument_default=argparse.SUPPRESS,
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("model", metavar="MODEL", help=MODELS)
    add("--data", required=True, help="digits, a folder of class folders, a parquet file or folder, or an .npz")
    add("-o", "--out", metavar="STUDY", help="the study's folder (default: named after model and data)")

    group = command.add_argument_group("model and data")
    add = group.add_argument
    add("--weights", metavar="FILE", help=WEIGHTS)
    add("--download", action="store_true", help=DOWNLOAD)
    add("--trust", action="store_true", help=TRUST)
    add("--preprocess", metavar="NAME[,key=value…]",
        help="imagenet, imagenet-tf, cifar10, unit, raw, keras-tf, keras-caffe, keras-torch, with keys resize, crop, "
        "scale, mean, std, channels, interpolation, letterbox, crop_rounding; or a YAML file of the same keys (what "
        "the model itself says, if it does)")  # fmt: skip
    add("--input-size", metavar="HxW", help="height and width of a model that leaves them free, or N for a square")
    add("--labels", metavar="FILE", help="labels.json: each class of the data → an output of the model")
    add("--among", choices=("model", "data"), help="argmax over all outputs, or those of the data's classes (model)")
    add("--threshold", type=number, metavar="X",
        help="of a model with one output for two classes, in its unit (probability 0.5, logit 0)")  # fmt: skip
    add("--calibration-samples", type=whole, metavar="N", help="images for calibration (512)")
    add("--limit", type=whole, metavar="N", help="evaluate on N images only")
    add("--seed", type=whole, help="seed of every choice (0)")

    group = command.add_argument_group("what to make and run")
    add = group.add_argument
    for name in ("toolchains", "recipes", "runtimes"):
        add(f"--{name}", type=names, metavar="A,B", help=f"only these {name}")
    add("--bits", type=widths, metavar="N,N", help="a sweep: besides these, lowbit's own wNa8 for each N from 2 to 8")
    add("--epochs", type=whole, metavar="N",
        help="make recipes that train too: lowbit's own wNaM-qat (N passes over the training images, no labels) and "
        "TensorFlow's int8-qat (over the labelled calibration images)")  # fmt: skip
    add("--train-samples", type=whole, metavar="N", help="images that wNaM-qat trains on (all there are, up to 50,000)")
    add("--given", metavar="FILE", action="append",
        help="a version of others, measured too: .onnx, .xml (OpenVINO IR) or .tflite; may be repeated")  # fmt: skip
    add("--time-limit", type=number, metavar="S", help="seconds that one build or measurement may take (3600)")

    group = command.add_argument_group("timing (MLPerf LoadGen)")
    add = group.add_argument
    add("--scenario", type=scenarios, metavar="NAME,NAME",
        help="single-stream, multi-stream, offline, server; lists are a sweep, here and in the next three")  # fmt: skip
    add("--threads", type=wholes, metavar="N,N", help="threads of one session (1)")
    add("--batch-size", type=wholes, metavar="N,N",
        help="most images a call (1; multi-stream 8; offline 32); with several scenarios that of offline")  # fmt: skip
    add("--isa", type=names, metavar="A,B", help="limit runtimes to an instruction set: avx2, avx512, avx512_vnni")
    add("--min-duration", type=number, metavar="S", help="shortest timed run, seconds (2)")
    add("--rounds", type=whole, metavar="N", help="timed rounds; their spread is the noise (3)")
    add("--official", action="store_true", help="durations and query counts of MLPerf's round (--rules)")
    add("--rules", choices=("v6.1", "v2.1"), help="MLPerf's round whose rules results are held against (v6.1)")
    add("--target-latency", type=number, metavar="MS", help="server: 99 %% of latencies stay within (15)")
    add("--target-qps", type=number, metavar="N", help="server: queries a second (LoadGen finds the highest valid)")
    add("--budget", metavar="TIME", help="end within 90s, 20m or 2h, by fewer rounds and shorter runs")
    add("--no-timing", dest="timing", action="store_false", help="measure no speed and no memory: much quicker")
    add("--profile", action="store_true", help="show where the time of each version goes, layer by layer")

    group = command.add_argument_group("what comes out")
    add = group.add_argument
    add("--optimize", choices=("latency", "size", "memory"), help="what the winner is best in (latency)")
    add("--max-drop", type=number, metavar="POINTS", help="top-1 points the winner may lose (1.0)")
    add("--min-agreement", type=number, metavar="PERCENT",
        help="images on which the winner must answer as float does, where any version does so (90)")  # fmt: skip
    add("--gate", action="store_true", default=False, help="exit with 1 when nothing meets --max-drop")
    add("--json", action="store_true", default=False, help="print the rows as JSON")


def run(options: argparse.Namespace) -> int:
    """Compare, print, and return the exit status."""
    from rich.console import Console

    from lowbit.cli.progress import shown
    from lowbit.report.table import print_report
    from lowbit.report.tabular import to_json
    from lowbit.study.api import compare

    arguments = {key: value for key, value in vars(options).items() if key not in _OWN}
    with shown() as listener:
        result = compare(arguments.pop("model"), arguments.pop("data"), progress=listener, **arguments)
    if options.json:
        json.dump(to_json(result.rows), sys.stdout, indent=1)
        print()
    else:
        print_report(result.report, Console())
        print_places(result)
    if options.gate and result.winner is None:
        return _GATE_NOT_MET
    broken = any(row.status == "failed" and row.intended for row in result.rows)
    return _INTENDED_FAILED if broken else 0


def print_places(result: "StudyResult") -> None:
    """Where the page and the file to ship lie."""
    winner = result.winner
    if winner is not None and winner.artifact is not None:
        print(f"ship  {result.folder / winner.artifact}")
    print(f"page  {result.page}")

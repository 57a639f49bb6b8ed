"""`lowbit quantize`: one file from our own engine, or, with --dry-run, the plan for it."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lowbit.cli.values import DOWNLOAD, MODELS, TRUST, WEIGHTS, number, whole

_FELL_SHORT = 3
_OWN = ("run", "json", "dry_run", "layer")  # options that are not arguments of the request


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "quantize",
        help="write a model with weights and activations of 8 to 2 bits, with lowbit's own engine",
        description="Quantize MODEL with lowbit's own engine, in seconds, without labels or training, into a file for "
        "ONNX Runtime and OpenVINO (.onnx), OpenVINO (.xml) or LiteRT (.tflite). Its plan and manifest are written "
        "beside it. With --epochs it is trained on from there, with the float network as its teacher.",
        argument_default=argparse.SUPPRESS,
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("model", metavar="MODEL", help=MODELS)
    add("--recipe", metavar="wNaM", help="weights of N bits (2 to 8), activations of M (2 to 8, or 16)")
    add(
        "--data",
        required=True,
        help="pictures; no labels are read: digits, a folder, a parquet file or folder, or an .npz with x",
    )
    add("-o", "--out", metavar="FILE", type=Path, help="x.onnx, x.xml or x.tflite; with --dry-run also x.json")

    group = command.add_argument_group("model and data")
    add = group.add_argument
    add("--weights", metavar="FILE", help=WEIGHTS)
    add("--download", action="store_true", help=DOWNLOAD)
    add("--trust", action="store_true", help=TRUST)
    add("--preprocess", metavar="NAME[,key=value…]", help="as in `lowbit compare`")
    add("--input-size", metavar="HxW", help="height and width of a model that leaves them free, or N for a square")
    add("--calibration-samples", type=whole, metavar="N", help="images for calibration (1024, or all there are)")
    add("--seed", type=whole, help="seed of every choice (0)")
    add("--threads", type=whole, metavar="N", help="threads to work with (all cores)")
    add("--time-limit", type=number, metavar="S", help="seconds that one step may take (3600)")
    add("--cache", metavar="FOLDER", help="keep samples, float graph and result here for the next command")

    group = command.add_argument_group("how to quantize")
    add = group.add_argument
    add("--rounding", choices=("nearest", "closed-form"), help="of weights (closed-form)")
    add("--range", choices=("min-max", "percentile", "mse", "entropy"), help="of activations (by width)")
    sides = group.add_mutually_exclusive_group()
    sides.add_argument("--symmetric", action="store_true", help="symmetric weights (by width: from 4 bits on)")
    sides.add_argument("--asymmetric", dest="symmetric", action="store_false", help="asymmetric weights below 8 bits")
    ranges = group.add_mutually_exclusive_group()
    ranges.add_argument(
        "--reduce-range",
        action="store_true",
        help="8-bit weights within 7 bits, for CPUs without int8 dot products (by this CPU)",
    )
    ranges.add_argument("--full-range", dest="reduce_range", action="store_false", help="8-bit weights in full")
    add("--group-size", type=whole, metavar="N", help="one scale for N inputs of a matrix product (an output channel)")
    add("--ends", type=whole, metavar="N", help="bits of the first and last layers, where the rest has fewer (8)")
    add("--layer", action="append", metavar="PATTERN=wNaM", help="other bits for layers of that name; repeatable")
    add("--plan", metavar="FILE", help="carry out this plan instead of a recipe")
    add("--dry-run", action="store_true", default=False, help="print the plan; quantize nothing")
    add("--json", action="store_true", default=False, help="print JSON; with --dry-run a plan for --plan")

    group = command.add_argument_group("training, after the closed form and from its codes")
    add = group.add_argument
    add("--epochs", type=whole, metavar="N", help="passes over the training images (no training)")
    add("--train-samples", type=whole, metavar="N", help="images to train on (all there are, up to 50,000)")
    add("--label-loss", type=number, metavar="W", help="weight of the labels beside the float network's answers (0)")
    add("--labels", metavar="FILE", help="the model's output for each class, as in `lowbit compare`")
    add("--budget", metavar="TIME", help="train for 90s, 20m or 2h at most")
    add("--max-memory", metavar="BYTES", help="that training may take, as in 4GB (what the machine has free)")


def run(options: argparse.Namespace) -> int:
    """Quantize or plan, print, and return the exit status."""
    from rich.console import Console

    from lowbit.cli.progress import shown
    from lowbit.core.codec import to_plain
    from lowbit.report.quantized import plan_text, quantized_text
    from lowbit.study import quantize
    from lowbit.study.request import quantize_request

    arguments = {key: value for key, value in vars(options).items() if key not in _OWN}
    with shown() as listener:
        request = quantize_request(**arguments, layers=_layers(getattr(options, "layer", [])), listener=listener)
    if options.dry_run:
        with shown() as listener:
            plan = quantize.dry_run(request, listener)
        if options.json:
            _print_json(to_plain(plan))
        else:
            Console().print(plan_text(plan, request.model))
        return 0
    with shown() as listener:
        made = quantize.quantize(request, listener)
    files = [str(made.path.with_name(name)) for name in made.manifest.files]
    if options.json:
        plan, manifest = to_plain(made.plan), to_plain(made.manifest)
        said = {"files": files, "plan_file": str(made.plan_path), "manifest_file": str(made.manifest_path)}
        fallen = list(made.shortcomings)
        _print_json({**said, "seconds": made.seconds, "shortcomings": fallen, "manifest": manifest, "plan": plan})
        return _FELL_SHORT if fallen else 0
    main = str(made.path)
    beside = [name for name in files if name != main] + [str(made.plan_path), str(made.manifest_path)]
    Console().print(quantized_text(made.manifest, made.plan, [main, *beside], made.seconds), soft_wrap=True)
    for reason in made.shortcomings:
        print(f"lowbit: {main} should not be shipped: {reason}", file=sys.stderr)
    return _FELL_SHORT if made.shortcomings else 0


def _layers(given: list[str]) -> dict[str, str]:
    """Pattern → widths."""
    from lowbit.core.errors import BadInput

    found: dict[str, str] = {}
    for text in given:
        pattern, equals, bits = text.rpartition("=")
        if not equals or not pattern:
            raise BadInput(f"--layer {text!r}: expected PATTERN=wNaM, as in --layer 'Conv_1*=w8a8'")
        found[pattern] = bits
    return found


def _print_json(value: Any) -> None:
    json.dump(value, sys.stdout, indent=1, allow_nan=False)
    print()

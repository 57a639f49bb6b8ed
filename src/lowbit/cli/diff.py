"""`lowbit diff`: two files, or one in two runtimes, on the same pictures: how far they agree, and where they part."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lowbit.cli.values import names, number, whole

_GATE_NOT_MET = 1


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "diff",
        help="compare the scores of two files, or of one file in two runtimes, and find the layer at which they part",
        description="Run A and B, each in a runtime, on the same pictures and compare their scores; no labels are "
        "needed. Where both are ONNX files, or files of lowbit's own engine, their layers are also run one by one on "
        "equal inputs.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("first", metavar="A", type=Path, help="a file (.onnx, .xml, .tflite) or a folder of STUDY/artifacts")
    add("second", metavar="B", type=Path, nargs="?", help="another one; or nothing, with two --runtimes for A")
    add("--data", required=True, help="pictures; no labels are needed: digits, a folder, a parquet file or folder, "
        "or an .npz with x")  # fmt: skip
    add("--preprocess", metavar="NAME[,key=value…]", help="as in `lowbit compare` (what each file says of itself)")
    add("--runtimes", type=names, default=(), metavar="R[,R]", help="of A and of B (those that the files are made for)")
    add("--limit", type=whole, metavar="N", help="on N pictures only, drawn at random")
    add("--model", metavar="FLOAT.onnx", type=Path, help="the float model: how far A and B are from it")
    add("--threads", type=whole, default=1, metavar="N", help="threads of one session (1)")
    add("--no-layers", dest="layers", action="store_false", help="compare scores only, not the layers one by one")
    add("--cache", metavar="FOLDER", type=Path, help="keep pictures and scores here for the next command; of "
        "`lowbit quantize`: what the layers of its files are written from")  # fmt: skip
    add("--max-difference", type=number, metavar="X", help="exit with 1 when two scores differ by more")
    add("--min-agreement", type=number, metavar="PERCENT", help="exit with 1 when fewer answers are the same")
    add("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Compare, print, and return the exit status."""
    from rich.console import Console

    from lowbit.cli.progress import shown
    from lowbit.core.errors import BadInput
    from lowbit.data.preprocess import parse
    from lowbit.report.difference import as_json, difference_text
    from lowbit.study.diff import diff
    from lowbit.study.sides import DiffRequest

    most, fewest = options.max_difference, options.min_agreement
    if most is not None and not most >= 0:
        raise BadInput(f"--max-difference {most:g}: expected 0 or more, in the unit of the scores")
    if fewest is not None and not 0 <= fewest <= 100:
        raise BadInput(f"--min-agreement {fewest:g}: expected a percentage from 0 to 100")
    request = DiffRequest(
        first=options.first,
        second=options.second,
        data=options.data,
        preprocess=None if options.preprocess is None else parse(options.preprocess),
        runtimes=options.runtimes,
        limit=options.limit,
        model=options.model,
        threads=options.threads,
        layers=options.layers,
        cache=options.cache,
    )
    with shown() as listener:
        found = diff(request, listener)
    if options.json:
        json.dump(as_json(found), sys.stdout, indent=1, allow_nan=False)
        print()
    else:
        Console().print(difference_text(found))
    scores = found.scores
    too_far = most is not None and scores.largest > most
    too_few = fewest is not None and 100 * scores.same_answers < fewest * scores.images
    return _GATE_NOT_MET if too_far or too_few else 0

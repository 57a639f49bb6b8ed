"""`lowbit inspect`: what a file is, layer by layer, and what runtimes execute of it."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "inspect",
        help="print what an artifact is: recipe, preprocessing, every layer's bits, bytes and executed precision",
        description="Print what ARTIFACT is and how it was made, and open it in the runtimes it was made for to list "
        "what every layer is executed in.",
    )
    command.set_defaults(run=run)
    command.add_argument(
        "artifact", metavar="ARTIFACT", type=Path,
        help="a file that `lowbit quantize` wrote, a folder of STUDY/artifacts, or any .onnx, .xml or .tflite",
    )  # fmt: skip
    command.add_argument("--runtimes", default="", metavar="A,B", help="open it in these (those it was made for)")
    command.add_argument(
        "--tensors",
        action="store_true",
        help="list every operator and tensor of the file: type, shape, scale, zero point",
    )
    command.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Look and print."""
    from rich.console import Console

    from lowbit.core.codec import to_plain
    from lowbit.report.inspected import inspection_text
    from lowbit.study.inspection import inspect

    found = inspect(options.artifact, [name for name in options.runtimes.split(",") if name])
    if options.json:
        json.dump(to_plain(found), sys.stdout, indent=1, allow_nan=False)
        print()
    else:
        Console().print(inspection_text(found, tensors=options.tensors))
    return 0

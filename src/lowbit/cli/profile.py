"""`lowbit profile`: where the time and the memory of an artifact go, operator by operator."""

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

from lowbit.cli.values import TRUST, number, whole

_WIDE = 180  # columns of the table where no terminal limits them


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "profile",
        help="print where the time and the memory go: every operator with its kernel, or two artifacts by layer",
        description="Time every operator of ARTIFACT with the runtime's own profiler, and say which layer of the float "
        "graph it computes, in which kernel and precision. Two artifacts stand side by side, layer by layer.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add(
        "artifacts", metavar="ARTIFACT", nargs="+",
        help="one or two: a file that `lowbit quantize` wrote, a folder of STUDY/artifacts, or any file of its kind",
    )  # fmt: skip
    add("--data", required=True, help="pictures to run on, as in `lowbit quantize`; no labels are read")
    add("--runtime", metavar="R[,R]", default="", help="the runtime, or one for each artifact (what it was made for)")
    add("--preprocess", metavar="NAME[,key=value…]", help="as in `lowbit compare` (what the artifact's manifest says)")
    add("--model", metavar="MODEL", help="the float model, to name the layers (that of the artifact's study)")
    add("--trust", action="store_true", help=TRUST)
    add("--threads", type=whole, default=1, metavar="N", help="threads of the session (1)")
    add("--batch-size", type=whole, metavar="N", help="images in a run (the file's own, or 1)")
    add("--runs", type=whole, default=50, metavar="N", help="how many runs are timed (50)")
    add("--time-limit", type=number, default=3600.0, metavar="S", help="seconds that one step may take (3600)")
    add("--trace", metavar="FILE", type=Path, help="write a trace for chrome://tracing or Perfetto")
    add("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    """Profile, write the trace, and print."""
    from rich.console import Console

    from lowbit.cli.progress import shown
    from lowbit.cli.values import names
    from lowbit.core.codec import save_json, to_plain
    from lowbit.report.profiled import compared_text, profile_text
    from lowbit.report.trace import trace
    from lowbit.study.api import profile

    with shown() as listener:
        found = profile(
            *options.artifacts,
            data=options.data,
            runtimes=names(options.runtime),
            preprocess=options.preprocess,
            model=options.model,
            trust=options.trust,
            threads=options.threads,
            batch_size=options.batch_size,
            runs=options.runs,
            time_limit=options.time_limit,
            progress=listener,
        )
    if options.trace is not None:
        save_json(options.trace, trace(found))
    if options.json:
        json.dump([to_plain(each) for each in found], sys.stdout, indent=1, allow_nan=False)
        print()
    else:
        console = Console(width=None if sys.stdout.isatty() or "COLUMNS" in os.environ else _WIDE)
        console.print(profile_text(found[0]) if len(found) == 1 else compared_text(*found))
    return 0

"""`lowbit report`: draw a finished study again, or explain one of its rows."""

import argparse
from pathlib import Path
from typing import Any


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "report",
        help="draw a study again, or say why a row is not all int8",
        description="Print the table of a finished study and draw its page again; nothing is measured.",
    )
    command.set_defaults(run=run)
    command.add_argument("study", metavar="STUDY", type=Path, help="the folder that `lowbit compare` or `run` wrote")
    command.add_argument(
        "--why",
        metavar="ROW",
        help="list the operators of toolchain/recipe@runtime with the precision each ran in; in a sweep the name goes "
        "on with its settings: 'nncf/int8-static@openvino [batch 8]'; in a study of several models it begins with the "
        "model's: 'mobilenetv2: nncf/int8-static@openvino'",
    )


def run(options: argparse.Namespace) -> int:
    """Draw or explain."""
    from rich.console import Console

    from lowbit.cli.compare import print_places
    from lowbit.report.run_text import print_run
    from lowbit.report.table import print_report
    from lowbit.report.why import why
    from lowbit.study.result import RunResult, draw, draw_run, load_any, operators_in, operators_of

    result = load_any(options.study)
    console = Console()
    if isinstance(result, RunResult):
        if options.why is not None:
            console.print(why(*operators_in(result, options.why)))
            return 0
        draw_run(result)
        print_run(result.summary, console)
        print(f"page  {result.page}")
        return 0
    if options.why is not None:
        console.print(why(options.why, operators_of(result, options.why)))
        return 0
    draw(result)
    print_report(result.report, console)
    print_places(result)
    return 0

"""`lowbit run`: measure what a study file asks for, and hold published figures against it."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from lowbit.cli.values import number, whole

_CLAIM_NOT_HELD, _INTENDED_FAILED = 1, 3


def add_to(commands: Any) -> None:
    """Add the command and its options."""
    command = commands.add_parser(
        "run",
        help="carry out a study file and hold published figures against it",
        description="Measure the models of a study file, or of a study that comes with lowbit, and show published "
        "figures beside ours: each claim is held, not held, or could not be tried. The same command goes on where it "
        "was interrupted.",
    )
    command.set_defaults(run=run)
    add = command.add_argument
    add("study", metavar="FILE_OR_NAME", nargs="?", help="a study file in YAML, or a name that --list prints")
    add("--list", action="store_true", help="list the studies that come with lowbit, with what each needs")
    add("-o", "--out", metavar="DIR", type=Path, help="folder of the results (default: named after the study)")
    add("--with", dest="given", metavar="NAME=VALUE", type=given, action="append", default=[],
        help="what the study needs and cannot bring along, such as trained weights; may be repeated")  # fmt: skip
    add("--limit", type=whole, metavar="N", help="evaluate on N images only, whatever the file says")
    add("--rounds", type=whole, metavar="N", help="timed rounds, whatever the file says")
    add("--min-duration", type=number, metavar="S", help="shortest timed run in seconds, whatever the file says")
    add("--budget", metavar="TIME", help="end within 90s, 20m or 2h, by fewer rounds and shorter runs")
    add("--no-timing", dest="timing", action="store_false", default=None, help="measure no speed and no memory")
    add("--gate", action="store_true", help="exit with 1 when a claim is not held")
    add("--json", action="store_true", help="print the claims and the rows as JSON")


def given(text: str) -> tuple[str, str]:
    """NAME=VALUE."""
    name, sign, value = text.partition("=")
    if not (name and sign and value):
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE, as in weights=mine.safetensors")
    return name, value


def run(options: argparse.Namespace) -> int:
    """Run, print, and return the exit status."""
    from rich.console import Console

    from lowbit.cli.progress import shown
    from lowbit.core.codec import to_plain
    from lowbit.core.errors import BadInput
    from lowbit.report.run_text import print_run, print_studies
    from lowbit.report.tabular import to_json
    from lowbit.study.file import open_study, shipped
    from lowbit.study.pace import seconds_of
    from lowbit.study.run import RunRequest
    from lowbit.study.run import run as run_study

    if options.list:
        print_studies({name: open_study(name).study for name in shipped()}, Console())
        return 0
    if options.study is None:
        raise BadInput(f"lowbit run: expected a study file, or one of {', '.join(shipped())} (--list says more)")
    more = {key: getattr(options, key) for key in ("rounds", "min_duration", "timing")}
    request = RunRequest(
        study=options.study,
        out=options.out or Path(Path(options.study).stem),
        given=dict(options.given),
        limit=options.limit,
        options={key: value for key, value in more.items() if value is not None},
        budget_s=None if options.budget is None else seconds_of(options.budget),
        command=_command(options),
    )
    with shown() as listener:
        result = run_study(request, listener)
    if options.json:
        json.dump({"claims": to_plain(result.claims), "rows": to_json(result.rows)}, sys.stdout, indent=1)
        print()
    else:
        print_run(result.summary, Console())
        print(f"page  {result.page}")
    if options.gate and any(claim.verdict == "not held" for claim in result.claims):
        return _CLAIM_NOT_HELD
    broken = any(row.status == "failed" and row.intended for row in result.rows)
    return _INTENDED_FAILED if broken else 0


def _command(options: argparse.Namespace) -> str:
    """The command line that repeats the run."""
    import shlex

    words = ["lowbit", "run", options.study]
    for name, value in options.given:
        words += ["--with", f"{name}={value}"]
    for option in ("limit", "rounds", "min_duration", "budget", "out"):
        value = getattr(options, option)
        if value is not None:
            words += [f"--{option.replace('_', '-')}", str(value)]
    return shlex.join([*words, *(["--no-timing"] if options.timing is False else [])])

"""A study file's result in the terminal, and the list of studies that come with lowbit."""

from collections.abc import Mapping

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from lowbit.core.study import RunReport
from lowbit.core.study_file import StudyFile
from lowbit.report.claims import claims_text
from lowbit.report.table import print_report


def print_run(run: RunReport, console: Console) -> None:
    """Each model's tables, then the published figures."""
    console.print(Text(run.title, style="bold"))
    for section in run.sections:
        console.print()
        console.rule(Text(section.title), align="left")
        for note in section.notes:
            console.print(Text(f"! {note}", style="yellow"))
        for part in section.parts:
            print_report(part, console)
    for each in claims_text(run.claims, run.source):
        console.print(each)


def print_studies(studies: Mapping[str, StudyFile], console: Console) -> None:
    """Each study with what it asks and needs."""
    for name, study in studies.items():
        console.print(Text.assemble((name, "bold"), f"  {study.title}"))
        lines = [study.about] if study.about else []
        for need in study.needs:
            otherwise = "otherwise its models are left out" if need.otherwise is None else f"otherwise {need.otherwise}"
            if need.otherwise == "":
                otherwise = "or leave it out"
            lines.append(f"--with {need.name}=…: {need.what} ({otherwise}{f'; {need.then}' if need.then else ''})")
        for line in lines:
            console.print(Padding(Text(line, style="dim"), (0, 0, 0, 2), expand=False))

"""`lowbit doctor`: this machine, what is installed, and what its processor's int8 support means."""

import argparse
from typing import Any


def add_to(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "doctor",
        help="print this machine's facts, what is installed, and what is missing",
        description="Print this machine's facts, the toolchains and runtimes that are installed, how to get others.",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:  # noqa: ARG001 - every command takes its options
    """Look and print; nothing is imported from a vendor."""
    from rich.console import Console
    from rich.table import Table

    from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
    from lowbit.core.bounds import declared, outside
    from lowbit.core.discover import require, versions
    from lowbit.core.errors import UnsupportedError
    from lowbit.measure.host import facts, int8_meaning
    from lowbit.runtimes.find import runtimes
    from lowbit.study.cells import short_names
    from lowbit.toolchains.find import toolchains

    console, host = Console(), facts()
    grid = Table.grid(padding=(0, 2))
    for name, value in (
        ("host", host.id),
        ("processor", host.cpu),
        ("instruction sets", " ".join(host.isa) or "none known"),
        ("cores", f"{host.cores} usable of {host.threads}"),
        ("governor", host.governor),
        ("memory", f"{host.memory_bytes / 2**30:.1f} GiB"),
        ("system", f"{host.system}, Python {host.python}"),
        ("int8", int8_meaning(host)),
        (
            "versions",
            "\n".join(outside(versions(tuple(declared())))) or "all within the bounds that lowbit is made for",
        ),
    ):
        grid.add_row(f"[bold]{name}", value)
    console.print(grid)
    table = Table("kind", "name", "packages", "makes or reads", title_justify="left")
    faces: list[tuple[str, ToolchainInfo | RuntimeInfo, str]] = []
    faces += [("toolchain", m.INFO, ", ".join(short_names(m.INFO))) for m in toolchains().values()]
    faces += [("runtime", m.INFO, ", ".join(m.INFO.reads)) for m in runtimes().values()]
    for kind, info, does in faces:
        try:
            packages = ", ".join(f"{name} {version}" for name, version in require(info).items())
        except UnsupportedError as error:
            packages = f"[yellow]{error.reason}[/]\n{error.remedy.replace('[', chr(92) + '[')}"
        table.add_row(kind, info.name, packages, does)
    console.print(table)
    return 0

"""Why a row runs below 100 % integers: its executed operators, heaviest first, each with its precision and reason."""

from collections import Counter
from collections.abc import Sequence
from math import floor

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lowbit.core.adapter import OpPrecision


def why(row_name: str, precisions: Sequence[OpPrecision]) -> RenderableType:
    """Operators with multiply–accumulates one by one; the others counted by type, precision and reason."""
    if not precisions:
        return Text(f"{row_name}: this runtime does not tell what it executes")
    total = sum(op.macs for op in precisions)
    integer = sum(op.macs for op in precisions if op.integer)
    share = f"{floor(integer / total * 1000) / 10} %" if total else "none"  # never rounded up to 100
    parts: list[RenderableType] = [
        Text(row_name, style="bold"),
        Text(f"{share} of the graph's {total:,} multiply–accumulates a sample run on integer kernels", style="dim"),
    ]
    heavy = sorted((op for op in precisions if op.macs), key=lambda op: -op.macs)
    if heavy:
        parts += [Text(), _heavy(heavy, total)]
    light = [op for op in precisions if not op.macs]
    if light:
        parts += [Text("\nwithout multiply–accumulates"), _light(light)]
    return Group(*parts)


def _heavy(operators: Sequence[OpPrecision], total: int) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("operator", overflow="fold")
    table.add_column("type", no_wrap=True)
    table.add_column("share %", justify="right", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    table.add_column("integer", no_wrap=True)
    named = any(op.kernel for op in operators)
    if named:
        table.add_column("kernel", overflow="fold")
    table.add_column("reason", overflow="fold")
    for op in operators:
        table.add_row(
            Text(op.name),
            Text(op.op_type),
            f"{op.macs / total * 100:.1f}",
            Text(op.precision),
            Text(_kind(op), style="" if op.integer else "yellow"),
            *([Text(op.kernel)] if named else []),
            Text(op.reason),
        )
    return table


def _light(operators: Sequence[OpPrecision]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("count", justify="right")
    table.add_column("type", no_wrap=True)
    table.add_column("precision", no_wrap=True)
    named = any(op.kernel for op in operators)
    if named:
        table.add_column("kernel", overflow="fold")
    table.add_column("reason", overflow="fold")
    kinds = Counter((op.op_type, op.precision, op.kernel, op.reason) for op in operators)
    for (op_type, precision, kernel, reason), number in kinds.most_common():
        name = [Text(kernel)] if named else []
        table.add_row(str(number), Text(op_type), Text(precision), *name, Text(reason))
    return table


def _kind(op: OpPrecision) -> str:
    if op.hybrid:
        return "yes, hybrid"
    return "yes" if op.integer else "no"

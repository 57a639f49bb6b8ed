"""What the job `inspect` finds out about a file."""

from dataclasses import dataclass

from lowbit.core.adapter import OpPrecision


@dataclass(frozen=True, slots=True)
class Inspected:
    """metadata: the file's own entries, key → text; weight_bytes: layer → bytes of its stored weights, where our engine
    named them; operators: what was executed, those with weights under their layer's name.
    """

    metadata: dict[str, str]
    weight_bytes: dict[str, int]
    operators: tuple[OpPrecision, ...]

"""Which kind of model a user's `MODEL` is: every source says what it claims."""

import importlib
import pkgutil
from functools import cache
from typing import cast

from lowbit import sources
from lowbit.core.errors import BadInput
from lowbit.sources._edge import Source
from lowbit.sources._other_kinds import what_to_do


def find(spec: str) -> Source:
    """The source that claims `spec`; BadInput, with what to do and the forms there are, when none does."""
    for source in every():
        if source.claims(spec):
            return source
    forms = ", ".join(source.INFO.form for source in every())
    instead = what_to_do(spec)
    raise BadInput(
        f"{spec!r} names no model that lowbit can read{f': {instead}' if instead else ''}; expected one of: {forms}"
    )


@cache
def every() -> tuple[Source, ...]:
    """All sources in this folder, in order of their names: modules with an `INFO`, found by file name.

    Modules named `_…` are shared parts and `torch_…` hold torch code; neither is imported here.
    """
    names = [
        entry.name for entry in pkgutil.iter_modules(sources.__path__) if not entry.name.startswith(("_", "torch_"))
    ]
    modules = [importlib.import_module(f"{sources.__name__}.{name}") for name in sorted(names)]
    return tuple(cast(Source, module) for module in modules if hasattr(module, "INFO"))

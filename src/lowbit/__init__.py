"""lowbit: every quantized version of an image classifier, measured on every runtime that can read it."""

from typing import TYPE_CHECKING, Any

from lowbit.core.version import VERSION

__version__ = VERSION
__all__ = ["BadInput", "Profile", "Quantized", "StudyResult", "__version__", "compare", "load", "profile", "quantize"]

if TYPE_CHECKING:
    from lowbit.core.errors import BadInput
    from lowbit.core.profile import Profile
    from lowbit.study.api import compare, profile, quantize
    from lowbit.study.quantize import Quantized
    from lowbit.study.result import StudyResult, load

_HOMES = {
    "BadInput": "lowbit.core.errors",
    "Profile": "lowbit.core.profile",
    "Quantized": "lowbit.study.quantize",
    "StudyResult": "lowbit.study.result",
    "compare": "lowbit.study.api",
    "load": "lowbit.study.result",
    "profile": "lowbit.study.api",
    "quantize": "lowbit.study.api",
}


def __getattr__(name: str) -> Any:
    """Import a public name when it is first used, so that `import lowbit` costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module 'lowbit' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)

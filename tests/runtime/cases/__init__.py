"""Every operator that the importer carries, over its attributes and operator sets.

One list for three questions: is the imported module right, is the integer reference right in float, does the module
pass torch.export and torch.jit.trace.
"""

from tests.runtime.cases.case import Case
from tests.runtime.cases.elementwise import activations, arithmetic
from tests.runtime.cases.images import resizes, windows
from tests.runtime.cases.layers import attention, normalizations, recurrent
from tests.runtime.cases.places import moves, reductions

_FAMILIES = (activations, arithmetic, reductions, moves, windows, resizes, normalizations, recurrent, attention)


def everything() -> list[Case]:
    """The whole grid."""
    return [case for family in _FAMILIES for case in family()]

"""Looks at a .tflite file that TensorFlow's converter wrote, since the converter goes wrong without an error."""

from pathlib import Path

from lowbit.core.errors import LowbitError, UnsupportedError
from lowbit.core.recipe import Recipe
from lowbit.formats.litert.reading.content import read_content

_PRODUCTS = frozenset({"CONV_2D", "CONV_3D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV"})
_VARIABLES = frozenset({"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"})


def check_file(path: Path, recipe: Recipe, weights: int) -> None:
    """Weights may be missing, or types be others than those that were asked for.

    weights: how many numbers the kernels hold. Raises LowbitError for a file that is too small or keeps variables, and
    UnsupportedError where no layer has the activations that the recipe promises.
    """
    kinds, activations = set(), set()
    for graph in read_content(path).graphs:
        for operator in graph.operators:
            kinds.add(operator.kind)
            if operator.kind in _PRODUCTS:
                place = 2 if operator.kind == "TRANSPOSE_CONV" else 0
                activations.add(graph.tensors[operator.inputs[place]].kind)
    if kinds & _VARIABLES:
        raise LowbitError(
            f"TensorFlow's converter left variables in the file ({', '.join(sorted(kinds & _VARIABLES))})"
        )
    size, least = path.stat().st_size, int(0.9 * weights * (recipe.weight_bits or 8) / 8)
    if size < least:
        raise LowbitError(f"TensorFlow's converter wrote {size:,} bytes; the weights alone take {least:,}")
    if recipe.claim != "integer" or not activations:
        return
    promised = f"INT{recipe.activation_bits}"
    if promised not in activations:
        raise UnsupportedError(
            f"TensorFlow's converter left every layer's activations in {', '.join(sorted(activations))}, not {promised}"
        )

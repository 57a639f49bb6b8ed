"""Rounding to nearest, from the weights alone: the baseline."""

from lowbit.quant.formats import Format
from lowbit.quant.rounding.scales import Doubles, Rounded, nearest_codes, search


def nearest(weight: Doubles, bias: Doubles, kind: Format) -> Rounded:
    """`weight` [G, O, K] on the grid of least squared error; `bias` [G, O] as it is."""
    turned = weight.swapaxes(1, 2)
    grid = search(turned, kind)
    return grid.rounded(nearest_codes(turned, *grid.of_rows(turned.shape[1]), kind), bias, turned)

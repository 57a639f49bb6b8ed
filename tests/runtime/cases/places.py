"""Operators along axes, and those that move entries about."""

from typing import Any

import numpy as np

from tests.runtime.cases.case import Case, Nodes, one, scalar, to_float
from tests.runtime.importing import floats, ints, node


def reductions() -> list[Case]:
    """Operators along axes."""
    names = ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")
    cases = []
    for name in names:
        op_type = f"Reduce{name}"
        cases += [one(op_type, {"axes": ints(-1, 1)}, keepdims=keep, low=0.1, opset=18) for keep in (0, 1)]
        if name != "Sum":
            cases.append(one(op_type, axes=[2, 3], low=0.1, opset=13))
        cases.append(one(op_type, noop_with_empty_axes=1, low=0.1, opset=13 if name == "Sum" else 18))
    cases.append(one("ReduceProd", low=0.5, high=1.2, opset=13))
    for op_type in ("ArgMax", "ArgMin"):
        for last in (0, 1):
            options: dict[str, Any] = {"select_last_index": last, "whole": True, "opset": 13}
            cases += [to_float(op_type, axis=axis, keepdims=keep, **options) for axis, keep in ((1, 0), (-1, 1))]
    for exclusive, reverse in ((0, 0), (1, 0), (0, 1), (1, 1)):
        cases.append(one("CumSum", {"axis": scalar(-1, np.int64)}, exclusive=exclusive, reverse=reverse, opset=14))
    for largest, axis in ((1, -1), (0, 1)):
        nodes: Nodes = (node("TopK", "x k", "y i", largest=largest, axis=axis), node("Cast", "i", "z", to=1))
        cases.append(Case(f"TopK {largest}", nodes, {"k": ints(2)}, whole=True, outputs=("y", "z"), opset=13))
    cases += [one("Einsum", {"w": floats(6, 4)}, equation="bchw,wk->bkhc"), one("Einsum", equation="bcij->bc")]
    cases += [one("Det", shape=(3, 4, 4), opset=s) for s in (13, 22)]
    for inverse, onesided in ((0, 0), (0, 1), (1, 0)):
        cases.append(one("DFT", shape=(5, 6, 1), axis=2, inverse=inverse, onesided=onesided, opset=17))
    cases.append(one("DFT", {"n": scalar(8, np.int64), "axis": scalar(2, np.int64)}, shape=(5, 6, 2), opset=20))
    cases.append(one("DFT", shape=(5, 6, 2), opset=20, inverse=1))
    return cases


def moves() -> list[Case]:
    """Operators that move entries about, or pick and put them by their places."""
    cases = [one("Trilu", upper=upper, opset=14) for upper in (0, 1)]
    cases += [one("Trilu", {"k": scalar(k, np.int64)}, upper=upper) for k in (-2, 1) for upper in (0, 1)]
    cases += [one("EyeLike", shape=(5,), k=k, dtype=1, opset=13) for k in (0, 1, -1)]
    cases += [one("Transpose"), one("Transpose", perm=[0, 3, 1, 2], opset=21), one("Flatten", axis=2, opset=21)]
    cases += [one("DepthToSpace", shape=(8, 3, 2), blocksize=2, mode=mode, opset=13) for mode in ("DCR", "CRD")]
    cases += [one("SpaceToDepth", shape=(2, 4, 6), blocksize=2, opset=13)]
    sets = ((13, "reflect"), (18, "edge"), (19, "wrap"), (21, "constant"), (13, "edge"), (23, "reflect"))
    for opset, mode in sets:
        cases.append(one("Pad", {"p": ints(0, 0, 1, 2, 0, 0, 2, 1)}, mode=mode, opset=opset))
        cases.append(one("Pad", {"p": ints(0, 1, 1, 2, 0, 2, 0, 1)}, mode=mode, opset=opset))
    cases.append(one("Pad", {"p": ints(0, 0, -1, 2, 0, 0, 2, -1)}, mode="edge"))
    cases.append(one("Pad", {"p": ints(1, 2, 0, 3), "v": scalar(0.5), "a": ints(1, -1)}, opset=18))
    for axes in ((1, 2, 3), (-1, 2)):
        target = {3: (2, 8, 3), 2: (9, 3)}[len(axes)]
        cases.append(one("CenterCropPad", {"s": ints(*target)}, axes=axes, opset=18))
    lengths: Nodes = (
        node("Slice", "x zero one one", "first"),
        node("Squeeze", "first one", "f"),
        node("Cast", "f", "n", to=7),
    )
    for batch, time in ((0, 1), (1, 0)):
        turned: Nodes = (
            (node("Transpose", "x", "t", perm=[1, 0]), node("ReverseSequence", "t n", "r", batch_axis=1, time_axis=0))
            if batch
            else (node("ReverseSequence", "x n", "r", batch_axis=0, time_axis=1),)
        )
        name = f"ReverseSequence {time}"
        ends = {"zero": ints(0), "one": ints(1)}
        nodes: Nodes = (*lengths, *turned, node("Identity", "r", "y"))
        cases.append(Case(name, nodes, ends, shape=(6,), whole=True, low=1, high=6, opset=13))
    cases.append(one("Compress", {"c": np.array([1, 0, 1, 1, 0], bool)}, axis=2, opset=13))
    cases += [
        one("Gather", {"i": ints(*i).reshape(shape)}, axis=2) for i, shape in (((1, -1), (2,)), ((0, -2), (2, 1)))
    ]
    return [*cases, *_gathers(), *_scatters(), *_one_hots()]


def _gathers() -> list[Case]:
    """By constant and by computed places, from the image and from a constant."""
    computed = (node("ReduceMax", "x", "m", keepdims=1, axes=[3]), node("Cast", "m", "i", to=7))
    place = node("ArgMax", "x", "i", axis=3, keepdims=1)
    table = {"c": floats(3, 6), "i": ints(*[-1, 0, 3] * 6).reshape(3, 6)}
    rows, by_rows = {"t": floats(4, 3, 2)}, (node("Cast", "x", "i", to=7), node("GatherND", "t i"))
    return [
        Case("GatherElements computed", (*computed, node("GatherElements", "x i", axis=3)), opset=13, high=5.9),
        Case(
            "GatherElements of constants",
            (node("GatherElements", "c i", "g", axis=1), node("Add", "x g")),
            table,
            (3, 6),
        ),
        Case("GatherND behind axes", (place, node("GatherND", "x i", batch_dims=3)), opset=13),
        Case("GatherND of a constant", by_rows, rows, (5, 2), 13, whole=True, low=-2, high=2),
        Case("Gather computed", (node("Cast", "x", "i", to=7), node("Gather", "t i")), rows, (5,), whole=True, high=3),
    ]


def _scatters() -> list[Case]:
    """With every reduction; updates are expanded to the batch, as exporters do it."""
    cases = []
    for reduction, opset in (("none", 15), ("add", 16), ("mul", 16), ("max", 18), ("min", 18)):
        attributes: dict[str, Any] = {} if reduction == "none" else {"reduction": reduction}
        elements: Nodes = (
            node("Shape", "x", "n", end=1),
            node("Concat", "n rest", "s", axis=0),
            node("Expand", "v s", "u"),
            node("Expand", "j s", "i"),
            node("ScatterElements", "x i u", axis=1, **attributes),
        )
        constants = {"rest": ints(2, 5, 6), "v": floats(1, 2, 5, 6), "j": ints(-1, 0).reshape(1, 2, 1, 1)}
        cases.append(Case(f"ScatterElements {reduction}", elements, constants, opset=opset))
        slices: Nodes = (
            node("Transpose", "x", "t", perm=[1, 2, 3, 0]),
            node("Shape", "x", "n", end=1),
            node("Concat", "front n", "s", axis=0),
            node("Expand", "v s", "u"),
            node("ScatterND", "t i u", "r", **attributes),
            node("Transpose", "r", "y", perm=[3, 0, 1, 2]),
        )
        constants = {"i": ints(0, 1, 2, -1, 0, 1).reshape(3, 2), "front": ints(3, 6), "v": floats(3, 6, 1)}
        cases.append(Case(f"ScatterND {reduction}", slices, constants, opset=opset))
    return cases


def _one_hots() -> list[Case]:
    cases = []
    for axis in (-1, 1):
        values = {"d": scalar(5, np.int64), "v": np.array([0.5, 2.0], np.float32)}
        nodes = (node("Cast", "x", "i", to=7), node("OneHot", "i d v", axis=axis))
        cases.append(Case(f"OneHot {axis}", nodes, values, whole=True, low=-6, high=6, opset=13))
    return cases

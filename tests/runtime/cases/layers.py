"""Normalizations, recurrent layers and attention."""

from typing import Any

import numpy as np

from tests.runtime.cases.case import Case, Nodes, one
from tests.runtime.importing import floats, ints, node


def normalizations() -> list[Case]:
    """Normalizations."""
    cases = [one("LpNormalization", axis=axis, p=p, opset=s) for axis, p in ((-1, 2), (1, 1)) for s in (13, 22)]
    cases += [one("LpNormalization", low=0.0, high=0.4, whole=True)]
    cases += [one("MeanVarianceNormalization", axes=[2, 3], opset=13), one("MeanVarianceNormalization", axes=[1])]
    cases += [one("LRN", shape=(7, 3, 4), size=n, alpha=0.3, beta=0.6, bias=1.5, opset=13) for n in (1, 3, 5)]
    cases += [one("LayerNormalization", {"s": floats(5, 6), "b": floats(5, 6)}, axis=2, opset=17)]
    cases += [one("LayerNormalization", {"s": floats(6)}, outputs="y mean inverse", epsilon=0.01, opset=17)]
    cases += [one("RMSNormalization", {"s": floats(*s)}, axis=a, opset=23) for s, a in (((6,), -1), ((5, 6), 2))]
    pair = {"s": floats(3), "b": floats(3, seed=1)}
    cases += [one("InstanceNormalization", pair, opset=s) for s in (13, 22)]
    cases += [one("InstanceNormalization", pair, shape=(3, 4)), one("InstanceNormalization", pair, shape=(3, 2, 3, 4))]
    groups = {"s": floats(2), "b": floats(2, seed=1)}
    cases += [one("GroupNormalization", groups, shape=(4, 3, 3), num_groups=2, opset=18)]
    channels = {"s": floats(4), "b": floats(4, seed=1)}
    cases += [one("GroupNormalization", channels, shape=(4, 3, 3), num_groups=2, opset=21)]
    four = {**pair, "m": floats(3, seed=2), "v": floats(3, low=0.2)}
    cases += [one("BatchNormalization", four, opset=s) for s in (13, 14, 15)]
    return cases


def recurrent() -> list[Case]:
    """LSTM, GRU and RNN: directions, states, activations, and what torch has no layer for."""
    cases = []
    for op_type, gates in (("LSTM", 4), ("GRU", 3), ("RNN", 1)):
        state = ("h", "c") if op_type == "LSTM" else ("h",)
        late = ({"linear_before_reset": 1}, {}) if op_type == "GRU" else ({},)
        for more in late:
            for way in ("forward", "reverse", "bidirectional"):
                cases.append(_sequence(op_type, gates, way, more))
            cases.append(_sequence(op_type, gates, "bidirectional", more, ends=True, opset=22))
            cases.append(_sequence(op_type, gates, "bidirectional", more, start=state, ends=True))
            cases.append(_sequence(op_type, gates, "forward", {**more, "clip": 0.4}))
            cases.append(_sequence(op_type, gates, "forward", more, bias=False, opset=13))
    hard = {"activations": ["HardSigmoid", "Softsign", "ScaledTanh"], "activation_alpha": [0.3, 0.8],
            "activation_beta": [0.4, 0.9]}  # fmt: skip
    cases.append(_sequence("LSTM", 4, "forward", hard))
    cases.append(_sequence("LSTM", 4, "forward", {"input_forget": 1}))
    cases.append(_sequence("LSTM", 4, "bidirectional", {}, peepholes=True))
    cases.append(_sequence("GRU", 3, "forward", {"activations": ["Sigmoid", "Relu"]}))
    both = {"activations": ["Relu", "LeakyRelu"], "activation_alpha": [0.2]}
    cases.append(_sequence("RNN", 1, "bidirectional", both))
    cases.append(_sequence("RNN", 1, "forward", {"activations": ["Relu"]}))
    numbers = {"Affine": (0.7, 0.1), "ThresholdedRelu": (0.2,), "Elu": (0.8,), "Softplus": ()}
    for name, (*alpha_beta,) in numbers.items():
        given = zip(("activation_alpha", "activation_beta"), alpha_beta, strict=False)
        cases.append(_sequence("RNN", 1, "forward", {"activations": [name], **{k: [v] for k, v in given}}))
    return cases


def _sequence(
    op_type: str,
    gates: int,
    way: str,
    attributes: dict[str, Any],
    *,
    start: tuple[str, ...] = (),
    ends: bool = False,
    bias: bool = True,
    peepholes: bool = False,
    opset: int = 20,
) -> Case:
    """Rows of x [N, steps, inputs] as a sequence."""
    steps, inputs, hidden, ways = 5, 4, 3, 2 if way == "bidirectional" else 1
    constants = {
        "W": floats(ways, gates * hidden, inputs),
        "R": floats(ways, gates * hidden, hidden, seed=1),
        **({"B": floats(ways, 2 * gates * hidden, seed=2)} if bias else {}),
        **({"P": floats(ways, 3 * hidden, seed=3)} if peepholes else {}),
        **{f"{name}0": floats(ways, 1, hidden, seed=4) for name in start},
        "rest": ints(hidden),
        "ways": ints(ways),
    }
    nodes = [node("Transpose", "x", "t", perm=[1, 0, 2])]
    if start:
        nodes += [node("Shape", "x", "n", end=1), node("Concat", "ways n rest", "s", axis=0)]
        nodes += [node("Expand", f"{name}0 s", name) for name in start]
    names = f"t W R {'B' if bias else '-'}"
    if start or peepholes:
        names += f" - {'h' if start else '-'} {'c' if 'c' in start else '-'}" if op_type == "LSTM" else " - h"
    names += " P" if peepholes else ""
    all_outputs = ("y", "yh", "yc") if op_type == "LSTM" else ("y", "yh")
    outputs = all_outputs if ends else ("y",)
    nodes.append(node(op_type, names, " ".join(outputs), hidden_size=hidden, direction=way, **attributes))
    label = f"{op_type}-{opset} {way} {attributes} {start} {'ends' if ends else ''}{'P' if peepholes else ''}"
    return Case(label, tuple(nodes), constants, (steps, inputs), opset, outputs, low=-2, high=2)


def attention() -> list[Case]:
    """Attention and RotaryEmbedding of opset 23."""
    tokens = (5, 12)
    makes = tuple(node("MatMul", f"x {name}", name.lower()) for name in "QKV")
    weights = {name: floats(12, 12, seed=number) for number, name in enumerate("QKV")}
    heads: dict[str, Any] = {"q_num_heads": 3, "kv_num_heads": 3}
    mask = np.where(np.arange(25).reshape(5, 5) % 3 == 0, -np.inf, 0.2).astype(np.float32)
    cases = [Case("Attention", (*makes, node("Attention", "q k v", **heads)), weights, tokens, 23)]
    more: list[dict[str, Any]] = [{"is_causal": 1}, {"scale": 0.3}, {"softcap": 1.5}]
    for attributes in more:
        nodes: Nodes = (*makes, node("Attention", "q k v", **heads, **attributes))
        cases.append(Case(f"Attention {attributes}", nodes, weights, tokens, 23))
    for name, array in (("float", mask), ("bool", np.isfinite(mask))):
        nodes = (*makes, node("Attention", "q k v m", **heads))
        cases.append(Case(f"Attention {name} mask", nodes, {**weights, "m": array}, tokens, 23))
    shared = {**weights, "K": floats(12, 4, seed=5), "V": floats(12, 4, seed=6)}
    nodes = (*makes, node("Attention", "q k v", q_num_heads=3, kv_num_heads=1))
    cases.append(Case("Attention of shared keys", nodes, shared, tokens, 23))
    four: Nodes = (
        node("Reshape", "x shape", "h"),
        node("Transpose", "h", "q", perm=[0, 2, 1, 3]),
        node("Attention", "q q q"),
    )
    cases.append(Case("Attention-24 of four axes", four, {"shape": ints(0, 5, 3, 4)}, tokens, 24))
    cases.append(Case("Attention of four axes", four, {"shape": ints(0, 5, 3, 4)}, tokens, 23))
    angle = floats(5, 2)
    for interleaved in (0, 1):
        count = (node("Shape", "x", "n", end=1), node("Concat", "n five", "s", axis=0))
        spread = (*count, node("Expand", "places s", "p"))
        turn = node("RotaryEmbedding", "x cos sin p", num_heads=3, interleaved=interleaved)
        constants = {"cos": np.cos(angle), "sin": np.sin(angle), "places": ints(0, 1, 2, 3, 4).reshape(1, 5)}
        cases.append(
            Case(f"RotaryEmbedding {interleaved}", (*spread, turn), {**constants, "five": ints(5)}, tokens, 23)
        )
    partial = node("RotaryEmbedding", "x cos sin p", num_heads=2, rotary_embedding_dim=4)
    cases.append(Case("RotaryEmbedding of a part", (*spread, partial), {**constants, "five": ints(5)}, tokens, 23))
    return cases

"""LSTM, GRU and RNN, one step after the other; the number of steps is fixed.

The shapes in ONNX, with as many gates as `_GATES` says:

- x: [steps, N, inputs]; with layout 1, [N, steps, inputs], and the batch comes first in all other tensors too
- W: [directions, gates · hidden, inputs]
- R: [directions, gates · hidden, hidden]
- B: [directions, 2 · gates · hidden], first the input's biases, then the state's
- Y: [steps, directions, N, hidden]
- Y_h, Y_c: [directions, N, hidden]
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from lowbit.kerasgraph.builder import Builder, Handler, first
from lowbit.kerasgraph.operators.activations import softplus, softsign
from lowbit.kerasgraph.values import Array, Constant, ImportedOp, Value

Function = tuple[str, float, float]  # an activation's name, its alpha and its beta

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_DEFAULTS = {
    "Affine": (1.0, 0.0),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01, 0.0),
    "Elu": (1.0, 0.0),
    "ThresholdedRelu": (1.0, 0.0),
}
_PLAIN = {"Relu": tf.nn.relu, "Tanh": tf.tanh, "Sigmoid": tf.sigmoid, "Softsign": softsign, "Softplus": softplus}
_TAKES = {"Affine": 2, "ScaledTanh": 2, "HardSigmoid": 2, "LeakyRelu": 1, "Elu": 1, "ThresholdedRelu": 1}


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """One direction of a recurrent operator.

    - weight: W [gates · hidden, inputs]
    - recurrence: R [gates · hidden, hidden]
    - bias: [2, gates · hidden], the input's biases and the state's
    - peepholes: [3, hidden] of an LSTM that has them; otherwise None
    - functions: the activations, in ONNX's order
    - backwards: whether steps are read from the last to the first
    - clip: limit of what activations read; None: no limit
    - option: of an LSTM whether the gate f is 1 − i (input_forget); of a GRU whether the gate r multiplies the product
      of R and the state, and not the state (linear_before_reset)
    """

    weight: Array
    recurrence: Array
    bias: Array
    peepholes: Array | None
    functions: tuple[Function, ...]
    backwards: bool
    clip: float | None
    option: bool


def recurrent(b: Builder, op: ImportedOp) -> tuple[Value, ...]:
    """LSTM, GRU or RNN, in one direction or both: Y, Y_h, and of an LSTM Y_c, as many as the node has.

    Raises UnsupportedError where sequences of one batch may have different lengths.
    """
    x, batch_first = op.tensor(0), bool(op.attribute("layout", 0))
    steps, n = (x.shape[1], x.shape[0]) if batch_first else x.shape[:2]
    lengths = op.get(4)
    if lengths is not None and not (isinstance(lengths, Constant) and bool((lengths.array == steps).all())):
        raise op.unsupported("sequences whose lengths differ")
    ways = _directions(op)
    hidden = ways[0].recurrence.shape[-1]
    starts = [op.get(i) for i in ((5, 6) if op.type == "LSTM" else (5,))]
    operands = [b.plain(start) for start in starts if start is not None]
    there = [start is not None for start in starts]
    step = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}[op.type]

    def run(t: Any, *given: Any) -> Any:
        t = tf.transpose(t, (1, 0, 2)) if batch_first else t
        states = iter(given)
        begin = [next(states) if here else None for here in there]
        results = []
        for number, way in enumerate(ways):
            now = [_start(each, number, batch_first, n, hidden, t.dtype) for each in begin]
            line = []
            for at in reversed(range(steps)) if way.backwards else range(steps):
                now = step(t[at], now, way)
                line.append(now[0])
            results.append((tf.stack(line[::-1] if way.backwards else line), *now))
        y = tf.stack([each[0] for each in results], 1)
        ends = [tf.stack([each[i] for each in results], 0) for i in range(1, len(results[0]))]
        if batch_first:
            y, ends = tf.transpose(y, (2, 0, 1, 3)), [tf.transpose(end, (1, 0, 2)) for end in ends]
        return (y, *ends)

    return tuple(first(value) for value in b.call(run, b.plain(x), *operands)[: op.n_outputs])


def _start(state: Any, direction: int, batch_first: bool, n: int, hidden: int, kind: Any) -> Any:
    """The state of one direction before the first step, [N, hidden]; zeros where there is none."""
    if state is None:
        return tf.zeros((n, hidden), kind)
    return tf.broadcast_to(state[:, direction] if batch_first else state[direction], (n, hidden))


def _directions(op: ImportedOp) -> list[Direction]:
    """The directions of the node, each with its own part of W, R, B and P."""
    names = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    ways = names[op.attribute("direction", "forward")]
    functions = _functions(op, len(ways))
    bias, peepholes = op.optional_constant(3), op.optional_constant(7) if op.type == "LSTM" else None
    found = []
    for i, backwards in enumerate(ways):
        weight = op.constant(1)[i]
        sides = np.zeros((2, weight.shape[0]), np.float32) if bias is None else bias[i].reshape(2, -1)
        found.append(
            Direction(
                weight,
                op.constant(2)[i],
                sides,
                None if peepholes is None else peepholes[i].reshape(3, -1),
                functions[i],
                backwards,
                op.attribute("clip", 0.0) or None,
                bool(op.attribute("input_forget" if op.type == "LSTM" else "linear_before_reset", 0)),
            )
        )
    return found


def _functions(op: ImportedOp, ways: int) -> list[tuple[Function, ...]]:
    """The activations of each direction, with the alpha and beta of those that have them."""
    usual = _USUAL[op.type]
    names = [str(name) for name in op.attribute("activations", list(usual) * ways)]
    alphas, betas = (list(op.attribute(f"activation_{which}", [])) for which in ("alpha", "beta"))
    found: list[Function] = []
    known = {name.lower(): name for name in (*_PLAIN, *_TAKES)}  # ONNX tells them apart whatever their case
    for given in names:
        if (name := known.get(given.lower())) is None:
            raise op.unsupported(f"its activation {given!r} is not one of {', '.join(sorted(known.values()))}")
        alpha, beta = _DEFAULTS.get(name, (1.0, 1.0))
        takes = _TAKES.get(name, 0)
        if takes >= 1 and alphas:
            alpha = float(alphas.pop(0))
        if takes == 2 and betas:
            beta = float(betas.pop(0))
        found.append((name, alpha, beta))
    return [tuple(found[i * len(usual) : (i + 1) * len(usual)]) for i in range(ways)]


def _activate(x: Any, function: Function, clip: float | None) -> Any:
    """The activation of x, which is limited to [−clip, clip] before."""
    name, alpha, beta = function
    x = x if clip is None else tf.minimum(tf.maximum(x, -clip), clip)
    if name in _PLAIN:
        return _PLAIN[name](x)
    if name == "ScaledTanh":
        return alpha * tf.tanh(beta * x)
    if name == "LeakyRelu":
        return tf.nn.leaky_relu(x, alpha)
    if name == "ThresholdedRelu":
        return tf.where(x > alpha, x, tf.zeros_like(x))
    if name == "Elu":
        return tf.nn.relu(x) + alpha * (tf.exp(tf.minimum(x, 0.0)) - 1.0)
    line = alpha * x + beta
    return tf.minimum(tf.maximum(line, 0.0), 1.0) if name == "HardSigmoid" else line  # the other is Affine


def _linear(x: Any, weight: Array, bias: Array) -> Any:
    """x times the transposed weight, plus the bias."""
    return tf.matmul(x, np.ascontiguousarray(weight.T)) + bias


def _lstm(x: Any, now: list[Any], d: Direction) -> list[Any]:
    """State and cell [N, hidden] after one step x [N, inputs]; the gates are i, o, f and c in this order."""
    f, g, last = d.functions
    h, c = now
    gates = _linear(x, d.weight, d.bias[0]) + _linear(h, d.recurrence, d.bias[1])
    i, o, forget, new = tf.split(gates, 4, -1)
    p = d.peepholes
    i = _activate(i if p is None else i + p[0] * c, f, d.clip)
    kept = 1.0 - i if d.option else _activate(forget if p is None else forget + p[2] * c, f, d.clip)
    c = kept * c + i * _activate(new, g, d.clip)
    return [_activate(o if p is None else o + p[1] * c, f, d.clip) * _activate(c, last, d.clip), c]


def _gru(x: Any, now: list[Any], d: Direction) -> list[Any]:
    """The state [N, hidden] after one step x [N, inputs]; the gates are z, r and h in this order."""
    f, g = d.functions
    h, size = now[0], d.recurrence.shape[-1]
    cut = 2 * size
    gates = _linear(x, d.weight[:cut], d.bias[0][:cut]) + _linear(h, d.recurrence[:cut], d.bias[1][:cut])
    z, r = tf.split(_activate(gates, f, d.clip), 2, -1)
    past = (
        r * _linear(h, d.recurrence[cut:], d.bias[1][cut:])
        if d.option
        else _linear(r * h, d.recurrence[cut:], d.bias[1][cut:])
    )
    new = _activate(_linear(x, d.weight[cut:], d.bias[0][cut:]) + past, g, d.clip)
    return [(1.0 - z) * new + z * h]


def _rnn(x: Any, now: list[Any], d: Direction) -> list[Any]:
    """The state [N, hidden] after one step x [N, inputs]."""
    total = _linear(x, d.weight, d.bias[0]) + _linear(now[0], d.recurrence, d.bias[1])
    return [_activate(total, d.functions[0], d.clip)]


OPERATORS: dict[str, Handler] = dict.fromkeys(_GATES, recurrent)

"""LSTM, GRU and RNN: torch's own operator where it computes the same, otherwise one step after the other.

The shapes in ONNX, with as many gates as `_GATES` says:

- x: [steps, N, inputs]; with layout 1, [N, steps, inputs], and the batch comes first in all other tensors too
- W: [directions, gates · hidden, inputs]
- R: [directions, gates · hidden, hidden]
- B: [directions, 2 · gates · hidden], first the input's biases, then the state's
- Y: [steps, directions, N, hidden]
- Y_h, Y_c: [directions, N, hidden]
"""

import operator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import fx
from torch.nn import functional

from lowbit.torchgraph.builder import Builder, Handler
from lowbit.torchgraph.values import Constant, ImportedOp, Value

Function = tuple[str, float, float]  # an activation's name, its alpha and its beta

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_TORCH_ORDER = {"LSTM": (0, 2, 3, 1), "GRU": (1, 0, 2), "RNN": (0,)}  # ONNX's order is i, o, f, c and z, r, h
_DEFAULTS = {
    "Affine": (1.0, 0.0),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01, 0.0),
    "Elu": (1.0, 0.0),
    "ThresholdedRelu": (1.0, 0.0),
}
_PLAIN = {
    "Relu": torch.relu,
    "Tanh": torch.tanh,
    "Sigmoid": torch.sigmoid,
    "Softsign": functional.softsign,
    "Softplus": functional.softplus,
}
_TAKES = {"Affine": 2, "ScaledTanh": 2, "HardSigmoid": 2, "LeakyRelu": 1, "Elu": 1, "ThresholdedRelu": 1}


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction of a recurrent operator.

    - weight: W, a constant [gates · hidden, inputs]
    - recurrence: R, a constant [gates · hidden, hidden]
    - bias: a constant [2, gates · hidden], the input's biases and the state's
    - peepholes: a constant [3, hidden] of an LSTM that has them; otherwise None
    - h: the state before the first step [N, hidden]
    - c: the cell before the first step [N, hidden] of an LSTM; otherwise None
    - functions: the activations, in ONNX's order
    - backwards: whether steps are read from the last to the first
    """

    weight: Any
    recurrence: Any
    bias: Any
    peepholes: Any
    h: Any
    c: Any
    functions: tuple[Function, ...]
    backwards: bool


def recurrent(b: Builder, op: ImportedOp) -> tuple[Value, ...]:
    """LSTM, GRU or RNN, in one direction or both: Y, Y_h, and of an LSTM Y_c, as many as the node has.

    Raises UnsupportedError where sequences of one batch may have different lengths.
    """
    x = op.tensor(0)
    if op.get(4) is not None and not _is_full_length(b, op, x):
        raise op.unsupported("sequences whose lengths differ")
    batch_first = bool(op.attribute("layout", 0))
    x = b.call(torch.transpose, x, 0, 1) if batch_first else x
    results = [_one_way(b, op, x, direction) for direction in _directions(b, op, x)]
    y = b.call(torch.stack, [one[0] for one in results], 1)
    ends = [b.call(torch.stack, [one[i] for one in results], 0) for i in range(1, len(results[0]))]
    if batch_first:
        y = b.call(torch.permute, y, (2, 0, 1, 3))
        ends = [b.call(torch.transpose, end, 0, 1) for end in ends]
    return (y, *ends)[: op.n_outputs]


def _is_full_length(b: Builder, op: ImportedOp, x: fx.Node) -> bool:
    """Whether the lengths of sequences are constant, and all equal to the number of steps.

    A constant has one length per image, and so fixes the batch size: it is rare.
    """
    lengths = op.get(4)
    steps = b.shape(x)[1 if op.attribute("layout", 0) else 0]
    return isinstance(lengths, Constant) and not isinstance(steps, fx.Node) and bool((lengths.array == steps).all())


def _directions(b: Builder, op: ImportedOp, x: fx.Node) -> list[Direction]:
    """The directions of the node, each with its own part of W, R, B, P and the initial states."""
    names = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
    ways = names[op.attribute("direction", "forward")]
    functions = _functions(op, len(ways))
    hidden = op.constant(2).array.shape[-1]
    found = []
    for i, backwards in enumerate(ways):
        weight, recurrence = (
            Constant(f"{op.name}_{name}{i}", op.constant(at).array[i]) for name, at in (("W", 1), ("R", 2))
        )
        bias = op.optional_constant(3)
        sides = np.zeros((2, weight.array.shape[0]), np.float32) if bias is None else bias.array[i].reshape(2, -1)
        peepholes = op.optional_constant(7) if op.type == "LSTM" else None
        h = _start(b, op, 5, i, x, hidden)
        c = _start(b, op, 6, i, x, hidden) if op.type == "LSTM" else None
        peepholes = None if peepholes is None else Constant(f"{op.name}_P{i}", peepholes.array[i].reshape(3, -1))
        bias = Constant(f"{op.name}_B{i}", sides)
        found.append(Direction(weight, recurrence, bias, peepholes, h, c, functions[i], backwards))
    return found


def _start(b: Builder, op: ImportedOp, index: int, direction: int, x: fx.Node, hidden: int) -> fx.Node:
    """Input `index` of one direction, its state before the first step [N, hidden]; zeros where the input is absent."""
    n = b.shape(x)[1]
    if op.get(index) is None:
        return b.method("new_zeros", x, (n, hidden))
    axis = 1 if op.attribute("layout", 0) else 0
    state = b.call(torch.select, b.tensor(op.get(index)), axis, direction)
    if b.shape(state)[0] == 1:
        return b.method("expand", state, (n, hidden))
    return state


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


def _one_way(b: Builder, op: ImportedOp, x: fx.Node, d: Direction) -> list[fx.Node]:
    """The results of one direction: Y [steps, N, hidden], Y_h [N, hidden], and of an LSTM Y_c [N, hidden]."""
    x = b.call(torch.flip, x, (0,)) if d.backwards else x
    results = _by_torch(b, op, x, d) if _torch_does(op, d) else _by_steps(b, op, x, d)
    if d.backwards:
        results[0] = b.call(torch.flip, results[0], (0,))
    return results


def _torch_does(op: ImportedOp, d: Direction) -> bool:
    """Whether torch's own operator computes the same as ONNX's for this direction."""
    if op.attribute("clip", 0) or d.peepholes is not None or op.attribute("input_forget", 0):
        return False
    names = tuple(name for name, _, _ in d.functions)
    if op.type == "RNN":
        return names in (("Tanh",), ("Relu",))
    if op.type == "GRU" and not op.attribute("linear_before_reset", 0):
        return False
    return names == _USUAL[op.type]


def _by_torch(b: Builder, op: ImportedOp, x: fx.Node, d: Direction) -> list[fx.Node]:
    """The results of one direction by torch's own operator."""
    parameters = [b.attribute(_reordered(op, constant)) for constant in (d.weight, d.recurrence)]
    parameters += [
        b.attribute(_reordered(op, Constant(f"{d.bias.name}_{side}", d.bias.array[i]))) for i, side in enumerate("xh")
    ]
    h = b.call(torch.unsqueeze, d.h, 0)
    settings = (True, 1, 0.0, False, False, False)  # biases, one layer, no dropout, in evaluation, one way, steps first
    if op.type == "LSTM":
        made = b.call(torch.lstm, x, (h, b.call(torch.unsqueeze, d.c, 0)), parameters, *settings)
    elif op.type == "GRU":
        made = b.call(torch.gru, x, h, parameters, *settings)
    else:
        function = torch.rnn_tanh if d.functions[0][0] == "Tanh" else torch.rnn_relu
        made = b.call(function, x, h, parameters, *settings)
    y, *ends = (b.call(operator.getitem, made, i) for i in range(3 if op.type == "LSTM" else 2))
    return [y, *(b.call(torch.squeeze, end, 0) for end in ends)]


def _reordered(op: ImportedOp, constant: Constant) -> Constant:
    """The constant with its gates in torch's order."""
    gates = np.split(constant.array, _GATES[op.type], axis=0)
    return Constant(constant.name, np.concatenate([gates[gate] for gate in _TORCH_ORDER[op.type]]))


def _by_steps(b: Builder, op: ImportedOp, x: fx.Node, d: Direction) -> list[fx.Node]:
    """The results of one direction, one step after the other; the number of steps must be fixed."""
    if isinstance(b.shape(x)[0], fx.Node):
        raise op.unsupported("its sequence runs along the batch")
    weight, recurrence, bias = (b.attribute(constant) for constant in (d.weight, d.recurrence, d.bias))
    clip = op.attribute("clip", 0.0) or None
    if op.type == "LSTM":
        peepholes = None if d.peepholes is None else b.attribute(d.peepholes)
        couples = bool(op.attribute("input_forget", 0))
        made = b.call(lstm_by_steps, x, weight, recurrence, bias, peepholes, d.h, d.c, d.functions, clip, couples)
        return [b.call(operator.getitem, made, i) for i in range(3)]
    if op.type == "GRU":
        late = bool(op.attribute("linear_before_reset", 0))
        made = b.call(gru_by_steps, x, weight, recurrence, bias, d.h, d.functions, clip, late)
    else:
        made = b.call(rnn_by_steps, x, weight, recurrence, bias, d.h, d.functions, clip)
    return [b.call(operator.getitem, made, i) for i in range(2)]


def _activate(x: torch.Tensor, function: Function, clip: float | None) -> torch.Tensor:
    """The activation of x, which is limited to [−clip, clip] before."""
    name, alpha, beta = function
    x = x if clip is None else torch.clamp(x, -clip, clip)
    if name in _PLAIN:
        return _PLAIN[name](x)
    if name == "ScaledTanh":
        return alpha * torch.tanh(beta * x)
    if name == "LeakyRelu":
        return functional.leaky_relu(x, alpha)
    if name == "ThresholdedRelu":
        return functional.threshold(x, alpha, 0.0)
    if name == "Elu":
        return functional.elu(x, alpha)
    line = alpha * x + beta
    return torch.clamp(line, 0.0, 1.0) if name == "HardSigmoid" else line  # the other is Affine


def lstm_by_steps(
    x: torch.Tensor,
    weight: torch.Tensor,
    recurrence: torch.Tensor,
    bias: torch.Tensor,
    peepholes: torch.Tensor | None,
    h: torch.Tensor,
    c: torch.Tensor,
    functions: tuple[Function, ...],
    clip: float | None,
    couples: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """An LSTM as ONNX defines it: Y [steps, N, hidden], Y_h and Y_c [N, hidden].

    - x: [steps, N, inputs]
    - weight, recurrence: [4 · hidden, inputs] and [4 · hidden, hidden], for the gates i, o, f and c in this order
    - bias: [2, 4 · hidden]
    - peepholes: [3, hidden], of the gates i, o and f; None: there are none
    - h, c: state and cell before the first step, [N, hidden]
    - functions: the activations of the gates, of the new cell, and of the cell in the result
    - clip: limit of what activations read; None: no limit
    - couples: whether the gate f is 1 − i (ONNX's input_forget)
    """
    f, g, last = functions
    states = []
    for step in x.unbind(0):
        i, o, forget, new = (
            functional.linear(step, weight, bias[0]) + functional.linear(h, recurrence, bias[1])
        ).chunk(4, -1)
        i = _activate(i if peepholes is None else i + peepholes[0] * c, f, clip)
        kept = 1 - i if couples else _activate(forget if peepholes is None else forget + peepholes[2] * c, f, clip)
        c = kept * c + i * _activate(new, g, clip)
        h = _activate(o if peepholes is None else o + peepholes[1] * c, f, clip) * _activate(c, last, clip)
        states.append(h)
    return torch.stack(states), h, c


def gru_by_steps(
    x: torch.Tensor,
    weight: torch.Tensor,
    recurrence: torch.Tensor,
    bias: torch.Tensor,
    h: torch.Tensor,
    functions: tuple[Function, ...],
    clip: float | None,
    late: bool,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A GRU as ONNX defines it: Y [steps, N, hidden] and Y_h [N, hidden].

    - x: [steps, N, inputs]
    - weight, recurrence: [3 · hidden, inputs] and [3 · hidden, hidden], for the gates z, r and h in this order
    - bias: [2, 3 · hidden]
    - h: the state before the first step, [N, hidden]
    - functions: the activations of the gates z and r, and of the gate h
    - clip: limit of what activations read; None: no limit
    - late: whether the gate r multiplies the product of R and the state (ONNX's linear_before_reset), and not the state
    """
    f, g = functions
    parts = [2 * h.shape[-1], h.shape[-1]]
    weight_gates, weight_new = torch.split(weight, parts)
    recurrence_gates, recurrence_new = torch.split(recurrence, parts)
    bias_gates, bias_new = torch.split(bias, parts, -1)
    states = []
    for step in x.unbind(0):
        gates = functional.linear(step, weight_gates, bias_gates[0]) + functional.linear(
            h, recurrence_gates, bias_gates[1]
        )
        z, r = _activate(gates, f, clip).chunk(2, -1)
        past = (
            r * functional.linear(h, recurrence_new, bias_new[1])
            if late
            else functional.linear(r * h, recurrence_new, bias_new[1])
        )
        h = (1 - z) * _activate(functional.linear(step, weight_new, bias_new[0]) + past, g, clip) + z * h
        states.append(h)
    return torch.stack(states), h


def rnn_by_steps(
    x: torch.Tensor,
    weight: torch.Tensor,
    recurrence: torch.Tensor,
    bias: torch.Tensor,
    h: torch.Tensor,
    functions: tuple[Function, ...],
    clip: float | None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """An RNN as ONNX defines it: Y [steps, N, hidden] and Y_h [N, hidden].

    - x: [steps, N, inputs]
    - weight, recurrence: [hidden, inputs] and [hidden, hidden]
    - bias: [2, hidden]
    - h: the state before the first step, [N, hidden]
    - functions: the one activation
    - clip: limit of what it reads; None: no limit
    """
    states = []
    for step in x.unbind(0):
        h = _activate(
            functional.linear(step, weight, bias[0]) + functional.linear(h, recurrence, bias[1]), functions[0], clip
        )
        states.append(h)
    return torch.stack(states), h


OPERATORS: dict[str, Handler] = dict.fromkeys(_GATES, recurrent)

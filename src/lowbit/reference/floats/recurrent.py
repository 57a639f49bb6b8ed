"""LSTM, GRU and RNN step by step: all directions, activations, states, clipping and peepholes."""

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from lowbit.core.errors import UnsupportedError
from lowbit.reference.floats.rule import Array, FloatOp, Reals, given, needed

Function = Callable[[Reals], Reals]

_USUAL = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_NUMBERS = {  # how many of alpha and beta a function takes, and what they are when not given
    "affine": (1.0, 0.0),
    "scaledtanh": (1.0, 1.0),
    "hardsigmoid": (0.2, 0.5),
    "leakyrelu": (0.01,),
    "elu": (1.0,),
    "thresholdedrelu": (1.0,),
}


def _sigmoid(x: Reals) -> Reals:
    return 1 / (1 + np.exp(-x))


def _function(name: str, numbers: tuple[float, ...]) -> Function:
    alpha, beta = (*numbers, 0.0, 0.0)[:2]
    functions: dict[str, Function] = {
        "relu": lambda x: np.maximum(x, 0),
        "tanh": np.tanh,
        "sigmoid": _sigmoid,
        "softsign": lambda x: x / (1 + np.abs(x)),
        "softplus": lambda x: np.logaddexp(x, 0),
        "affine": lambda x: alpha * x + beta,
        "scaledtanh": lambda x: alpha * np.tanh(beta * x),
        "hardsigmoid": lambda x: np.clip(alpha * x + beta, 0, 1),
        "leakyrelu": lambda x: np.where(x < 0, alpha * x, x),
        "elu": lambda x: np.where(x < 0, alpha * np.expm1(np.minimum(x, 0)), x),
        "thresholdedrelu": lambda x: np.where(x > alpha, x, 0),
    }
    return functions[name]


def _functions(op: FloatOp, ways: int) -> list[list[Function]]:
    """Each direction's activations; alphas and betas are given out in the order of those that take them."""
    usual = _USUAL[op.type]
    names = [name.decode().lower() for name in op.attributes.get("activations", [])]
    names = names or [name.lower() for name in usual] * ways
    rest = [list(op.attributes.get(f"activation_{which}", [])) for which in ("alpha", "beta")]
    found = []
    for name in names:
        numbers = tuple(
            float(given_ones.pop(0)) if given_ones else default
            for given_ones, default in zip(rest, _NUMBERS.get(name, ()), strict=False)
        )
        found.append(_function(name, numbers))
    return [found[i * len(usual) : (i + 1) * len(usual)] for i in range(ways)]


def _recurrent(op: FloatOp, arrays: Sequence[Array | None]) -> list[Array]:
    """Y [steps, ways, N, hidden], Y_h and, of an LSTM, Y_c [ways, N, hidden]; the batch first with layout 1."""
    x, weight, state = (needed(arrays, i).astype(np.float64) for i in range(3))
    batch_first = bool(op.attributes.get("layout", 0))
    x = x.swapaxes(0, 1) if batch_first else x
    lengths = given(arrays, 4)
    if lengths is not None and (lengths != len(x)).any():
        raise UnsupportedError(f"{op.type}: sequences whose lengths differ", "verify another model")
    ways, hidden = len(weight), state.shape[-1]
    bias, peepholes = given(arrays, 3), given(arrays, 7)
    starts = [_start(given(arrays, i), ways, x.shape[1], hidden, batch_first=batch_first) for i in (5, 6)]
    functions = _functions(op, ways)
    results = []
    for way in range(ways):
        backwards = way == 1 or op.text("direction", "forward") == "reverse"
        sides = np.zeros((2, weight.shape[1])) if bias is None else bias[way].reshape(2, -1).astype(np.float64)
        extra = np.zeros((3, hidden)) if peepholes is None else peepholes[way].reshape(3, -1).astype(np.float64)
        cell = _Cell(op, weight[way], state[way], sides, extra, functions[way])
        steps = list(cell.run(x[::-1] if backwards else x, starts[0][way], starts[1][way]))
        rows = np.stack([h for h, _ in steps])
        results.append((rows[::-1] if backwards else rows, *steps[-1]))
    y = np.stack([rows for rows, _, _ in results], 1)
    ends = [np.stack([each[i] for each in results]) for i in (1, 2)][: 2 if op.type == "LSTM" else 1]
    if batch_first:
        y, ends = y.transpose(2, 0, 1, 3), [end.swapaxes(0, 1) for end in ends]
    return [y, *ends]


def _start(state: Array | None, ways: int, batch: int, hidden: int, *, batch_first: bool) -> Reals:
    if state is None:
        return np.zeros((ways, batch, hidden))
    return (state.swapaxes(0, 1) if batch_first else state).astype(np.float64)


class _Cell:
    """One direction: its parameters, and what it makes of a sequence."""

    def __init__(
        self, op: FloatOp, weight: Reals, state: Reals, sides: Reals, peepholes: Reals, functions: list[Function]
    ) -> None:
        self.op = op
        self.weight, self.state, self.sides, self.peepholes = weight, state, sides, peepholes
        limit = op.attributes.get("clip", 0) or np.inf
        self.functions: list[Function] = [
            lambda x, function=function: function(np.clip(x, -limit, limit))  # type: ignore[misc]  # binds each
            for function in functions
        ]

    def run(self, x: Reals, h: Reals, c: Reals) -> Iterator[tuple[Reals, Reals]]:
        """The states h and c [N, hidden] after each step of x [steps, N, inputs]."""
        for step in x:
            if self.op.type == "LSTM":
                h, c = self._lstm(step, h, c)
            elif self.op.type == "GRU":
                h = self._gru(step, h)
            else:
                (f,) = self.functions
                h = f(self._sums(step, h))
            yield h, c

    def _sums(self, step: Reals, h: Reals) -> Reals:
        sums: Reals = step @ self.weight.T + h @ self.state.T + self.sides.sum(axis=0)
        return sums

    def _lstm(self, step: Reals, h: Reals, c: Reals) -> tuple[Reals, Reals]:
        f, g, last = self.functions
        i, o, forget, new = np.split(self._sums(step, h), 4, axis=-1)
        of_i, of_o, of_f = self.peepholes
        i = f(i + of_i * c)
        kept = 1 - i if self.op.attributes.get("input_forget", 0) else f(forget + of_f * c)
        c = kept * c + i * g(new)
        return f(o + of_o * c) * last(c), c

    def _gru(self, step: Reals, h: Reals) -> Reals:
        f, g = self.functions
        n = h.shape[-1]
        gates = step @ self.weight[: 2 * n].T + h @ self.state[: 2 * n].T + self.sides[:, : 2 * n].sum(axis=0)
        z, r = np.split(f(gates), 2, axis=-1)
        late = self.op.attributes.get("linear_before_reset", 0)
        past = self.state[2 * n :].T
        before = r * (h @ past + self.sides[1, 2 * n :]) if late else (r * h) @ past + self.sides[1, 2 * n :]
        new = g(step @ self.weight[2 * n :].T + self.sides[0, 2 * n :] + before)
        return np.asarray((1 - z) * new + z * h)


RULES = dict.fromkeys(("LSTM", "GRU", "RNN"), _recurrent)

"""The Keras model while it is built: adds layers and functions, and puts the axes of tensors where they are needed."""

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from lowbit.core.text import said
from lowbit.kerasgraph.operation import operation
from lowbit.kerasgraph.values import Array, Constant, ImportedOp, Tensor, Value, channels_last, in_order, moved

Handler = Callable[["Builder", ImportedOp], Value | tuple[Value, ...]]
Operand = Any  # a symbolic tensor, or a NumPy array

_ERRORS = (ValueError, TypeError, tf.errors.OpError, NotImplementedError)


class Builder:
    """The layers of one ONNX graph. Every size is a number: the model is made for one batch size.

    - batch: the batch size
    - op: the ONNX node that is being imported. Layers are named after it, and errors name it.
    """

    def __init__(self, batch: int) -> None:
        self.batch = batch
        self.op = ImportedOp(name="x", type="input", opset=0, inputs=(), attributes={})
        self._names: set[str] = set()
        self._placed: dict[tuple[int, tuple[int, ...]], Any] = {}
        self._kept: list[Any] = []  # keeps alive what `_placed` knows by its id

    # -- adding to the model

    def image(self, name: str, shape: tuple[int, ...]) -> Tensor:
        """The model's input. An image [N, C, H, W] is kept as [N, H, W, C], unless one could be mistaken for the other.

        An input with other axes stays as it is.
        """
        turned = (*shape[1:], shape[0])
        last = len(shape) == 3 and turned != shape
        value = tf_keras.Input(turned if last else shape, batch_size=self.batch, name=self._unique(name))
        return Tensor(value, channels_last(4) if last else tuple(range(len(shape) + 1)))

    def layer(self, layer: Any, *inputs: Any, weights: Sequence[Array] = ()) -> Any:
        """The result of a Keras layer, which gets `weights`. Raises UnsupportedError in Keras' words."""
        try:
            result = layer(inputs[0] if len(inputs) == 1 else list(inputs))
        except _ERRORS as error:
            raise self.op.unsupported(f"Keras says: {said(error)}") from error
        if weights:
            layer.set_weights([np.asarray(weight) for weight in weights])
        return result

    def call(self, function: Callable[..., Any], *operands: Operand) -> Any:
        """function(*operands), where NumPy arrays are constants of the function and symbolic tensors are computed."""
        fixed = {i: each for i, each in enumerate(operands) if isinstance(each, np.ndarray | np.generic)}
        inputs = [each for i, each in enumerate(operands) if i not in fixed]

        def apply(*tensors: Any) -> Any:
            rest = iter(tensors)
            return function(*(tf.constant(fixed[i]) if i in fixed else next(rest) for i in range(len(operands))))

        return self.layer(operation(apply, self.name()), *inputs)

    def name(self, suffix: str = "") -> str:
        """A name for a layer of the current operator."""
        return self._unique(f"{self.op.name}{suffix}")

    # -- where axes are

    def placed(self, x: Tensor, axes: tuple[int, ...]) -> Any:
        """The symbolic tensor of x with ONNX's axis i at axes[i]; nothing is moved where it has them there."""
        if x.columns is not None:
            raise self.op.unsupported("its columns are in the order of another layout")  # a mistake of the importer
        order = tuple(x.axes[axes.index(place)] for place in range(len(axes)))
        if in_order(order):
            return x.value
        key = (id(x.value), order)
        if key not in self._placed:
            self._placed[key] = self._moved(x.value, order)
            self._kept.append(x.value)
        return self._placed[key]

    def _moved(self, value: Any, order: tuple[int, ...]) -> Any:
        long = [axis for axis in order if value.shape[axis] != 1]
        if long == sorted(long):  # only axes of size 1 change their place: no entry moves
            return self.reshaped(value, [value.shape[axis] for axis in order])
        if order[0] == 0:
            return self.layer(tf_keras.layers.Permute(order[1:], name=self.name("_permute")), value)
        return self.call(lambda t: tf.transpose(t, order), value)

    def reshaped(self, value: Any, shape: Sequence[int]) -> Any:
        """`value` in another shape."""
        target = tuple(int(size) for size in shape)
        if tuple(value.shape) == target:
            return value
        if target and len(value.shape) and value.shape[0] == target[0]:
            return self.layer(tf_keras.layers.Reshape(target[1:], name=self.name("_reshape")), value)
        return self.call(lambda t: tf.reshape(t, target), value)

    def plain(self, value: Value | None) -> Operand:
        """A value with its axes in ONNX's order: a symbolic tensor, or the array of a constant."""
        if isinstance(value, Tensor):
            return self.placed(value, tuple(range(value.rank)))
        if value is None:
            raise self.op.unsupported("an input is missing")
        return value.array

    def last(self, x: Tensor) -> Any:
        """The symbolic tensor of an image x [N, C, …] as [N, …, C]."""
        return self.placed(x, channels_last(x.rank))

    def together(self, values: Sequence[Value | None]) -> tuple[list[Operand], tuple[int, ...]]:
        """Values that broadcast against each other, with their axes in the same places, and these places."""
        rank = max(each.rank if isinstance(each, Tensor) else each.array.ndim for each in values if each is not None)
        tensors = [each for each in values if isinstance(each, Tensor)]
        largest = max((x for x in tensors if x.rank == rank), key=lambda x: int(np.prod(x.shape)), default=None)
        axes = tuple(range(rank)) if largest is None else largest.axes
        return [self._beside(each, axes) for each in values], axes

    def _beside(self, value: Value | None, axes: tuple[int, ...]) -> Operand:
        if isinstance(value, Constant):
            return value.array if in_order(axes) or value.array.ndim == 0 else moved(value.array, axes)
        if value is None:
            raise self.op.unsupported("an input is missing")
        if value.rank == len(axes):
            return self.placed(value, axes)
        if in_order(axes):
            return self.plain(value)
        missing = len(axes) - value.rank
        wide = self.reshaped(self.plain(value), (1,) * missing + value.shape)
        return self.placed(Tensor(wide, tuple(range(len(axes)))), axes)

    # -- rules that many operators share

    def each(self, function: Callable[[Any], Any], x: Tensor, *, nonnegative: bool = False) -> Tensor:
        """A function of each entry of x."""
        return replace(x, value=self.call(function, x.value), nonnegative=nonnegative)

    def pairs(self, function: Callable[..., Any], *values: Value | None) -> Tensor:
        """A function of the entries of several values, which broadcast."""
        operands, axes = self.together(values)
        return Tensor(self.call(function, *operands), axes)

    def whole(self, function: Callable[..., Any], *values: Value | None) -> Tensor:
        """A function of values with their axes in ONNX's order."""
        return first(self.call(function, *(self.plain(value) for value in values)))

    def pad(self, x: Tensor, pairs: Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
        """x with `value` around it, by a pair (begin, end) for each ONNX axis; negative amounts cut entries off."""
        if not any(any(pair) for pair in pairs):
            return x
        amounts = [pairs[x.axes.index(place)] for place in range(x.rank)]
        result = x.value
        if any(min(pair) < 0 for pair in amounts):
            cut = tuple(
                slice(max(-begin, 0), size - max(-end, 0))
                for (begin, end), size in zip(amounts, result.shape, strict=True)
            )
            result = self.call(lambda t: t[cut], result)
        wide = [(max(begin, 0), max(end, 0)) for begin, end in amounts]
        if any(any(pair) for pair in wide):
            result = self._padded(result, wide, value)
        return replace(x, value=result, nonnegative=x.nonnegative and value >= 0)

    def _padded(self, value: Any, pairs: list[tuple[int, int]], fill: float) -> Any:
        if fill == 0 and len(pairs) == 4 and not any(pairs[0] + pairs[3]):
            return self.layer(tf_keras.layers.ZeroPadding2D(tuple(pairs[1:3]), name=self.name("_pad")), value)
        return self.call(lambda t: tf.pad(t, pairs, constant_values=tf.cast(fill, t.dtype)), value)

    # -- inside

    def _unique(self, name: str) -> str:
        """`name` as Keras allows it, and as no other layer has it yet, whatever the case of its letters."""
        stem = re.sub(r"[^A-Za-z0-9_.]+", "_", name).strip("_") or "value"
        unique, count = stem, 0
        while unique.lower() in self._names:
            count += 1
            unique = f"{stem}_{count}"
        self._names.add(unique.lower())
        return unique


def first(value: Any) -> Tensor:
    """A symbolic tensor whose axes are in ONNX's order."""
    return Tensor(value, tuple(range(len(value.shape))))

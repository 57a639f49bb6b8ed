"""The graph under construction: adds torch calls and layers, and knows every value's shape.

Shapes are observed, not inferred: each call is run at once on meta tensors (shapes without data) for two batch sizes.
What is equal in both is an integer; what differs depends on the batch and stays symbolic.
"""

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import fx, nn

from lowbit.core.text import said
from lowbit.torchgraph.values import Constant, ImportedOp, Sizes, Value

_BATCHES = (5, 7)  # unlikely as a product or a quotient of a network's own sizes, and not 1, which would broadcast

Handler = Callable[["Builder", ImportedOp], Value | tuple[Value, ...]]


class Builder:
    """Collects fx nodes and submodules for one graph; `op` is the ONNX node whose handler is running."""

    def __init__(self) -> None:
        self.root = nn.Module()
        self.graph = fx.Graph()
        self.op = ImportedOp(name="x", type="input", opset=0, inputs=(), attributes={})
        self._observed: dict[fx.Node, tuple[Any, ...]] = {}
        self._parameters: dict[tuple[Constant, bool], nn.Parameter] = {}
        self._attributes: dict[Constant, fx.Node] = {}
        self._sizes: dict[tuple[fx.Node, int], fx.Node] = {}
        self._names: set[str] = set()

    # -- adding to the graph

    def input(self, name: str, shape: tuple[int, ...], dtype: torch.dtype) -> fx.Node:
        """The module's argument, with a free batch: `shape` is one sample's."""
        node = self.graph.placeholder(name)
        self._names.add(name)
        return self._remember(node, tuple(torch.empty(b, *shape, dtype=dtype, device="meta") for b in _BATCHES))

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """function(*args, **kwargs), where fx nodes stand for tensors and sizes."""
        node = self.graph.call_function(function, args, kwargs)
        return self._observe(node, function)

    def method(self, name: str, x: fx.Node, *args: Any) -> fx.Node:
        """x.name(*args), a tensor's method."""
        node = self.graph.call_method(name, (x, *args))
        return self._observe(node, getattr(torch.Tensor, name))

    def layer(self, module: nn.Module, *args: fx.Node) -> fx.Node:
        """A submodule named after the ONNX node, applied to `args`."""
        name = self._unique(self.op.name)
        self.root.add_module(name, module.eval())
        node = self.graph.call_module(name, args)
        on_meta = {key: tensor.to("meta") for key, tensor in module.state_dict(keep_vars=True).items()}
        return self._observe(node, lambda *a: torch.func.functional_call(module, on_meta, a))

    # -- constants

    def parameter(self, constant: Constant, *, transpose: bool = False) -> nn.Parameter:
        """The trainable tensor of a constant (optionally of its transpose); the same one each time."""
        key = (constant, transpose)
        if key not in self._parameters:
            array = constant.array.T if transpose else constant.array
            self._parameters[key] = nn.Parameter(to_torch(array))
        return self._parameters[key]

    def attribute(self, constant: Constant) -> fx.Node:
        """A constant as a tensor of the module: several floats become a Parameter, anything else a buffer.

        A single float is a setting (a temperature, an epsilon) rather than something that was learned.
        """
        if constant not in self._attributes:
            name = self._unique(constant.name)
            if np.issubdtype(constant.array.dtype, np.floating) and constant.array.size > 1:
                tensor: torch.Tensor = self.parameter(constant)
                self.root.register_parameter(name, self.parameter(constant))
            else:
                tensor = to_torch(constant.array)
                self.root.register_buffer(name, tensor)
            node = self.graph.get_attr(name)
            self._attributes[constant] = self._remember(node, (tensor.to("meta"),) * len(_BATCHES))
        return self._attributes[constant]

    def buffer(self, suffix: str, array: npt.NDArray[Any]) -> fx.Node:
        """A tensor that the running operator needs and nobody trains (indices, divisors)."""
        name = self._unique(f"{self.op.name}_{suffix}")
        tensor = to_torch(array)
        self.root.register_buffer(name, tensor)
        return self._remember(self.graph.get_attr(name), (tensor.to("meta"),) * len(_BATCHES))

    def tensor(self, value: Value | None) -> fx.Node:
        """`value` as a tensor, whatever it is."""
        if isinstance(value, fx.Node):
            return value
        if isinstance(value, Constant):
            return self.attribute(value)
        raise self.op.unsupported("it takes a size that depends on the batch as a tensor")

    def operand(self, value: Value | None) -> Any:
        """`value` as one side of an elementwise operation: rank-0 constants and sizes become plain numbers."""
        if isinstance(value, Constant) and value.array.ndim == 0:
            return value.array.item()
        if isinstance(value, Sizes) and value.array.size == 1:
            return value.array.reshape(-1)[0]
        return self.tensor(value)

    # -- shapes

    def shape(self, x: fx.Node) -> list[Any]:
        """x's sizes: an int where it is fixed, a node that asks for x.size(axis) where it depends on the batch."""
        pairs = enumerate(zip(*(observed.shape for observed in self._observed[x]), strict=True))
        return [size if size == other else self._size(x, axis) for axis, (size, other) in pairs]

    def fixed_shape(self, x: fx.Node, first_axis: int) -> list[int]:
        """x's sizes from `first_axis` on, which must not depend on the batch."""
        sizes = self.shape(x)[first_axis:]
        if any(isinstance(size, fx.Node) for size in sizes):
            raise self.op.unsupported("it needs sizes that depend on the batch")
        return sizes

    def rank(self, x: fx.Node) -> int:
        """Number of axes of x."""
        return int(self._observed[x][0].ndim)

    def is_float(self, x: fx.Node) -> bool:
        """Whether x is a tensor of floats."""
        observed = self._observed[x][0]
        return isinstance(observed, torch.Tensor) and observed.is_floating_point()

    def dtype(self, x: fx.Node) -> torch.dtype:
        """The type of x's entries."""
        dtype: torch.dtype = self._observed[x][0].dtype
        return dtype

    # -- inside

    def _size(self, x: fx.Node, axis: int) -> fx.Node:
        if (x, axis) not in self._sizes:
            self._sizes[x, axis] = self.method("size", x, axis)
        return self._sizes[x, axis]

    def _observe(self, node: fx.Node, function: Callable[..., Any]) -> fx.Node:
        results = []
        for which in range(len(_BATCHES)):
            args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda n: self._observed[n][which])  # noqa: B023
            try:
                with torch.device("meta"), torch.no_grad():
                    results.append(function(*args, **kwargs))
            except (RuntimeError, ValueError, IndexError, TypeError) as error:
                raise self.op.unsupported(f"with a batch of {_BATCHES[which]}, torch says: {said(error)}") from error
        return self._remember(node, tuple(results))

    def _remember(self, node: fx.Node, observed: tuple[Any, ...]) -> fx.Node:
        self._observed[node] = observed
        node.meta["onnx_node"] = self.op.name
        return node

    def _unique(self, name: str) -> str:
        """`name` as a Python identifier that is not taken yet."""
        stem = re.sub(r"\W+", "_", name).strip("_") or "value"
        stem = f"n_{stem}" if stem[0].isdigit() else stem
        unique, count = stem, 0
        while unique in self._names or hasattr(self.root, unique):
            count += 1
            unique = f"{stem}_{count}"
        self._names.add(unique)
        return unique


def to_torch(array: npt.NDArray[Any]) -> torch.Tensor:
    """A copy that torch may write to."""
    return torch.from_numpy(np.array(array, order="C"))

"""The torch.fx graph while it is built: adds calls, layers and constants, and knows the shape of every result.

Shapes are observed, not inferred. Every call is run at once on meta tensors, which have a shape and no data, for two
batch sizes. A size that is the same for both is a fixed integer. A size that differs depends on the batch, and is
represented by an fx node that computes it when the module runs.
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
    """The fx graph of one ONNX graph, and the module that holds its layers and constants.

    - root: the module; it gets the submodules, parameters and buffers
    - graph: the fx graph
    - op: the ONNX node that is being imported. Layers are named after it, and errors name it.
    """

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
        """Add the argument `name` of the module, a tensor [batch, *shape], and return its node."""
        node = self.graph.placeholder(name)
        self._names.add(name)
        return self._remember(node, tuple(torch.empty(b, *shape, dtype=dtype, device="meta") for b in _BATCHES))

    def call(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> fx.Node:
        """Add function(*args, **kwargs) to the graph; fx nodes among the arguments stand for tensors and sizes.

        Raises UnsupportedError, with torch's own words, where the function does not accept the arguments.
        """
        node = self.graph.call_function(function, args, kwargs)
        return self._observe(node, function)

    def method(self, name: str, x: fx.Node, *args: Any) -> fx.Node:
        """Add x.name(*args) to the graph, the call of a method of the tensor x."""
        node = self.graph.call_method(name, (x, *args))
        return self._observe(node, getattr(torch.Tensor, name))

    def layer(self, module: nn.Module, *args: fx.Node) -> fx.Node:
        """Add `module` as a submodule named after the current ONNX node, and its call with `args`."""
        name = self._unique(self.op.name)
        self.root.add_module(name, module.eval())
        node = self.graph.call_module(name, args)
        on_meta = {key: tensor.to("meta") for key, tensor in module.state_dict(keep_vars=True).items()}
        return self._observe(node, lambda *a: torch.func.functional_call(module, on_meta, a))

    # -- constants

    def parameter(self, constant: Constant, *, transpose: bool = False) -> nn.Parameter:
        """The trainable parameter that holds `constant`, or its transpose.

        The same constant always gives the same parameter, so that weights which layers share stay shared.
        """
        key = (constant, transpose)
        if key not in self._parameters:
            array = constant.array.T if transpose else constant.array
            self._parameters[key] = nn.Parameter(to_torch(array))
        return self._parameters[key]

    def attribute(self, constant: Constant) -> fx.Node:
        """`constant` as a tensor of the module: two or more floats are a parameter, everything else is a buffer.

        A single float is a setting, such as a temperature or an epsilon, and is not trained.
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
        """Add `array` as a buffer: numbers that the current operator needs and that are not trained, such as indices.

        The buffer's name is the operator's name, followed by `suffix`.
        """
        name = self._unique(f"{self.op.name}_{suffix}")
        tensor = to_torch(array)
        self.root.register_buffer(name, tensor)
        return self._remember(self.graph.get_attr(name), (tensor.to("meta"),) * len(_BATCHES))

    def tensor(self, value: Value | None) -> fx.Node:
        """`value` as the node of a tensor. Raises UnsupportedError for sizes that depend on the batch."""
        if isinstance(value, fx.Node):
            return value
        if isinstance(value, Constant):
            return self.attribute(value)
        raise self.op.unsupported("it takes a size that depends on the batch as a tensor")

    def operand(self, value: Value | None) -> Any:
        """`value` as an operand of elementwise arithmetic.

        A constant of rank 0 becomes a Python number; a single size becomes an int, or the node that computes it;
        everything else becomes a tensor.
        """
        if isinstance(value, Constant) and value.array.ndim == 0:
            return value.array.item()
        if isinstance(value, Sizes) and value.array.size == 1:
            return value.array.reshape(-1)[0]
        return self.tensor(value)

    # -- shapes

    def shape(self, x: fx.Node) -> list[Any]:
        """The shape of x: an int for every fixed size, and the node of x.size(axis) where it depends on the batch."""
        pairs = enumerate(zip(*(observed.shape for observed in self._observed[x]), strict=True))
        return [size if size == other else self._size(x, axis) for axis, (size, other) in pairs]

    def fixed_shape(self, x: fx.Node, first_axis: int) -> list[int]:
        """The sizes of x from `first_axis` on. Raises UnsupportedError where one depends on the batch."""
        sizes = self.shape(x)[first_axis:]
        if any(isinstance(size, fx.Node) for size in sizes):
            raise self.op.unsupported("it needs sizes that depend on the batch")
        return sizes

    def rank(self, x: fx.Node) -> int:
        """The number of axes of x."""
        return int(self._observed[x][0].ndim)

    def is_float(self, x: fx.Node) -> bool:
        """Whether x is a tensor of floating-point numbers."""
        observed = self._observed[x][0]
        return isinstance(observed, torch.Tensor) and observed.is_floating_point()

    def dtype(self, x: fx.Node) -> torch.dtype:
        """The element type of x."""
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
        """`name` as a Python identifier that nothing in the module has yet."""
        stem = re.sub(r"\W+", "_", name).strip("_") or "value"
        stem = f"n_{stem}" if stem[0].isdigit() else stem
        unique, count = stem, 0
        while unique in self._names or hasattr(self.root, unique):
            count += 1
            unique = f"{stem}_{count}"
        self._names.add(unique)
        return unique


def to_torch(array: npt.NDArray[Any]) -> torch.Tensor:
    """A copy of `array` as a torch tensor; writing to it does not change `array`."""
    return torch.from_numpy(np.array(array, order="C"))

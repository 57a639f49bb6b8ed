"""Runs an imported graph node by node, in float or with quantizers, and can stop at any node."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import fx, nn

from lowbit.quant.formats import QParams
from lowbit.quant.plan.plan import Role
from lowbit.torchgraph.importer import VALUES

Env = dict[fx.Node, Any]
Seen = Callable[[str, torch.Tensor], None]


def fake_quantize(x: torch.Tensor, qparams: QParams) -> torch.Tensor:
    """The float numbers that x's codes stand for; one scale a tensor.

    Four passes over memory that is at hand: torch's own fake_quantize_per_tensor_affine takes ten times as long.
    """
    scale, zero_point = float(qparams.scale), int(qparams.zero_point)
    codes = (x / scale).round_()
    return codes.clamp_(qparams.format.lowest - zero_point, qparams.format.highest - zero_point).mul_(scale)


def channels_last(x: torch.Tensor) -> torch.Tensor:
    """x [N, C, H, W] with the channels of a pixel side by side in memory: convolutions take a half to a tenth of the
    time, depthwise ones above all. Other shapes as they are.
    """
    return x.contiguous(memory_format=torch.channels_last) if x.ndim == 4 else x


def in_memory_order(x: torch.Tensor) -> torch.Tensor:
    """x with its axes in the order in which its numbers lie in memory, the first axis kept, so that reading them all
    in turn, or flattening x, moves nothing.
    """
    if x.ndim == 4 and not x.is_contiguous() and x.is_contiguous(memory_format=torch.channels_last):
        return x.permute(0, 2, 3, 1)
    return x


class Simulator:
    """An imported module and the quantizers of its values; without quantizers it runs in float.

    - main: ONNX value → its quantizer
    - product: ONNX value → a narrower quantizer, through which the nodes in `narrow` read it

    The weights are the module's own; the engine replaces them by rounded ones.
    """

    def __init__(
        self,
        module: fx.GraphModule,
        main: Mapping[str, QParams] | None = None,
        product: Mapping[str, QParams] | None = None,
        narrow: frozenset[str] = frozenset(),
    ) -> None:
        self.module: fx.GraphModule = module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # its stub lacks it
        self.nodes = list(module.graph.nodes)
        self.position = {node: index for index, node in enumerate(self.nodes)}
        self._main, self._product, self._narrow = main or {}, product or {}, narrow
        self._last_use = self._last_uses()

    def layer(self, node: fx.Node) -> nn.Module:
        """The module that a call_module node calls."""
        return self.module.get_submodule(str(node.target))

    def run(self, env: Env, begin: int, end: int, seen: Seen | None = None) -> None:
        """Run nodes begin … end − 1 on `env` (node → result), in place; results nobody needs any more are dropped.

        `seen` is told each ONNX value and its tensor, before any quantization.
        """
        for index in range(begin, end):
            node = self.nodes[index]
            if node.op == "get_attr":
                continue  # read where it is needed
            if node.op != "placeholder":
                env[node] = self._call(node, env)
            if isinstance(env[node], torch.Tensor):
                for name in node.meta.get(VALUES, ()):
                    if seen is not None:
                        seen(name, env[node])
                    if name in self._main:
                        env[node] = self.quantized(env[node], name, "main", self._main[name])
            for done in self._last_use.get(index, ()):
                env.pop(done, None)

    def start(self, images: torch.Tensor) -> Env:
        """The environment before the first node."""
        return {next(node for node in self.nodes if node.op == "placeholder"): channels_last(images)}

    def quantized(
        self,
        x: torch.Tensor,
        name: str,  # noqa: ARG002 - these two tell a training which of its scales is meant
        role: Role,  # noqa: ARG002
        qparams: QParams,
    ) -> torch.Tensor:
        """x, the ONNX value `name`, as its quantizer of that role gives it."""
        return fake_quantize(x, qparams)

    def reads(self, node: fx.Node, env: Env) -> torch.Tensor:
        """The first argument of `node` as it reads it."""
        argument = node.args[0]
        assert isinstance(argument, fx.Node)
        x: torch.Tensor = self._narrowed(node, argument, env)
        return x

    def outputs(self, images: torch.Tensor, seen: Seen | None = None) -> torch.Tensor:
        """The module's result on images [N, C, H, W]; `seen` as for `run`."""
        env = self.start(images)
        self.run(env, 0, len(self.nodes), seen)
        result: torch.Tensor = env[self.nodes[-1]]
        return result

    def scores(self, images: torch.Tensor, seen: Seen | None = None) -> torch.Tensor:
        """The scores [N, outputs] of a classifier, its first result."""
        env = self.start(images)
        self.run(env, 0, len(self.nodes), seen)
        return self.scores_in(env)

    def scores_in(self, env: Env) -> torch.Tensor:
        """The scores in an environment after the last node."""
        found: torch.Tensor | tuple[torch.Tensor, ...] = env[self.nodes[-1]]
        return (found if isinstance(found, torch.Tensor) else found[0]).flatten(1)

    def _call(self, node: fx.Node, env: Env) -> Any:
        args, kwargs = fx.node.map_arg((node.args, node.kwargs), lambda read: self._narrowed(node, read, env))
        if node.op == "call_module":
            return self.layer(node)(*args)
        if node.op == "call_method":
            return getattr(args[0], str(node.target))(*args[1:], **kwargs)
        if node.op == "output":
            return args[0]
        assert callable(node.target)
        return node.target(*args, **kwargs)

    def _narrowed(self, reader: fx.Node, read: fx.Node, env: Env) -> Any:
        if reader.meta.get("onnx_node") in self._narrow:
            for name in read.meta.get(VALUES, ()):
                if name in self._product:
                    return self.quantized(env[read], name, "product", self._product[name])
        return getattr(self.module, str(read.target)) if read.op == "get_attr" else env[read]

    def _last_uses(self) -> dict[int, list[fx.Node]]:
        found: dict[int, list[fx.Node]] = {}
        for node in self.nodes:
            if node.users:
                found.setdefault(max(self.position[user] for user in node.users), []).append(node)
        return found

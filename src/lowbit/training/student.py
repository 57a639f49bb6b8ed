"""The student: a quantized network whose weights, biases and scales are parameters. What it computes is its file.

Weights and biases are on their integer grids and every quantizer is in place, as in the file. At few bits the grid of
the biases is coarse: a network that was trained without it would be another one than its file.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch import fx, nn

from lowbit.quant.engine import quantizers_of, runner_of
from lowbit.quant.finish import absorbed_nodes, constants_of, widened, with_bias
from lowbit.quant.formats import Floats, QParams, spread
from lowbit.quant.model import QTensor, QuantizedModel
from lowbit.quant.plan.plan import Role, TensorPlan
from lowbit.quant.simulate import Env, Simulator, channels_last
from lowbit.quant.walk import layer_calls
from lowbit.training.fake import fine, fixed, learned

_NARROW = 8  # bits: below, scales of activations learn; from there on they stay as calibration found them
_SLACK = 0.3  # steps: how far from its code a weight begins at most

Targets = Mapping[str, Floats]  # layer → the real numbers, of its weight's shape, that its codes were rounded from


class Weight:
    """One weight that learns.

    - latent: real numbers in steps, whose nearest integers are the codes. They begin where the closed form rounded
      from, but within `_SLACK` of its code: all codes are the same at first, and few change.
    - log_scale: logarithms of the scales
    """

    def __init__(self, start: QTensor, target: Floats | None) -> None:
        self.start, form = start, start.qparams.format
        self.low, self.high = form.lowest, form.highest
        shape = start.codes.shape
        self._zero = torch.from_numpy(spread(start.qparams.zero_point, shape).astype(np.float32))
        codes = start.codes.astype(np.float32)
        if target is not None:
            real = target / spread(start.qparams.scale, shape) + self._zero.numpy()
            codes += np.clip(real - codes, -_SLACK, _SLACK)
        self.latent = nn.Parameter(torch.from_numpy(codes))
        self.log_scale = nn.Parameter(torch.from_numpy(np.log(start.qparams.scale)))

    def real(self) -> torch.Tensor:
        """The numbers that the codes stand for."""
        codes = fixed(self.latent, 1.0, self.low, self.high)
        return (codes - self._zero) * _spread(self.log_scale.exp(), codes.shape)

    def tensor(self) -> QTensor:
        """Codes and scales as they are now."""
        old = self.start.qparams
        codes = self.latent.detach().round().clamp(self.low, self.high).numpy().astype(np.int32)
        scale = self.log_scale.detach().exp().numpy()
        return QTensor(codes, QParams(old.format, scale, old.zero_point, old.axis))

    def scales(self) -> torch.Tensor:
        """One scale an output, [O], or [1]: in groups the smallest, as the bias counts."""
        scale = self.log_scale.detach().exp()
        return (scale.amin(1) if self.start.qparams.format.granularity == "group" else scale).reshape(-1)


def _spread(numbers: torch.Tensor, shape: torch.Size) -> torch.Tensor:
    """As `formats.spread`, for parameters."""
    if numbers.ndim:
        for axis, (size, whole) in enumerate(zip(numbers.shape, shape, strict=True)):
            numbers = numbers if size in (1, whole) else numbers.repeat_interleave(whole // size, axis)
    return numbers


class Student(Simulator):
    """Runs the quantized network with gradients; `begin` computes the weights that all runs of a step share."""

    def __init__(self, model: QuantizedModel, targets: Targets) -> None:
        super().__init__(runner_of(model).module, model.main, model.product, model.narrow)
        for parameter in self.module.parameters():
            parameter.requires_grad_(False)
        self._model = model
        self._nodes = {str(node.name): node for node in model.graph.graph}
        self._relus = {name for name in model.absorbed if self._nodes[name].op_type == "Relu"}
        self._called = {call: name for name, call in layer_calls(self).items() if name in model.layers}
        self.weights, self._weight_of = self._make_weights(targets)
        self.biases = {name: _bias(model, name) for name in self._called.values()}
        self._groups = self._learning()
        self.scales = {group: _log_scale(self._qparams(key)) for key, group in self._groups.items()}
        self._now: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def _make_weights(self, targets: Targets) -> tuple[dict[str, Weight], dict[str, str]]:
        """Weights by name, and the name of each layer's; layers that share an initializer and its codes share one."""
        plans = {layer.node: layer for layer in self._model.plan.layers}
        weights: dict[str, Weight] = {}
        weight_of: dict[str, str] = {}
        for layer in self._called.values():
            start, shared = self._model.layers[layer].weight, str(plans[layer].weight)
            first = weights.get(shared)
            same = first is not None and first.start.qparams.equals(start.qparams)
            name = shared if same or first is None else layer
            weight_of[layer] = name
            if name not in weights:
                weights[name] = Weight(start, targets.get(layer))
        return weights, weight_of

    def _learning(self) -> dict[tuple[Role, str], str]:
        """Quantizers whose scale learns, by role and tensor: the group of tensors that share it.

        Not those that a constant of a Concat shares, whose codes would no longer mean the same.
        """
        tensors = [tensor for tensor in self._model.plan.tensors if tensor.limits is not None]
        joined = {
            str(node.outputs[0].name)
            for node, _ in constants_of(self._model.graph, self._model.plan)
            if node.op_type == "Concat"
        }
        kept = {tensor.group for tensor in tensors if tensor.tensor in joined}
        return {
            (tensor.role, tensor.tensor): tensor.group
            for tensor in tensors
            if tensor.format.bits < _NARROW and tensor.range != "fixed" and tensor.group not in kept
        }

    def _qparams(self, key: tuple[Role, str]) -> QParams:
        role, tensor = key
        return (self._model.main if role == "main" else self._model.product)[tensor]

    def parameters(self) -> Iterator[nn.Parameter]:
        """All that learns, in a fixed order."""
        for weight in self.weights.values():
            yield from (weight.latent, weight.log_scale)
        yield from self.biases.values()
        yield from self.scales.values()

    def begin(self) -> None:
        """Compute weights and biases from the parameters."""
        real = {name: channels_last(weight.real()) for name, weight in self.weights.items()}
        for layer, name in self._weight_of.items():
            bias = self.biases[layer]
            grid = (self.weights[name].scales() * self._scale_read(layer)).expand(len(bias))
            self._now[layer] = real[name], fixed(bias / grid, 1.0, -(2.0**31), 2.0**31) * grid

    def _scale_read(self, layer: str) -> torch.Tensor | float:
        """The scale of the codes that `layer` reads, which its bias counts in."""
        value = str(self._read(layer).name)
        role: Role = "product" if layer in self._narrow and value in self._model.product else "main"
        group = self._groups.get((role, value))
        if group is not None:
            return self.scales[group].detach().exp()
        return float(self._read_as(self._model, layer).scale)

    def _read(self, layer: str) -> ir.Value:
        value = self._nodes[layer].inputs[0]
        assert value is not None
        return value

    def _read_as(self, model: QuantizedModel, layer: str) -> QParams:
        reads = model.read_as(self._nodes[layer], self._read(layer))
        assert reads is not None
        return reads

    def quantized(self, x: torch.Tensor, name: str, role: Role, qparams: QParams) -> torch.Tensor:
        """x, the ONNX value `name`, as its quantizer of that role gives it."""
        zero_point = int(qparams.zero_point)
        low, high = qparams.format.lowest - zero_point, qparams.format.highest - zero_point
        group = self._groups.get((role, name))
        if group is None:
            of_codes = fixed if qparams.format.bits < _NARROW else fine
            return of_codes(x, float(qparams.scale), low, high)
        return learned(x, self.scales[group], low, high)

    def _call(self, node: fx.Node, env: Env) -> Any:
        layer = self._called.get(node)
        if layer is not None:
            weight, bias = self._now[layer]
            args = fx.node.map_arg(node.args, lambda read: self._narrowed(node, read, env))
            return torch.func.functional_call(self.layer(node), {"weight": weight, "bias": bias}, args)
        if node.meta.get("onnx_node") in self._relus:  # its quantizer cuts at 0 as well
            return env[node.args[0]]  # type: ignore[index]  # what a Relu reads is a node
        return super()._call(node, env)

    def result(self) -> QuantizedModel:
        """The quantized model as the parameters are now."""
        plan = replace(self._model.plan, tensors=tuple(map(self._tensor, self._model.plan.tensors)))
        draft = replace(
            self._model, plan=plan, main=quantizers_of(plan, "main"), product=quantizers_of(plan, "product")
        )
        layers, weights = dict(draft.layers), {name: weight.tensor() for name, weight in self.weights.items()}
        for layer, name in self._weight_of.items():
            reads = self._read_as(draft, layer)
            bias = self.biases[layer].detach().numpy().astype(np.float64)
            weight, _ = widened(weights[name], bias, reads)
            layers[layer] = with_bias(layer, weight, bias, reads)
        draft = replace(draft, layers=layers)
        return replace(draft, absorbed=absorbed_nodes(draft))

    def _tensor(self, tensor: TensorPlan) -> TensorPlan:
        """The tensor's plan with the limits that were learned."""
        group = self._groups.get((tensor.role, tensor.tensor))
        if group is None:
            return tensor
        qparams, scale = self._qparams((tensor.role, tensor.tensor)), float(self.scales[group].detach().exp())
        ends = (qparams.format.lowest, qparams.format.highest)
        low, high = ((code - int(qparams.zero_point)) * scale for code in ends)
        return replace(tensor, limits=(low, high))


def _bias(model: QuantizedModel, layer: str) -> nn.Parameter:
    codes, scale = model.layers[layer].bias, model.layers[layer].bias_scale
    assert codes is not None
    assert scale is not None
    return nn.Parameter(torch.from_numpy((codes * scale.astype(np.float64)).astype(np.float32)))


def _log_scale(qparams: QParams) -> nn.Parameter:
    return nn.Parameter(torch.tensor(float(np.log(qparams.scale))))

"""Which tensors of a Concat keep a range of their own, decided from what the range pass has seen.

A tensor that only one Concat reads had best have that Concat's range: it is rounded once. One that others read too (the
feature maps of a dense block, which every later layer concatenates again) would reach them with the Concat's coarser
steps. Rounding to steps of s costs an error of s² / 12. With a range of its own, a tensor of steps s costs its readers
s², and behind the Concat, where it is rounded once more, s² more than sharing would. So a shared range with steps S is
given up where S² > 2 s².
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import onnx_ir as ir

from lowbit.quant.formats import qparams_of_range
from lowbit.quant.plan import kinds
from lowbit.quant.plan.plan import QuantPlan, TensorPlan

Limits = Callable[[Iterable[TensorPlan]], tuple[float, float]]
"""The limits that one quantizer for all these tensors would have."""

_COARSEST = 2**0.5  # steps of a shared range, in steps of the tensor's own
_WORTH_SAYING = 1.05  # times
_OTHERS = ""  # stands for every reader that is no Concat


def with_own_ranges(model: ir.Model, plan: QuantPlan, limits: Limits) -> QuantPlan:
    """`plan` with new groups where those of its undecided Concats are too coarse for one of their tensors."""
    tensors = {tensor.tensor: tensor for tensor in plan.tensors if tensor.role == "main" and tensor.range != "fixed"}
    joins = {}
    for node in model.graph:
        if node.name in plan.undecided and node.outputs[0].name in tensors:
            joins[node] = [str(value.name) for value in kinds.inputs_of(node) if value.name in tensors]
    parts = _Parts(model, tensors, joins, limits)
    found = True
    while found:  # what joins the last Concat that read a tensor lets the tensor join too
        found = False
        for node, sources in joins.items():
            for source in sources:
                found |= parts.join(source, str(node.outputs[0].name))
    wider = parts.wider()
    groups: dict[frozenset[str], str] = {}

    def decided(tensor: TensorPlan) -> TensorPlan:
        if tensor.role != "main" or tensor.tensor not in wider:
            return tensor
        group = groups.setdefault(parts.part(tensor.tensor), tensor.tensor)
        times = wider[tensor.tensor]
        why = f"a range of its own: one for all that is concatenated would make its steps {times:.1f} times as wide"
        whys = [tensor.why] * bool(tensor.why) + [why] * (times >= _WORTH_SAYING)
        return replace(tensor, group=group, why="; ".join(whys))

    changed = tuple(decided(tensor) for tensor in plan.tensors)
    return replace(plan, tensors=changed, notes=(*plan.notes, *_notes(wider, len(groups))), undecided=())


def _notes(wider: Mapping[str, float], ranges: int) -> list[str]:
    if not wider:
        return []
    return [
        f"{len(wider)} tensors around Concat nodes have {ranges} ranges instead of shared ones, which would make steps "
        f"up to {max(wider.values()):.1f} times as wide"
    ]


class _Parts:
    """Tensors in parts that share one range each: at first those that must, then joined as far as that is good."""

    def __init__(
        self,
        model: ir.Model,
        tensors: Mapping[str, TensorPlan],
        joins: Mapping[ir.Node, list[str]],
        limits: Limits,
    ) -> None:
        self._tensors, self._limits = tensors, limits
        self._parts = {name: frozenset([name]) for name in tensors}
        for node in model.graph:
            if node not in joins and (kinds.is_passing(node) or kinds.is_clamp(node)):
                names = [str(value.name) for value in (*kinds.inputs_of(node), *node.outputs)]
                for first, name in ((a, b) for a in names for b in names if a < b):
                    if self._share_a_group(first, name):
                        self._unite(self._parts[first] | self._parts[name])
        self._first = dict(self._parts)
        self._readers = self._all_readers(model, joins)
        self._steps: dict[frozenset[str], float] = {}

    def part(self, name: str) -> frozenset[str]:
        """The tensors that share the range of `name`, itself included."""
        return self._parts[name]

    def join(self, source: str, result: str) -> bool:
        """Let an operand of a Concat and its result share a range, where they do not yet and that is not too coarse."""
        joined = self._parts[source] | self._parts[result]
        if result in self._parts[source] or not self._share_a_group(source, result):
            return False
        for first in {self._first[name] for name in joined}:
            seen_outside = any(reader not in joined for name in first for reader in self._readers[name])
            if seen_outside and self._step(joined) > _COARSEST * self._step(first):
                return False
        self._unite(joined)
        return True

    def wider(self) -> dict[str, float]:
        """Tensor of a group that fell apart → the steps of one range for the whole group, in steps of its own."""
        groups: dict[str, set[str]] = {}
        for name, tensor in self._tensors.items():
            groups.setdefault(tensor.group, set()).add(name)
        apart = [frozenset(names) for names in groups.values() if names not in self._parts.values()]
        return {name: self._step(names) / self._step(self._parts[name]) for names in apart for name in names}

    def _all_readers(self, model: ir.Model, joins: Mapping[ir.Node, list[str]]) -> dict[str, set[str]]:
        """Tensor → the results of the Concats that read it, and _OTHERS if anything else does but to move it about."""
        found: dict[str, set[str]] = {name: set() for name in self._tensors}
        for name in (str(value.name) for value in model.graph.outputs if value.name in found):
            found[name].add(_OTHERS)
        for node in model.graph:
            results = {str(value.name) for value in node.outputs}
            for name in (str(value.name) for value in node.inputs if value is not None and value.name in found):
                if node in joins:
                    found[name] |= results
                elif node.op_type not in kinds.SIZES and not results & self._first[name]:
                    found[name].add(_OTHERS)
        return found

    def _share_a_group(self, a: str, b: str) -> bool:
        return a in self._tensors and b in self._tensors and self._tensors[a].group == self._tensors[b].group

    def _unite(self, names: frozenset[str]) -> None:
        for name in names:
            self._parts[name] = names

    def _step(self, names: frozenset[str]) -> float:
        """The step of one range for all of them."""
        if names not in self._steps:
            tensors = [self._tensors[name] for name in sorted(names)]
            self._steps[names] = float(qparams_of_range(tensors[0].format, *self._limits(tensors)).scale)
        return self._steps[names]

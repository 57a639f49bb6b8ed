"""Decides which operands of a Concat keep a range of their own, from what the range pass has observed.

A tensor that only one Concat reads should share that Concat's range, because it is then rounded only once. A tensor
with other readers (such as the feature maps of a dense block, which every later layer concatenates again) would reach
those with the Concat's larger scale. Rounding with scale s costs a squared error of s² / 12 on average. With the
Concat's scale S, each reader of the tensor sees S². With a scale s of its own, a reader sees s², or s² + S² after a
Concat, which requantizes. The sums over all readers are compared, relative to the tensor's own s²; sharing is given up
where it costs noticeably more.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import onnx_ir as ir

from lowbit.quant.formats import qparams_of_range
from lowbit.quant.plan import kinds
from lowbit.quant.plan.plan import QuantPlan, TensorPlan

Limits = Callable[[Iterable[TensorPlan]], tuple[float, float]]
"""The limits that one quantizer for all these tensors would have."""

_NOTICEABLE = 1.25  # times the error (1 dB): a smaller gain is not worth requantizing, which takes time
_WORTH_SAYING = 1.05  # times the scale: a smaller difference is not reported


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
    wider = parts.settle()
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
    """Tensors in parts that share one range each: first only those that must, then joined where that adds no error."""

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
        self._operands = {str(node.outputs[0].name): names for node, names in joins.items()}
        # Of each part, the results of the Concats that read it.
        self._joined_by: dict[frozenset[str], list[str]] = {part: [] for part in self._first.values()}
        for result, names in self._operands.items():
            for name in names:
                self._joined_by[self._first[name]].append(result)
        self._others = self._count_others(model, joins)
        self._steps: dict[frozenset[str], float] = {}

    def part(self, name: str) -> frozenset[str]:
        """The tensors that share the range of `name`, itself included."""
        return self._parts[name]

    def join(self, source: str, result: str) -> bool:
        """Let an operand of a Concat and its result share a range, unless they already do or the error would grow."""
        if result in self._parts[source] or not self._share_a_group(source, result):
            return False
        apart = self._parts[source], self._parts[result]
        joined = apart[0] | apart[1]
        read = (name for result in joined & self._operands.keys() for name in self._operands[result])
        seen = {self._first[name] for name in (*joined, *read)}
        before = self._error(seen)
        self._unite(joined)
        if self._error(seen) <= before:
            return True
        for part in apart:
            self._unite(part)
        return False

    def settle(self) -> dict[str, float]:
        """Merge the parts of a group again where separate ranges are not worth it.

        Returns, for each tensor that leaves its group, how many times larger the scale of one range for the whole group
        is.
        """
        groups: dict[str, set[str]] = {}
        for name, tensor in self._tensors.items():
            groups.setdefault(tensor.group, set()).add(name)
        found: dict[str, float] = {}
        for names in (frozenset(names) for names in groups.values() if names not in self._parts.values()):
            first, parts = {self._first[name] for name in names}, {self._parts[name] for name in names}
            error = self._error(first)
            self._unite(names)
            if self._error(first) > _NOTICEABLE * error:
                for part in parts:
                    self._unite(part)
                found |= {name: self._step(names) / self._step(self._parts[name]) for name in names}
        return found

    def _error(self, first: Iterable[frozenset[str]]) -> float:
        """The error that the readers of these tensors see, relative to the error with each tensor's own scale."""
        total = 0.0
        for part in first:
            name = next(iter(part))
            own, step = self._step(part), self._step(self._parts[name])
            error = self._others[part] * step**2
            for result in self._joined_by[part]:
                again = 0.0 if result in self._parts[name] else step**2
                error += self._step(self._parts[result]) ** 2 + again
            total += error / own**2
        return total

    def _count_others(self, model: ir.Model, joins: Mapping[ir.Node, list[str]]) -> dict[frozenset[str], int]:
        """Part → number of readers that neither join nor move it; 0 for a Concat's result, whose operands count."""
        found = dict.fromkeys(self._first.values(), 0)
        reads = [(str(value.name), frozenset[str]()) for value in model.graph.outputs]
        for node in model.graph:
            if node not in joins and node.op_type not in kinds.SIZES:
                results = frozenset(str(value.name) for value in node.outputs)
                reads += [(str(value.name), results) for value in node.inputs if value is not None]
        for name, results in reads:
            part = self._first.get(name)
            if part is not None and not results & part and not part & self._operands.keys():
                found[part] += 1
        return found

    def _share_a_group(self, a: str, b: str) -> bool:
        return a in self._tensors and b in self._tensors and self._tensors[a].group == self._tensors[b].group

    def _unite(self, names: frozenset[str]) -> None:
        for name in names:
            self._parts[name] = names

    def _step(self, names: frozenset[str]) -> float:
        """The scale of one range for all of them."""
        if names not in self._steps:
            tensors = [self._tensors[name] for name in sorted(names)]
            self._steps[names] = float(qparams_of_range(tensors[0].format, *self._limits(tensors)).scale)
        return self._steps[names]

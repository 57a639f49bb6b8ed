"""Leave out Transposes that undo one another, with whatever lies between computed in the other order of axes.

Exporters of frameworks with channels last put a convolution between two Transposes. Where what lies between the second
and the next first one can be computed in either order (`graph.turned`), both go: through branches that meet again,
means, paddings, concatenations; into a classifier's matrix; and, as a Reshape, across values whose moved axes have size
1. What has one Transpose more or as many as before is left as it was.

Requires: constants as initializers, inferred ranks; sizes, where a matrix is to be turned.
Ensures: the same function with fewer Transposes, or the same graph.
"""

from collections import Counter
from dataclasses import dataclass, field

import numpy as np
import onnx_ir as ir

from lowbit.graph.edit import initializer
from lowbit.graph.turned import POINTWISE, Order, Turned, inverse, is_reshape, turned
from lowbit.graph.values import constant, shape_of


def move_transposes(model: ir.Model) -> None:
    """Rewrite the main graph in place until nothing more is gained."""
    graph = model.graph
    while _merge(graph) or any(_improved(graph, order) for order in _orders(graph)) or _reshape_instead(graph):
        pass


def _order(node: ir.Node) -> Order:
    """Which axis goes where; empty where the standard's default, all axes reversed, leaves their number open."""
    if "perm" in node.attributes:
        return tuple(node.attributes["perm"].as_ints())
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    return () if shape is None else tuple(reversed(range(len(shape))))


def _orders(graph: ir.Graph) -> list[Order]:
    """The orders of all Transposes, frequent ones first, always in the same sequence."""
    counted = Counter(_order(node) for node in graph if node.op_type == "Transpose")
    return sorted((order for order in counted if order), key=lambda order: (-counted[order], order))


def _merge(graph: ir.Graph) -> bool:
    """One Transpose instead of two in a row, and none for one that moves nothing."""
    done = False
    for node in list(graph):
        if node.op_type != "Transpose" or node.inputs[0] is None or node.outputs[0].is_graph_output():
            continue
        source, order = node.inputs[0], _order(node)
        before = source.producer()
        if before is not None and before.op_type == "Transpose" and before.inputs[0] is not None:
            first = _order(before)
            if len(first) == len(order) and order:
                source, order = before.inputs[0], tuple(first[axis] for axis in order)
        if order and order == tuple(range(len(order))):
            ir.convenience.replace_all_uses_with(node.outputs[0], source)
        elif source is not node.inputs[0]:
            node.replace_input_with(0, source)
            node.attributes["perm"] = ir.AttrInt64s("perm", order)
        else:
            continue
        done = True
        for each in (node, before):
            if each is not None and each.op_type == "Transpose":
                _drop_unread(graph, each)
    return done


def _reshape_instead(graph: ir.Graph) -> bool:
    """A Reshape for a Transpose that moves no number, and one Reshape for two in a row."""
    done = False
    for node in list(graph):
        source, shape = node.inputs[0] if node.inputs else None, shape_of(node.outputs[0])
        if source is None or node.outputs[0].is_graph_output():
            continue
        if node.op_type == "Transpose" and is_reshape(shape_of(source), _order(node)) and _is_known(shape):
            made = _reshaped(graph, source, shape_of(source), _order(node), node)
            ir.convenience.replace_all_uses_with(node.outputs[0], made)
            graph.remove(node, safe=True)
            done = True
        elif node.op_type == "Reshape" and (before := source.producer()) is not None and before.op_type == "Reshape":
            target = constant(node.inputs[1])
            if target is None or (target == 0).any() or not _is_known(shape):
                continue
            first = before.inputs[0]
            assert first is not None
            if shape_of(first) == shape:
                ir.convenience.replace_all_uses_with(node.outputs[0], first)
                _drop_unread(graph, node)
            else:
                node.replace_input_with(0, first)
            _drop_unread(graph, before)
            done = True
    return done


def _is_known(shape: list[int | None] | None) -> bool:
    """Whether a Reshape can make this shape: all sizes but one are known."""
    return shape is not None and sum(side is None for side in shape) <= 1


def _drop_unread(graph: ir.Graph, node: ir.Node) -> None:
    if not node.outputs[0].uses() and not node.outputs[0].is_graph_output():
        graph.remove(node, safe=True)


@dataclass(slots=True, eq=False)
class _Region:
    """Operators that can be computed in the other order, connected with each other.

    - seeds: the Transposes that turn values into the region's order
    - members: operators of the region in the order in which they run, and how each changes
    - ends: operators that read a value of the region and give what they gave before
    - opposite: Transposes behind the region that undo the seeds
    - reshaped: operands from elsewhere that a Reshape can turn: the operator and the operand's place
    """

    seeds: list[ir.Node] = field(default_factory=list)
    members: dict[ir.Node, Turned] = field(default_factory=dict)
    ends: dict[ir.Node, Turned] = field(default_factory=dict)
    opposite: list[ir.Node] = field(default_factory=list)
    reshaped: list[tuple[ir.Node, int]] = field(default_factory=list)

    def readers(self) -> set[ir.Node]:
        """All operators that read values of the region in its other order."""
        return {*self.members, *self.ends, *self.opposite}

    def gain(self) -> int:
        """How many Transposes fewer there would be."""
        inside = self.readers()
        kept = sum(bool(_others_of(seed.outputs[0], inside)) for seed in self.seeds)
        added = sum(bool(_others_of(value, inside)) for member in self.members for value in member.outputs)
        return len(self.seeds) - kept + len(self.opposite) - added


def _others_of(value: ir.Value, inside: set[ir.Node]) -> list[tuple[ir.Node, int]]:
    """Who needs `value` in the order that it has now: operators, and the operand's place."""
    return [(use.node, use.idx) for use in value.uses() if use.node not in inside]


def _improved(graph: ir.Graph, order: Order) -> bool:
    """Carry out the first region from which something is gained."""
    for region in _regions(graph, order):
        if region.gain() > 0:
            _carry_out(graph, region, order)
            return True
    return False


def _regions(graph: ir.Graph, order: Order) -> list[_Region]:
    """All operators that can be computed on values from before the Transposes of this order, by connection."""
    region_of: dict[ir.Value, _Region] = {}
    regions: list[_Region] = []
    for node in graph:
        if node.op_type == "Transpose" and _order(node) == order:
            region = _Region(seeds=[node])
            if not node.outputs[0].is_graph_output():
                regions.append(region)
                region_of[node.outputs[0]] = region
            continue
        known = [value for value in node.inputs if value is not None and value in region_of]
        if not known:
            continue
        if node.op_type == "Transpose":
            if _order(node) == inverse(order) and not node.outputs[0].is_graph_output():
                region_of[known[0]].opposite.append(node)
            continue
        change = turned(node, order)
        others = None if change is None else _others(node, known, order)
        if change is None or others is None:
            continue
        if not change.absorbs and any(value.is_graph_output() for value in node.outputs):
            continue
        region = _joined([region_of[value] for value in known], regions, region_of)
        region.reshaped += [(node, place) for place in others]
        if change.absorbs:
            region.ends[node] = change
        else:
            region.members[node] = change
            region_of.update(dict.fromkeys(node.outputs, region))
    return regions


def _others(node: ir.Node, known: list[ir.Value], order: Order) -> list[int] | None:
    """Places of operands from elsewhere that a Reshape turns; None where one of them cannot be turned so."""
    places = []
    for place, value in enumerate(node.inputs):
        if value is None or value in known or constant(value) is not None:
            continue
        shape = shape_of(value)
        if node.op_type not in POINTWISE or not _is_known(shape) or not is_reshape(shape, inverse(order)):
            return None
        places.append(place)
    return places


def _joined(found: list[_Region], regions: list[_Region], region_of: dict[ir.Value, _Region]) -> _Region:
    """One region of all that are found, in the place of the first."""
    first = found[0]
    for other in found[1:]:
        if other is first:
            continue
        first.seeds += other.seeds
        first.members.update(other.members)
        first.ends.update(other.ends)
        first.opposite += other.opposite
        first.reshaped += other.reshaped
        if other in regions:
            regions.remove(other)
        region_of.update({value: first for value, region in region_of.items() if region is other})
    return first


def _carry_out(graph: ir.Graph, region: _Region, order: Order) -> None:
    """Compute the region on the values from before its seeds."""
    back = inverse(order)
    inside = region.readers()
    outside = {value: _others_of(value, inside) for member in region.members for value in member.outputs}
    for node, place in region.reshaped:
        value = node.inputs[place]
        assert value is not None
        node.replace_input_with(place, _reshaped(graph, value, shape_of(value), back, node))
    for node, change in (*region.members.items(), *region.ends.items()):
        _change(graph, node, change)
    for value in outside:
        if value.shape is not None:
            value.shape = ir.Shape([value.shape[axis] for axis in back])
    for seed in region.seeds:
        for use in list(seed.outputs[0].uses()):
            if use.node in inside:
                use.node.replace_input_with(use.idx, seed.inputs[0])
        _drop_unread(graph, seed)
    for node in region.opposite:
        assert node.inputs[0] is not None
        ir.convenience.replace_all_uses_with(node.outputs[0], node.inputs[0])
        graph.remove(node, safe=True)
    for value, uses in outside.items():
        _turn_for(graph, value, uses, order)


def _change(graph: ir.Graph, node: ir.Node, change: Turned) -> None:
    for place, array in change.operands.items():
        name = f"{node.outputs[0].name}_{place}"
        node.replace_input_with(place, initializer(graph, name, np.ascontiguousarray(array)))
    for name, value in change.attributes.items():
        made = ir.AttrInt64s(name, value) if isinstance(value, list) else ir.AttrInt64(name, value)
        node.attributes[name] = made
    if change.beyond is not None:
        matrix, place, array = change.beyond
        matrix.replace_input_with(place, initializer(graph, f"{matrix.outputs[0].name}_{place}", array))


def _reshaped(
    graph: ir.Graph, value: ir.Value, shape: list[int | None] | None, order: Order, reader: ir.Node
) -> ir.Value:
    """`value`, whose shape is known but for one size, with its axes in `order`, by a Reshape before `reader`."""
    assert shape is not None
    assert value.shape is not None
    sides = [-1 if shape[axis] is None else shape[axis] for axis in order]
    target = initializer(graph, f"{value.name}_shape", np.array(sides, np.int64))
    node = ir.node("Reshape", [value, target])
    result = node.outputs[0]
    result.name, result.type = f"{target.name}d", value.type
    result.shape = ir.Shape([value.shape[axis] for axis in order])
    graph.insert_before(reader, node)
    return result


def _turn_for(graph: ir.Graph, value: ir.Value, uses: list[tuple[ir.Node, int]], order: Order) -> None:
    """A Transpose behind `value` for those who read it as it was."""
    if not uses:
        return
    node = ir.node("Transpose", [value], {"perm": list(order)})
    after = node.outputs[0]
    after.name, after.type = f"{value.name}_turned", value.type
    if value.shape is not None:
        after.shape = ir.Shape([value.shape[axis] for axis in order])
    producer = value.producer()
    assert producer is not None  # a member's result
    graph.insert_after(producer, node)
    for reader, place in uses:
        reader.replace_input_with(place, after)

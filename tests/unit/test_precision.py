"""What a runtime lists, held to the float graph: nothing is counted twice, nothing is missing without a name."""

from lowbit.core.adapter import OpPrecision
from lowbit.core.model import LayerMacs
from lowbit.measure.precision import accounted, int8_share


def op(name: str, macs: int, integer: bool = True, kind: str = "Conv", fused: tuple[str, ...] = ()) -> OpPrecision:
    return OpPrecision(name, kind, "u8s8" if integer else "f32", integer, macs, fused=fused)


def graph(**macs: int) -> tuple[LayerMacs, ...]:
    return tuple(LayerMacs(name, "Conv", count) for name, count in macs.items())


def counted(operators: tuple[OpPrecision, ...]) -> dict[str, int]:
    return {each.name: each.macs for each in operators if each.macs}


def test_what_is_not_listed_counts_as_not_integer_and_is_named() -> None:
    listed = [op("a", 80), op("block", 0, integer=False, kind="Subgraph", fused=("b", "soft"))]
    assert int8_share(listed) == 1.0
    found = accounted(listed, graph(a=80, b=20))
    assert int8_share(found) == 0.8
    assert (found[-1].name, found[-1].macs, found[-1].integer) == ("b", 20, False)
    assert "inside Subgraph block" in found[-1].reason


def test_of_layers_of_one_size_the_one_without_an_operator_is_named() -> None:
    found = accounted([op("b/fused", 50), op("other", 50)], graph(a=50, b=50, c=50))
    assert [each.name for each in found if not each.integer] == ["c"]  # b by its name, a by its size
    assert "another of its size" in found[-1].reason


def test_what_the_graph_does_not_multiply_counts_nothing() -> None:
    """A scale and shift that a vendor does as a depthwise convolution, or an operator that is listed twice."""
    found = accounted([op("a", 80), op("scale", 7, integer=False), op("a", 80)], graph(a=80))
    assert counted(found) == {"a": 80}
    assert int8_share(found) == 1.0
    assert all("none of the float graph's" in each.reason for each in found[1:])


def test_layers_may_be_merged_split_or_padded() -> None:
    merged = accounted([op("qkv", 60), op("o", 10)], graph(q=20, k=20, v=20, o=10))
    assert counted(merged) == {"qkv": 60, "o": 10}
    split = accounted([op("left", 30), op("right", 30), op("o", 10)], graph(a=60, o=10))
    assert counted(split) == {"left": 30, "right": 30, "o": 10}
    padded = accounted([op("a", 104), op("b", 100, integer=False)], graph(a=100, b=100))
    assert counted(padded) == {"a": 100, "b": 100}
    assert int8_share(padded) == 0.5


def test_a_merged_layer_beside_a_hidden_one() -> None:
    found = accounted([op("qkv", 60)], graph(q=20, k=20, v=20, product=35))
    assert counted(found) == {"qkv": 60, "product": 35}
    assert int8_share(found) == 60 / 95


def test_without_a_float_graph_or_a_list_nothing_changes() -> None:
    assert accounted([op("a", 5)], ()) == (op("a", 5),)
    assert accounted([], graph(a=5)) == ()

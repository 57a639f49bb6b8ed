"""The arithmetic of profiles, on operators written down by hand: no runtime runs here."""

from dataclasses import replace
from io import StringIO

import pytest
from rich.console import Console

from lowbit.core.adapter import OpPrecision
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.model import LayerMacs
from lowbit.core.profile import Profile, Tensor, TimedOperator, TimedRuns
from lowbit.measure.profile import Conditions, FloatGraph, Latency, alive_bytes, latency_of, made_of, profile
from lowbit.report.profiled import difference_text, layers_of, profile_text
from lowbit.report.trace import trace
from lowbit.study.profiling import ProfileRequest

CONDITIONS = Conditions("model.onnx", "some", "1.0", threads=1, batch_size=1)


def op(
    name: str,
    *times: float,
    macs: int = 0,
    calls: int = 1,
    integer: bool = True,
    fused: tuple[str, ...] = (),
    converts: bool = False,
    reads: tuple[str, ...] = (),
    writes: dict[str, int] | None = None,
    reason: str = "",
) -> TimedOperator:
    described = OpPrecision(
        name, "Conv" if macs else "Other", "u8s8" if integer else "f32", integer, macs, reason=reason, fused=fused
    )
    tensors = tuple(Tensor(tensor, size) for tensor, size in (writes or {}).items())
    return TimedOperator(described, f"kernel of {name}", calls, times or (1.0,), reads, tensors, converts)


def made(*operators: TimedOperator, graph: FloatGraph | None = None, latency: float = 100.0) -> Profile:
    timed = TimedRuns("a profiler", operators, runs=50, resolution_us=1.0, run_us=120.0)
    return made_of(timed, Latency(latency, 50), graph or FloatGraph(), CONDITIONS)


def graph(**macs: int) -> FloatGraph:
    layers = tuple(LayerMacs(name, "Conv", count) for name, count in macs.items())
    return FloatGraph(layers, tuple(macs))


def test_a_median_is_of_one_call_and_shares_are_of_all_calls() -> None:
    found = made(op("twice", 10, 14, 1000, calls=2), op("once", 6, 6, 6))
    assert [each.median_us for each in found.operators] == [7.0, 6.0]
    assert found.total_us == 20.0
    assert [each.share for each in found.operators] == [0.7, 0.3]


def test_conversions_are_added_up() -> None:
    found = made(op("q", 5, converts=True), op("conv", 12, macs=7), op("dq", 3, converts=True))
    assert found.convert_us == 8.0
    assert found.convert_share == 0.4


def test_a_tensor_is_alive_from_its_writer_to_its_last_reader() -> None:
    """a → b → d and a → c → d: while c runs, a, b and c exist; d's result lives to the end."""
    operators = [
        op("a", writes={"ta": 100}),
        op("b", reads=("ta",), writes={"tb": 10}),
        op("c", reads=("ta",), writes={"tc": 20}),
        op("d", reads=("tb", "tc"), writes={"td": 1}),
        op("e", reads=("td",)),
    ]
    assert alive_bytes(operators) == [100, 110, 130, 31, 1]
    assert made(*operators).peak_bytes == 130
    assert [each.bytes_written for each in made(*operators).operators] == [100, 10, 20, 1, None]


def test_without_tensors_nothing_is_said_of_memory() -> None:
    found = made(op("a"), op("b"))
    assert found.peak_bytes is None
    assert [each.bytes_alive for each in found.operators] == [None, None]


def placed(found: Profile) -> dict[str, tuple[int, tuple[str, ...]]]:
    return {each.operator.name: (each.operator.macs, each.layers) for each in found.operators}


def test_every_layer_belongs_to_one_operator_that_counts_its_products() -> None:
    found = made(op("x", macs=80), op("b/fused", macs=50), op("y", macs=50), graph=graph(a=80, c=50, b=50))
    assert placed(found) == {"x": (80, ("a",)), "b/fused": (50, ("b",)), "y": (50, ("c",))}
    assert not found.missing


def test_merged_split_and_padded_layers() -> None:
    merged = made(op("qkv", macs=60), op("o", macs=10), graph=graph(q=20, k=20, v=20, o=10))
    assert placed(merged) == {"qkv": (60, ("q", "k", "v")), "o": (10, ("o",))}
    split = made(op("left", macs=30), op("right", macs=30), op("o", macs=10), graph=graph(a=60, o=10))
    assert placed(split) == {"left": (30, ("a",)), "right": (30, ("a",)), "o": (10, ("o",))}
    padded = made(op("x", macs=104), op("y", macs=51), graph=graph(a=100, b=50))
    assert placed(padded) == {"x": (100, ("a",)), "y": (50, ("b",))}


def test_a_layer_inside_of_an_operator_is_counted_there() -> None:
    found = made(op("block", fused=("product", "soft")), op("x", macs=7), graph=graph(a=7, product=30))
    assert placed(found) == {"block": (30, ("product",)), "x": (7, ("a",))}
    assert not found.missing


def test_what_nothing_computes_is_missing_and_what_is_no_layer_counts_nothing() -> None:
    found = made(op("x", macs=7), op("scale", macs=3), graph=graph(a=7, b=500))
    assert placed(found) == {"x": (7, ("a",)), "scale": (0, ())}
    assert [layer.name for layer in found.missing] == ["b"]


def test_names_lead_to_the_nodes_that_do_not_multiply() -> None:
    known = FloatGraph((LayerMacs("conv", "Conv", 9),), ("conv", "add", "relu", "pool", "pool_2"), {"t7": "conv"})
    operators = op("t7", macs=9, fused=("add", "relu")), op("pool_2/reorder"), op("stranger")
    found = made(*operators, graph=known)
    assert placed(found) == {
        "conv": (9, ("conv", "add", "relu")),
        "pool_2/reorder": (0, ("pool_2",)),
        "stranger": (0, ()),
    }


def test_a_runtime_without_a_profiler_is_refused_by_its_name() -> None:
    with pytest.raises(UnsupportedError, match="some"):
        profile(object(), None, 50, FloatGraph(), CONDITIONS)  # type: ignore[arg-type]  # nothing of it is used


def test_runs_that_waited_for_a_core_are_left_out_or_their_waits_are() -> None:
    quiet = [(100.0, 0.0)] * 10 + [(900.0, 800.0)] * 40
    assert latency_of(quiet) == Latency(100.0, 10)
    busy = [(100.0, 0.0)] * 9 + [(920.0, 800.0)] * 41
    assert latency_of(busy) == Latency(120.0, 50, 800.0)


def test_a_difference_is_explained_where_it_is_large() -> None:
    assert difference_text(made(op("a", 110.0))).endswith("10 µs or 10.0 % more than the latency")
    assert "about 20.0 µs a call" in difference_text(made(op("a", 110.0), op("b", 30.0)))
    assert "outside of the operators" in difference_text(made(op("a", 50.0)))
    called = replace(made(op("a", 50.0)), besides_us=45.0)
    assert difference_text(called).endswith("5 µs or 5.0 % less than the latency")


def test_two_profiles_stand_side_by_side_in_the_order_of_the_graph() -> None:
    known = graph(a=80, b=50)
    left = made(op("a", 10, macs=80, integer=False), op("b", 10, macs=50, integer=False), op("soft", 2), graph=known)
    right = made(
        op("quant", 3, converts=True),
        op("b", 12, macs=50, integer=False, reason="its operands are float"),
        op("a", 4, macs=80),
        op("a2", 1),
        graph=known,
    )
    found = {each.name: (each.left_us, each.right_us, each.explained) for each in layers_of(left, right)}
    assert list(found.items()) == [
        ("a", (10, 4, "")),
        ("b", (10, 12, "its operands are float")),
        ("(Other)", (2, 1, "")),
        ("(quantize, dequantize, requantize)", (0, 3, "")),
    ]


def test_a_layer_in_the_same_kernel_says_so() -> None:
    same = made(op("a", 10, macs=80), graph=graph(a=80))
    (layer,) = layers_of(same, same)
    assert layer.explained == "the same kernel"


def test_what_does_not_run_as_integers_in_a_quantized_file_is_named_with_its_reason() -> None:
    known = graph(a=80, b=50, c=20)
    why = "its operands are float"
    mixed = made(
        op("a", macs=80),
        op("b", macs=50, integer=False, reason=why),
        op("c", macs=20, integer=False, reason=why),
        graph=known,
    )
    assert f"b, c: {why}" in printed(mixed)
    whole = made(op("a", macs=80, integer=False, reason=why), graph=graph(a=80))
    assert why not in printed(whole)  # a float file need not explain itself


def printed(found: Profile) -> str:
    console = Console(width=200, file=StringIO())
    console.print(profile_text(found))
    return str(console.file.getvalue())  # type: ignore[attr-defined]  # a StringIO


def test_a_trace_lays_operators_end_to_end_one_process_a_profile() -> None:
    first = made(op("a", 10, macs=3, writes={"t": 8}), op("b", 4, calls=2, converts=True))
    events = trace([first, first])["traceEvents"]
    spans = [event for event in events if event["ph"] == "X"]
    assert [(event["pid"], event["ts"], event["dur"]) for event in spans] == [
        (1, 0.0, 10.0), (1, 10.0, 4.0), (2, 0.0, 10.0), (2, 10.0, 4.0),
    ]  # fmt: skip
    assert [event["cat"] for event in spans[:2]] == ["operator", "conversion"]
    assert [event["args"]["bytes"] for event in events if event["ph"] == "C"] == [8, 8, 8, 8]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"artifacts": ()}, "0 artifacts"),
        ({"artifacts": ("a", "b", "c")}, "3 artifacts"),
        ({"runtimes": ("one", "two")}, "--runtime one,two"),
        ({"runs": 49}, "--runs 49"),
        ({"threads": 0}, "--threads 0"),
        ({"batch_size": 0}, "--batch-size 0"),
    ],
)
def test_a_request_that_cannot_be_met_names_its_option(change: dict[str, object], said: str) -> None:
    with pytest.raises(BadInput, match=said):
        ProfileRequest(**{"artifacts": ("a",), "data": "digits", **change})  # type: ignore[arg-type]

"""How nodes of ONNX Runtime's fully optimized graph are matched with the operators that they were one step before."""

from lowbit.core.adapter import OpPrecision
from lowbit.runtimes._onnxruntime_profile import _by_node, _partner


def listed(*names: str, outputs: tuple[str, ...] = ()) -> list[tuple[OpPrecision, tuple[str, ...]]]:
    return [(OpPrecision(name, "Conv", "f32", False), outputs) for name in names]


def test_a_node_is_the_operator_whose_name_or_output_its_name_begins_with() -> None:
    known = [*listed("Conv_1", "Conv_10"), *listed("Conv_3", outputs=("Clip_4",))]
    found = {name: _partner(name, known) for name in ("Conv_10_nchwc", "Conv_1_token_9", "Clip_4_nchwc", "Conv_1")}
    assert {name: each[0].name for name, each in found.items() if each is not None} == {
        "Conv_10_nchwc": "Conv_10", "Conv_1_token_9": "Conv_1", "Clip_4_nchwc": "Conv_3", "Conv_1": "Conv_1",
    }  # fmt: skip
    assert _partner("ReorderInput", known) is None
    assert _partner("Conv_100", known) is None  # another node, and no word appended to Conv_10


def test_events_belong_to_the_run_in_which_they_began_and_warm_up_counts_nothing() -> None:
    def event(name: str, ts: int, dur: int) -> dict[str, object]:
        return {"cat": "Node", "name": f"{name}_kernel_time", "ts": ts, "dur": dur}

    events = [event("a", 5, 9), event("b", 112, 2), event("a", 105, 3), event("a", 205, 4), event("a", 207, 1)]
    found = _by_node(events, [{"ts": 100}, {"ts": 200}])
    assert {name: calls for name, (_, calls) in found.items()} == {"a": [(0, 3), (1, 4), (1, 1)], "b": [(0, 2)]}
    assert list(found) == ["a", "b"]  # in the order in which they first ran

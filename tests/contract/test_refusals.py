"""Only the vendor's own call can be refused: what code of ours raises around it is a fault, and never kept."""

from pathlib import Path

import pytest

from lowbit.core.adapter import BuildRequest, SessionOptions
from lowbit.core.errors import UnsupportedError
from tests.contract.adapters import (
    BATCH,
    PREPROCESS,
    RUNTIMES,
    TOOLCHAINS,
    Factory,
    maker_for,
    need,
    recipe_of,
)

# Functions of ours that an adapter calls before, between or behind its vendor's calls.
OURS_IN_RUNTIMES = {
    "litert": "lowbit.runtimes.litert._edges",
    "onnxruntime": "lowbit.runtimes.onnxruntime._session_options",
    "openvino": "lowbit.runtimes.openvino._input_grid",
    "torch": "lowbit.runtimes.torch._set_threads",
}
OURS_IN_TOOLCHAINS = {
    "litert": "lowbit.toolchains.litert._ranges",
    "nncf": "lowbit.formats.openvino.tidy.number_by_place",
    "onnxruntime": "lowbit.toolchains.onnxruntime.int8_sums_saturate",
    "tensorflow": "lowbit.kerasgraph.importer.import_graph",
    "torch": "lowbit.torchgraph.importer.import_graph",
}
READING_IMAGES = "lowbit.toolchains._edge.batches"  # called from inside the vendor's call


def broken(*_: object, **__: object) -> None:
    raise ValueError("a fault of our own")


def test_every_adapter_has_its_line() -> None:
    assert set(OURS_IN_RUNTIMES) == set(RUNTIMES)
    assert {*OURS_IN_TOOLCHAINS, "lowbit"} == set(TOOLCHAINS)  # our own engine has no vendor in between


@pytest.mark.parametrize("name", sorted(OURS_IN_RUNTIMES))
def test_a_fault_of_a_runtimes_adapter_is_no_refusal(
    name: str, factory: Factory, monkeypatch: pytest.MonkeyPatch
) -> None:
    need(RUNTIMES[name].INFO)
    artifact = factory(maker_for(name, "fp32"), "fp32")
    monkeypatch.setattr(OURS_IN_RUNTIMES[name], broken)
    with (
        pytest.raises(ValueError, match="a fault of our own"),
        RUNTIMES[name].open_session(artifact, SessionOptions(1, BATCH)),
    ):
        pass


def test_a_fault_of_the_reference_is_no_refusal(factory: Factory, monkeypatch: pytest.MonkeyPatch) -> None:
    from lowbit.runtimes import reference

    artifact = factory("onnxruntime", "fp32")
    monkeypatch.setattr("lowbit.reference.graph.load_integer_graph", broken)
    with pytest.raises(ValueError, match="of our own"), reference.open_session(artifact, SessionOptions()):
        pass


@pytest.mark.parametrize("helper", ["its own", READING_IMAGES])
@pytest.mark.parametrize("name", sorted(OURS_IN_TOOLCHAINS))
def test_a_fault_of_a_toolchains_adapter_is_no_refusal(
    name: str, helper: str, factory: Factory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    toolchain = TOOLCHAINS[name]
    need(toolchain.INFO)
    monkeypatch.setattr(READING_IMAGES if helper == READING_IMAGES else OURS_IN_TOOLCHAINS[name], broken)
    recipe, cache = recipe_of(toolchain.INFO, "int8-static"), factory.folder / "cache"
    cache.mkdir(exist_ok=True)
    request = BuildRequest(
        factory.model, recipe, factory.samples, PREPROCESS, tmp_path, cache, BATCH, threads=1, seed=0
    )
    with pytest.raises(Exception, match="a fault of our own") as caught:
        toolchain.build(request)
    assert not isinstance(caught.value, UnsupportedError)

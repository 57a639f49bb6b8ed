"""The contract of a profile, held by every runtime that is found."""

import pytest

from lowbit.core.adapter import SessionOptions
from lowbit.core.profile import Profile
from lowbit.core.samples import Samples
from lowbit.measure.profile import Conditions, FloatGraph, profile
from lowbit.runtimes.find import Runtime
from tests.contract.adapters import BATCH, RUNTIMES, Factory, images, maker_for, need

RUNS = 50


@pytest.fixture(params=sorted(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    found = RUNTIMES[request.param]
    need(found.INFO)
    return found


def profiled(runtime: Runtime, recipe: str, factory: Factory, samples: Samples) -> Profile:
    artifact = factory(maker_for(runtime.INFO.name, recipe), recipe, BATCH)
    conditions = Conditions(artifact.path.name, runtime.INFO.name, "", 1, BATCH)
    with runtime.open_session(artifact, SessionOptions(threads=1, batch_size=BATCH)) as session:
        return profile(session, images(samples)[:BATCH], RUNS, FloatGraph(factory.model.layer_macs), conditions)


@pytest.mark.parametrize("recipe", ["fp32", "int8-static"])
def test_every_product_is_found_in_one_operator(
    runtime: Runtime, recipe: str, factory: Factory, tiny_samples: Samples
) -> None:
    found = profiled(runtime, recipe, factory, tiny_samples)
    multiply = {each.layers[0]: each.operator.macs for each in found.operators if each.operator.macs}
    assert multiply == {layer.name: layer.macs for layer in factory.model.layer_macs}
    assert not found.missing
    assert found.int8_share == (1.0 if recipe == "int8-static" else 0.0)

    assert found.runs >= RUNS
    assert sum(each.share for each in found.operators) == pytest.approx(1)
    assert sum(each.run_us for each in found.operators) == pytest.approx(found.total_us)
    assert found.total_us > 0 and found.latency_us > 0
    assert all(each.kernel and each.calls >= 1 for each in found.operators)

    first = BATCH * 8 * 8 * 8 * (1 if recipe == "int8-static" else 4)  # bytes of conv1's result
    written = next(each.bytes_written for each in found.operators if "conv1" in each.layers)
    assert written in (first, 2 * first)  # ONNX Runtime pads 8 channels of floats to 16
    assert found.peak_bytes is not None and found.peak_bytes >= 2 * first  # while conv2 runs

    converted = [each for each in found.operators if each.converts]
    outside = any("outside of the runtime" in note for note in found.notes)  # its file reads integers
    assert bool(converted) == (recipe == "int8-static" and not outside)
    assert found.convert_us == pytest.approx(sum(each.run_us for each in converted))

"""The contract of a runtime, held by every one that is found."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from lowbit.core.adapter import SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import LowbitError
from lowbit.core.samples import Samples
from lowbit.measure.precision import accounted
from lowbit.runtimes.find import Runtime
from tests.contract.adapters import BATCH, RUNTIMES, Factory, expected, images, maker_for, need

OPTIONS = SessionOptions(threads=1, batch_size=BATCH)
MACS = {"conv1": 8 * 3 * 9 * 8 * 8, "conv2": 8 * 8 * 9 * 8 * 8, "fc": 8 * 4}  # one sample of the tiny model


@pytest.fixture(params=sorted(RUNTIMES))
def runtime(request: pytest.FixtureRequest) -> Runtime:
    found = RUNTIMES[request.param]
    need(found.INFO)
    return found


def made_for(runtime: Runtime, recipe: str, factory: Factory, batch_size: int = BATCH) -> Artifact:
    return factory(maker_for(runtime.INFO.name, recipe), recipe, batch_size)


def test_names_are_module_names() -> None:
    assert {name: runtime.INFO.name for name, runtime in RUNTIMES.items()} == {name: name for name in RUNTIMES}


def test_float_parity(runtime: Runtime, factory: Factory, tiny_samples: Samples) -> None:
    x = images(tiny_samples)[:BATCH]
    with runtime.open_session(made_for(runtime, "fp32", factory), OPTIONS) as session:
        scores = session.predict(x)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, expected(factory.model, x), atol=1e-5)


@pytest.mark.parametrize("recipe", ["fp32", "int8-static"])
def test_batch_of_one_equals_batch_of_many(
    runtime: Runtime, recipe: str, factory: Factory, tiny_samples: Samples
) -> None:
    many = made_for(runtime, recipe, factory)
    if many.batch_size is not None and recipe != "fp32":
        pytest.skip("one file a batch size, each calibrated in batches of its own size: two quantizations, not one")
    one = made_for(runtime, recipe, factory, 1) if many.batch_size is not None else many
    x = images(tiny_samples)[:BATCH]
    with runtime.open_session(many, OPTIONS) as session:
        together = session.predict(x)
    with runtime.open_session(one, SessionOptions()) as session:
        alone = np.concatenate([session.predict(x[i : i + 1]) for i in range(BATCH)])
    np.testing.assert_allclose(alone, together, atol=1e-5)
    assert np.ptp(together, axis=0).max() > 0.01  # images that all score alike would prove nothing


@pytest.mark.parametrize("recipe", ["fp32", "int8-static"])
def test_company_does_not_matter(runtime: Runtime, recipe: str, factory: Factory, tiny_samples: Samples) -> None:
    x = images(tiny_samples)
    with runtime.open_session(made_for(runtime, recipe, factory), OPTIONS) as session:
        first = session.predict(x[:BATCH])
        second = session.predict(np.concatenate([x[:1], x[-BATCH + 1 :]]))
    np.testing.assert_allclose(second[0], first[0], atol=1e-6)
    assert np.abs(second[1:] - first[1:]).max() > 0.01


def test_fewer_images_than_the_session_was_opened_for(
    runtime: Runtime, factory: Factory, tiny_samples: Samples
) -> None:
    artifact = made_for(runtime, "fp32", factory)
    if artifact.batch_size is not None:
        pytest.skip("the file fixes its batch size")
    x = images(tiny_samples)[:3]
    with runtime.open_session(artifact, OPTIONS) as session:
        scores = session.predict(x)
    np.testing.assert_allclose(scores, expected(factory.model, x), atol=1e-5)


@pytest.mark.parametrize("recipe", ["fp32", "int8-static"])
def test_the_same_every_time(runtime: Runtime, recipe: str, factory: Factory, tiny_samples: Samples) -> None:
    x, other = images(tiny_samples)[:BATCH], images(tiny_samples)[BATCH : 2 * BATCH]
    artifact = made_for(runtime, recipe, factory)
    seen = []
    for _ in range(2):
        with runtime.open_session(artifact, OPTIONS) as session:
            seen.append(session.predict(x))
            session.predict(other)  # what came before must not matter, nor overwrite what was given out
            seen.append(session.predict(x))
    for scores in seen[1:]:
        np.testing.assert_array_equal(scores, seen[0])


@pytest.mark.parametrize("recipe", ["fp32", "int8-static"])
def test_nan_does_no_harm(runtime: Runtime, recipe: str, factory: Factory, tiny_samples: Samples) -> None:
    x = images(tiny_samples)[:BATCH]
    with runtime.open_session(made_for(runtime, recipe, factory), OPTIONS) as session:
        before = session.predict(x)
        assert session.predict(np.full_like(x, np.nan)).shape == before.shape
        np.testing.assert_array_equal(session.predict(x), before)


def test_arrays_may_be_strided_and_read_only(runtime: Runtime, factory: Factory, tiny_samples: Samples) -> None:
    x = images(tiny_samples)[: 2 * BATCH]
    x.flags.writeable = False
    with runtime.open_session(made_for(runtime, "fp32", factory), OPTIONS) as session:
        scores = session.predict(x[::2])
    np.testing.assert_allclose(scores, expected(factory.model, x[::2]), atol=1e-5)


def test_macs_agree_with_a_count_by_hand(runtime: Runtime, factory: Factory) -> None:
    with runtime.open_session(made_for(runtime, "fp32", factory), OPTIONS) as session:
        counted = [operator for operator in session.executed_precision() if operator.macs]
    assert sorted(operator.macs for operator in counted) == sorted(MACS.values())
    assert not any(operator.integer for operator in counted)
    assert all(operator.reason for operator in counted)


@pytest.mark.parametrize("recipe", ["fp32", "int8-static", "int8-dynamic"])
def test_everything_that_the_float_graph_multiplies_is_found(runtime: Runtime, recipe: str, factory: Factory) -> None:
    with runtime.open_session(made_for(runtime, recipe, factory), OPTIONS) as session:
        operators = session.executed_precision()
    assert accounted(operators, factory.model.layer_macs) == tuple(operators)
    assert sum(operator.macs for operator in operators) == sum(MACS.values())


def test_int8_static_runs_on_integers(runtime: Runtime, factory: Factory) -> None:
    with runtime.open_session(made_for(runtime, "int8-static", factory), OPTIONS) as session:
        counted = [operator for operator in session.executed_precision() if operator.macs]
    assert sorted(operator.macs for operator in counted) == sorted(MACS.values())
    assert all(operator.integer and not operator.hybrid and not operator.reason for operator in counted), counted


def test_int8_dynamic_runs_on_integers_or_says_why(runtime: Runtime, factory: Factory) -> None:
    with runtime.open_session(made_for(runtime, "int8-dynamic", factory), OPTIONS) as session:
        counted = [operator for operator in session.executed_precision() if operator.macs]
    assert sum(operator.macs for operator in counted) == sum(MACS.values())
    assert any(operator.integer for operator in counted)
    assert all(operator.integer or operator.reason for operator in counted), counted


@pytest.mark.parametrize("content", [b"", b"garbage " * 40, b"\0" * 4096], ids=["empty", "text", "zeros"])
def test_garbage_is_refused(runtime: Runtime, content: bytes, factory: Factory, tmp_path: Path) -> None:
    bad = damaged(made_for(runtime, "fp32", factory), tmp_path, content)
    with pytest.raises(LowbitError), runtime.open_session(bad, OPTIONS):
        pass


def test_half_a_file_is_refused(runtime: Runtime, factory: Factory, tmp_path: Path) -> None:
    good = made_for(runtime, "fp32", factory)
    content = good.path.read_bytes()
    half = damaged(good, tmp_path, content[: len(content) // 2])
    with pytest.raises(LowbitError), runtime.open_session(half, OPTIONS):
        pass


def test_a_file_that_is_gone_is_no_refusal(runtime: Runtime, factory: Factory, tmp_path: Path) -> None:
    """A refusal would be kept for good."""
    gone = replace(made_for(runtime, "fp32", factory), path=tmp_path / "gone")
    with pytest.raises(FileNotFoundError), runtime.open_session(gone, OPTIONS):
        pass


def damaged(good: Artifact, folder: Path, content: bytes) -> Artifact:
    """A copy of `good`, whatever stands beside its main file included, with other content."""
    copied = shutil.copytree(good.path.parent, folder / "damaged") / good.path.name
    copied.write_bytes(content)
    return replace(good, path=copied)


@pytest.mark.parametrize("recipe", ["fp32", "int8-dynamic", "int8-static"])
def test_every_operator_off_integers_says_why(runtime: Runtime, recipe: str, factory: Factory) -> None:
    with runtime.open_session(made_for(runtime, recipe, factory), OPTIONS) as session:
        operators = session.executed_precision()
    assert len(operators) > len(MACS)
    assert all(bool(operator.reason) is not operator.integer for operator in operators), operators


def test_warms_up(runtime: Runtime) -> None:
    runtime.warm_up(SessionOptions())

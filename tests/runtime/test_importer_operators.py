"""Every operator of the importer and of the integer reference in float, against ONNX Runtime (see `cases`)."""

import re
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnx.defs
import pytest
import torch
from torch.export import Dim

from lowbit.core.errors import UnsupportedError
from lowbit.graph.refused import FOLDED, REFUSED
from lowbit.reference.graph import load_integer_graph
from lowbit.reference.op import real
from lowbit.torchgraph.importer import OPERATORS, import_graph
from tests.runtime.cases import everything
from tests.runtime.cases.case import Case
from tests.runtime.importing import build, node

_CASES = everything()


def _quick() -> list[Case]:
    """The first case of each operator."""
    found: dict[str, Case] = {}
    for case in _CASES:
        found.setdefault(case.nodes[-1].op_type + re.split(r"[-({ ]", case.name)[0], case)
    return list(found.values())


def _check(case: Case, folder: Path) -> None:
    x = case.images(4)
    path = folder / "network.onnx"
    onnx.save(case.model(), path)
    module = import_graph(path)
    for batch in (x, x[:1]):
        with torch.no_grad():
            got = module(torch.from_numpy(batch))
        _same([each.numpy() for each in (got if isinstance(got, tuple) else (got,))], case.expected(batch))
    values = load_integer_graph(case.model()).run({"x": x})
    _same([np.asarray(real(values[name])) for name in case.outputs], case.expected(x))


def _same(ours: list[Any], theirs: list[Any]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.shape == other.shape
        np.testing.assert_allclose(mine, other, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("case", _quick(), ids=lambda case: case.name)
def test_operator(case: Case, tmp_path: Path) -> None:
    _check(case, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("case", _CASES, ids=lambda case: case.name)
def test_operator_over_its_attributes_and_opsets(case: Case, tmp_path: Path) -> None:
    _check(case, tmp_path)


def test_the_grid_has_every_operator() -> None:
    tried = {each.op_type for case in _CASES for each in case.nodes}
    elsewhere = {"Range", "ConstantOfShape", "Dropout", "Split", "Tile", "Unsqueeze", "Size", "ConvTranspose", "Gemm"}
    assert set(OPERATORS) - tried - elsewhere == {"Swish"}  # ONNX Runtime has none: by hand in test_importer_math


def test_every_operator_of_the_standard_is_carried_folded_or_refused() -> None:
    known = set(OPERATORS) | set(REFUSED) | FOLDED
    latest: dict[str, Any] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        if schema.domain == "" and schema.since_version <= 23:
            latest[schema.name] = max(schema, latest.get(schema.name, schema), key=lambda each: each.since_version)
    standard = {name for name, schema in latest.items() if not schema.deprecated}
    assert standard - known == set()
    assert set(OPERATORS) & set(REFUSED) == set()


@pytest.mark.parametrize("name", ["RandomNormalLike", "NonZero", "STFT", "SplitToSequence", "If"])
def test_a_refusal_says_its_reason(name: str, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(build([node(name, "x")], (4,), {}), path)
    with pytest.raises(UnsupportedError, match=re.escape(REFUSED[name])):
        import_graph(path)


def test_random_numbers_are_not_folded_as_if_they_were_constant(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(build([node("RandomNormal", "", "r", shape=[4]), node("Add", "x r")], (4,), {}), path)
    with pytest.raises(UnsupportedError, match="draws random numbers"):
        import_graph(path)


@pytest.mark.slow
@pytest.mark.parametrize("case", _quick(), ids=lambda case: case.name)
def test_export_and_trace_keep_the_batch_free(case: Case, tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(case.model(), path)
    _check_exports(import_graph(path), torch.from_numpy(case.images(5)))


@pytest.mark.parametrize("name", ["LSTM", "GRU", "Resize", "LpPool", "GridSample", "MaxUnpool"])
def test_export_and_trace_of_some_keep_the_batch_free(name: str, tmp_path: Path) -> None:
    case = next(case for case in _CASES if case.name.startswith(name))
    path = tmp_path / "network.onnx"
    onnx.save(case.model(), path)
    _check_exports(import_graph(path), torch.from_numpy(case.images(5)))


def _check_exports(module: torch.nn.Module, x: torch.Tensor) -> None:
    with torch.no_grad():
        expected = module(x)
        program = torch.export.export(module, (x[:2],), dynamic_shapes={"x": {0: Dim("batch")}})
        torch.testing.assert_close(program.module()(x), expected)
        trace = cast(Any, torch.jit).trace(module, (x[:2],))
        torch.testing.assert_close(trace(x), expected)

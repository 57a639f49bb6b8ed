"""The toolchain `given`: what it copies, reads and refuses."""

from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from lowbit.core import digest
from lowbit.core.adapter import BuildRequest, Built
from lowbit.core.errors import BadInput, LowbitError, UnsupportedError
from lowbit.core.format import ONNX
from lowbit.core.preprocess import Preprocess
from lowbit.toolchains import given
from lowbit.toolchains._edge import metadata
from tests.models import tiny_model, tiny_samples


def build(path: Path, out: Path, *, contents: str | None = None) -> Built:
    """What becomes of the file beside the tiny float model. contents: the digest that the study was planned with."""
    out.mkdir(parents=True)
    model = tiny_model(out.parent / "float.onnx")
    recipe = given.recipe_of(path.stem, ONNX, contents or digest.of_files([path]))
    return given.build(
        BuildRequest(
            model, recipe, tiny_samples(out.parent), Preprocess("unit"), out, out, 1, threads=1, seed=0, given=path
        )
    )


def edited(path: Path) -> onnx.ModelProto:
    tiny_model(path)
    return onnx.load(path)


def test_the_file_lies_in_the_study_under_its_own_name(tmp_path: Path) -> None:
    tiny_model(tmp_path / "theirs.onnx")
    built = build(tmp_path / "theirs.onnx", tmp_path / "study" / "out")
    assert built.main == tmp_path / "study" / "out" / "theirs.onnx"
    assert built.main.read_bytes() == (tmp_path / "theirs.onnx").read_bytes()
    assert (built.batch_size, built.dynamic, built.probabilities, built.notes) == (None, False, False, ())


def test_the_batch_size_is_the_files_own(tmp_path: Path) -> None:
    model = edited(tmp_path / "six.onnx")
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 6
    onnx.save(model, tmp_path / "six.onnx")
    assert build(tmp_path / "six.onnx", tmp_path / "study" / "out").batch_size == 6


@pytest.mark.parametrize("asks", ["unit", "raw"])
def test_a_file_that_asks_for_another_preprocessing_says_so(tmp_path: Path, asks: str) -> None:
    model = edited(tmp_path / "theirs.onnx")
    helper.set_model_props(model, metadata(Preprocess(asks)))
    onnx.save(model, tmp_path / "theirs.onnx")
    notes = build(tmp_path / "theirs.onnx", tmp_path / "study" / "out").notes
    assert any("another preprocessing" in note for note in notes) == (asks != "unit")


def test_a_file_that_was_edited_after_planning_is_not_measured_under_the_old_key(tmp_path: Path) -> None:
    tiny_model(tmp_path / "theirs.onnx")
    planned = digest.of_files([tmp_path / "theirs.onnx"])
    tiny_model(tmp_path / "theirs.onnx", seed=1)
    with pytest.raises(LowbitError, match=r"theirs\.onnx was changed while the study ran"):
        build(tmp_path / "theirs.onnx", tmp_path / "study" / "out", contents=planned)


def test_two_outputs_are_refused_since_nobody_says_which_holds_the_scores(tmp_path: Path) -> None:
    model = edited(tmp_path / "two.onnx")
    model.graph.output.append(helper.make_tensor_value_info("r1", TensorProto.FLOAT, ["batch", 8, 8, 8]))
    onnx.save(model, tmp_path / "two.onnx")
    with pytest.raises(UnsupportedError, match=r"two\.onnx has 2 outputs, one was expected"):
        build(tmp_path / "two.onnx", tmp_path / "study" / "out")


def test_an_input_of_another_rank_is_told_in_the_files_own_sizes(tmp_path: Path) -> None:
    model = edited(tmp_path / "flat.onnx")
    model.graph.input[0].type.CopyFrom(helper.make_tensor_type_proto(TensorProto.FLOAT, ["batch", 192]))
    onnx.save(model, tmp_path / "flat.onnx")
    with pytest.raises(UnsupportedError, match="takes images of 192, the float model takes 3 x 8 x 8"):
        build(tmp_path / "flat.onnx", tmp_path / "study" / "out")


def test_missing_external_data_is_named_without_the_place_of_the_file(tmp_path: Path) -> None:
    model = edited(tmp_path / "split.onnx")
    onnx.save(model, tmp_path / "split.onnx", save_as_external_data=True, location="split.data", size_threshold=0)
    (tmp_path / "split.data").unlink()
    with pytest.raises(BadInput, match=r"^split\.onnx: the external data of 'w1' should be in ") as error:
        build(tmp_path / "split.onnx", tmp_path / "study" / "out")
    assert str(tmp_path) not in str(error.value)

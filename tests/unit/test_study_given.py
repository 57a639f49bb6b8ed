"""Files that are given to a study: which are taken, what becomes of them in the plan, and what names their results."""

from dataclasses import replace
from pathlib import Path

import pytest

from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Preprocess
from lowbit.core.recipe import Recipe
from lowbit.core.settings import Settings
from lowbit.measure.host import facts
from lowbit.study import keys
from lowbit.study.ask import InputsAsk, StudyRequest
from lowbit.study.cells import CellsPlan, files_of, plan_cells
from lowbit.study.compare import planned
from lowbit.study.given import given_files
from lowbit.toolchains.given import INFO
from tests.models import tiny_model, tiny_samples

NATIVE = RuntimeInfo("onnxruntime", (), None, ("onnx",))
GUEST = RuntimeInfo("openvino", (), None, ("onnx", "openvino-ir", "tflite"))
LITERT = RuntimeInfo("litert", (), None, ("tflite",))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    tiny_model(tmp_path / "theirs.onnx")
    (tmp_path / "ir.xml").write_text("<net/>")
    (tmp_path / "ir.bin").write_bytes(b"weights")
    (tmp_path / "phone.tflite").write_bytes(b"broken, which its row says and not the plan")
    return [tmp_path / "theirs.onnx", tmp_path / "ir.xml", tmp_path / "phone.tflite"]


def plan_of(files: list[Path], *runtimes: RuntimeInfo, recipes: tuple[str, ...] = ()) -> CellsPlan:
    given = given_files(files)
    maker = ToolchainInfo("maker", (), None, "onnx", ("onnxruntime",), (Recipe("fp32", 32, 32, "float"),))
    takes = replace(INFO, recipes=tuple(recipe for recipe, _ in given))
    return plan_cells([maker, takes], runtimes, recipes, (), {recipe.name: path for recipe, path in given})


def test_each_file_is_a_build_that_every_reader_gets_and_its_native_runtime_first(files: list[Path]) -> None:
    for recipes in ((), ("fp32",)):  # they are measured whatever is made besides
        plan = plan_of(files, GUEST, NATIVE, LITERT, recipes=recipes)
        assert [(build.name, build.runtimes, build.made_for, build.given) for build in plan.builds] == [
            ("maker/fp32", ("onnxruntime", "openvino"), ("onnxruntime",), None),
            ("given/theirs", ("onnxruntime", "openvino"), ("onnxruntime",), files[0]),
            ("given/ir", ("openvino",), ("openvino",), files[1]),
            ("given/phone", ("litert", "openvino"), ("litert",), files[2]),
        ]
    recipe = plan.builds[1].recipe
    assert (recipe.weight_bits, recipe.activation_bits, recipe.claim) == (None, None, None)


def test_a_file_that_no_runtime_reads_is_no_gap_in_the_table(files: list[Path]) -> None:
    with pytest.raises(BadInput, match=r"--given .*phone\.tflite: expected a file that one of onnxruntime reads"):
        plan_of(files[2:], NATIVE)


def test_a_given_file_is_no_recipe_to_choose(files: list[Path]) -> None:
    with pytest.raises(BadInput, match=r"no recipe is called 'theirs'; choose from fp32$"):
        plan_of(files, NATIVE, GUEST, recipes=("theirs",))


def test_a_sweep_over_sizes_uses_a_file_of_a_fixed_size_as_it_is(files: list[Path]) -> None:
    settings = [Settings(scenario="offline", batch_size=size) for size in (1, 8)]
    build = plan_of(files, LITERT, NATIVE, GUEST).builds[-1]
    assert build.toolchain.fixes_batch(build.recipe)
    assert files_of(build, settings) == [(build, settings)]
    made = replace(build, given=None)
    assert [each.batch_size for each, _ in files_of(made, settings)] == [1, 8]


def test_two_files_of_one_name_are_refused_with_both_named(files: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other" / "theirs.tflite"
    other.parent.mkdir()
    other.write_bytes(b"x")
    with pytest.raises(BadInput) as error:
        given_files([files[0], other])
    assert f"--given {other}:" in str(error.value)
    assert str(files[0]) in str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("absent.onnx", "no such file; expected a file ending in .onnx, .xml, .tflite"),
        ("folder", "a folder; expected a file ending in .onnx, .xml, .tflite"),
        ("weights.pt", "expected a file ending in .onnx, .xml, .tflite"),
        ("alone.xml", "alone.bin is missing beside it"),
    ],
)
def test_what_is_no_file_to_measure_is_bad_input(tmp_path: Path, name: str, said: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "weights.pt").write_bytes(b"x")
    (tmp_path / "alone.xml").write_text("<net/>")
    with pytest.raises(BadInput) as error:
        given_files([tmp_path / name])
    assert str(error.value).startswith(f"--given {tmp_path / name}: ")
    assert said in str(error.value)


def test_the_toolchain_alone_wants_files(tmp_path: Path) -> None:
    request = StudyRequest("m.onnx", "d", tmp_path / "study", Preprocess("unit"), toolchains=("given",))
    with pytest.raises(BadInput, match=r"--toolchains given: .*add --given FILE"):
        planned(request)
    tiny_model(tmp_path / "theirs.onnx")
    plan = planned(replace(request, given=(tmp_path / "theirs.onnx",)))
    assert [build.name for build in plan.builds] == ["given/theirs"]


def test_an_edited_file_has_another_key_and_a_moved_one_the_same(files: list[Path], tmp_path: Path) -> None:
    model, samples = tiny_model(tmp_path / "float.onnx"), tiny_samples(tmp_path)
    asked = InputsAsk("float.onnx", "d", Preprocess("unit"))

    def key(path: Path, batch_size: int = 1) -> str:
        (build,) = plan_of([path], GUEST, recipes=("fp32",)).builds[1:]
        return keys.build_key(asked, build, model, samples, facts(), batch_size)

    before = {path.name: key(path) for path in files}
    assert len(set(before.values())) == 3
    assert all(key(path, batch_size=8) == before[path.name] for path in files)  # the size is the file's own affair
    moved = tmp_path / "elsewhere"
    moved.mkdir()
    for path in (*files, files[1].with_suffix(".bin")):
        path.rename(moved / path.name)
    assert {path.name: key(moved / path.name) for path in files} == before
    tiny_model(moved / "theirs.onnx", seed=1)
    (moved / "ir.bin").write_bytes(b"other weights")
    (moved / "phone.tflite").write_bytes(b"another broken one")
    after = {path.name: key(moved / path.name) for path in files}
    assert not set(after.values()) & set(before.values())

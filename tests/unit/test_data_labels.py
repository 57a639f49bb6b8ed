"""Each class of the data has one output of the model, or the user is asked."""

import json
from pathlib import Path

import pytest

from lowbit.core.errors import BadInput
from lowbit.data.labels import index_by_name, output_index

ANIMALS = ("cat", "dog", "owl")


def test_as_many_outputs_as_classes_need_no_file() -> None:
    assert output_index(ANIMALS, 3, None) == (0, 1, 2)


@pytest.mark.parametrize(
    ("names", "outputs", "found"),
    [
        (ANIMALS, ("owl", "cow", "Dog", "CAT"), (3, 2, 0)),
        (("tabby", "great_horned-owl"), ("Great Horned Owl", "tabby, tabby cat"), (1, 0)),
        (("crane", "dog"), ("crane", "dog", "crane, machine"), (0, 1)),  # the whole name before one of several
        (("crane", "dog"), ("crane", "dog", "crane"), None),  # two of the same name
        (ANIMALS, ("fish", "hen", "cow"), None),
        (("cat", "dog", "eagle"), ("cat", "dog", "hawk"), None),  # those that are found stand where they should
        (("0", "1"), ("1", "0"), None),  # numbers are no names
    ],
)
def test_outputs_are_found_by_name(
    names: tuple[str, ...], outputs: tuple[str, ...], found: tuple[int, ...] | None
) -> None:
    assert index_by_name(names, outputs) == found


def test_names_in_another_order_of_which_some_are_unknown_are_no_guess() -> None:
    with pytest.raises(BadInput, match=r"class 0 of the data, 'dog', is output 1 .*is called eagle: give --labels"):
        index_by_name(("dog", "cat", "eagle"), ("cat", "dog", "hawk"))
    with pytest.raises(BadInput, match=r"class 1 of the data, 'tabby cat', is output 0 .*is called tabby, tabby cat"):
        index_by_name(("tabby", "tabby cat"), ("tabby, tabby cat", "dog"))
    longer = ("cat", "dog", "hawk", "fish")  # where classes cannot be taken by place, nothing is wrong yet
    assert index_by_name(("dog", "cat", "eagle"), longer) is None


def test_a_file_decides(tmp_path: Path) -> None:
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"owl": 0, "cat": 281, "dog": 1000}))
    assert output_index(ANIMALS, 1001, file) == (281, 1000, 0)


def test_the_shared_mapping_is_accepted(shared: Path) -> None:
    file = shared / "data/imagenette/labels.json"
    mapping = json.loads(file.read_text())
    names = sorted(mapping, reverse=True)
    assert output_index(names, 1001, file) == tuple(mapping[name] for name in names)


@pytest.mark.parametrize(("names", "outputs", "said"), [(ANIMALS, 2, "2 outputs"), (ANIMALS, 1000, "--labels")])
def test_other_numbers_are_no_guess(names: tuple[str, ...], outputs: int, said: str) -> None:
    with pytest.raises(BadInput) as error:
        output_index(names, outputs, None)
    assert said in str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ('{"cat": 1, "dog": 2}', "owl"),
        ('{"cat": 1, "dog": 2, "owl": 3, "cow": 4}', "no class cow"),
        ('{"cat": 1, "dog": 2, "owl": 10}', "'owl' → 10"),
        ('{"cat": 1, "dog": 2, "owl": -1}', "'owl' → -1"),
        ('{"cat": 1, "dog": 2, "owl": true}', "'owl' → True"),
        ('{"cat": 1, "dog": 2, "owl": "3"}', "'owl' → '3'"),
        ('{"cat": 1, "dog": 2, "owl": 2}', "'dog' and 'owl'"),
        ('{"cat": 1, "dog": 2, "owl": 3, "cat": 4}', "'cat' stands there twice"),
        ('["cat", "dog", "owl"]', "an object"),
        ('{"cat": 1', "not JSON"),
        ("\udcff", "cannot be read"),
    ],
)
def test_a_wrong_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "labels.json"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(BadInput) as error:
        output_index(ANIMALS, 10, file)
    assert said in str(error.value)
    assert str(file) in str(error.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.json"):
        output_index(ANIMALS, 10, tmp_path / "absent.json")


def test_one_output_fits_two_classes_or_one_of_them(tmp_path: Path) -> None:
    assert output_index(("cat", "dog"), 1, None) == (0, 1)
    with pytest.raises(BadInput, match=r'which of the two is it\? Give --labels labels.json: {"cat": 1} where'):
        output_index(("cat",), 1, None)
    file = tmp_path / "labels.json"
    file.write_text(json.dumps({"cat": 1}))
    assert output_index(("cat",), 1, file) == (1,)
    file.write_text(json.dumps({"cat": 1, "dog": 0}))
    assert output_index(("cat", "dog"), 1, file) == (1, 0), "which class lies above the threshold"
    with pytest.raises(BadInput, match="1 output, which tells two classes apart; the data have 3"):
        output_index(ANIMALS, 1, None)

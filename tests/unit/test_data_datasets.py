"""Every form of data gives its pictures and labels, and says clearly when it cannot."""

import io
import json
import os
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lowbit.core.errors import BadInput
from lowbit.data.datasets import open_dataset
from lowbit.data.picture import DataPart
from lowbit.data.preprocess import parse


def colour(value: int, side: int = 4) -> Image.Image:
    return Image.fromarray(np.full((side, side, 3), value, np.uint8))


def png(value: int) -> bytes:
    stream = io.BytesIO()
    colour(value).save(stream, "PNG")
    return stream.getvalue()


def values(part: DataPart, indices: list[int] | None = None) -> list[int]:
    """The value of each picture (they are all of one colour)."""
    wanted = range(len(part.labels)) if indices is None else indices
    return [int(picture.pixels(parse("unit"))[0, 0, 0]) for picture in part.pictures(wanted)]


def write_folder(root: Path, pictures: dict[str, int]) -> None:
    for name, value in pictures.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        colour(value).save(root / name)


def write_parquet(path: Path, pictures: list[bytes | None], labels: list[int | None], **options: object) -> None:
    """Hugging Face's convention; options: column names, class names, rows of a group."""
    image, label = str(options.get("image", "image")), str(options.get("label", "label"))
    table = pa.table(
        {
            image: pa.array(
                [{"bytes": content, "path": f"{i}.png"} for i, content in enumerate(pictures)],
                pa.struct([("bytes", pa.binary()), ("path", pa.string())]),
            ),
            "other": pa.array(["x"] * len(labels)),
            label: pa.array(labels, pa.int64()),
        }
    )
    if "names" in options:
        features = {label: {"names": options["names"], "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, path, row_group_size=options.get("rows", 3))


# --- digits


def test_digits_are_scikit_learns() -> None:
    from sklearn.datasets import load_digits

    digits = open_dataset("digits")
    assert digits.train is not None
    assert (len(digits.train.labels), len(digits.test.labels)) == (1347, 450)
    assert digits.class_names == tuple("0123456789")
    # Known from scikit-learn's train_test_split(test_size=0.25, random_state=42): the first ten test labels.
    assert digits.test.labels[:10].tolist() == [6, 9, 3, 7, 2, 1, 5, 2, 5, 2]
    source = load_digits()
    pictures = [p.pixels(parse("raw,channels=grey"))[..., 0] for p in digits.test.pictures(range(450))]
    for pixels, label in zip(pictures[:20], digits.test.labels[:20], strict=True):
        sixteenths = np.rint(pixels / 255 * 16)
        rows = np.flatnonzero((source.images == sixteenths).all((1, 2)))
        assert label in source.target[rows]
    assert {int(v) for v in np.unique(pictures)} == {int(np.rint(v * 255 / 16)) for v in range(17)}


def test_digits_without_scikit_learn_say_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn", None)
    with pytest.raises(BadInput, match=r"scikit-learn.*pip install 'lowbit\[torch\]'"):
        open_dataset("digits")


# --- folders


def test_a_folder_of_class_folders_is_all_evaluated(tmp_path: Path) -> None:
    write_folder(tmp_path, {"dog/b.png": 3, "dog/a.bmp": 2, "cat/x.PNG": 1, "owl/deep/er/y.png": 4, ".hidden/z.png": 9})
    (tmp_path / "dog/notes.txt").write_text("no picture")
    (tmp_path / "dog/._a.png").write_text("what macOS leaves behind")
    data = open_dataset(str(tmp_path))
    assert data.train is None
    assert data.class_names == ("cat", "dog", "owl")
    assert data.test.labels.tolist() == [0, 1, 1, 2]
    assert values(data.test) == [1, 2, 3, 4]


@pytest.mark.parametrize("evaluation", ["test", "val", "valid", "validation"])
def test_a_folder_may_have_a_training_part(tmp_path: Path, evaluation: str) -> None:
    write_folder(tmp_path, {"train/a/1.png": 1, "train/b/1.png": 2, "train/c/1.png": 3, f"{evaluation}/c/1.png": 4})
    data = open_dataset(str(tmp_path))
    assert data.train is not None
    assert data.class_names == ("a", "b", "c")
    assert (data.train.labels.tolist(), data.test.labels.tolist()) == ([0, 1, 2], [2])
    assert (values(data.train), values(data.test)) == ([1, 2, 3], [4])


@pytest.mark.parametrize("labelled", [True, False])
@pytest.mark.parametrize("name", ["train", "test", "val", "valid", "validation"])
@pytest.mark.parametrize("nested", ["", "deep/"])
def test_a_class_may_be_called_as_parts_are(tmp_path: Path, labelled: bool, name: str, nested: str) -> None:
    write_folder(tmp_path, {"bus/1.png": 1, "car/1.png": 2, f"{name}/{nested}1.png": 3})
    data = open_dataset(str(tmp_path), labelled=labelled)
    assert data.train is None
    assert values(data.test) == [1, 2, 3]
    if labelled:
        assert data.class_names == tuple(sorted(("bus", "car", name)))


@pytest.mark.parametrize("labelled", [True, False])
def test_parts_are_told_by_the_classes_they_share_whatever_lies_beside_them(tmp_path: Path, labelled: bool) -> None:
    write_folder(
        tmp_path, {"train/a/1.png": 1, "train/b/1.png": 2, "val/b/1.png": 3, "test/9.png": 4, "extra/1.png": 5}
    )
    data = open_dataset(str(tmp_path), labelled=labelled)
    assert values(data.train if labelled and data.train else data.test) == [1, 2]
    if labelled:
        assert values(data.test) == [3]


@pytest.mark.parametrize("names", [["train", "test"], ["test"], ["train"], ["val", "train"]])
def test_folders_named_like_parts_without_classes_are_not_guessed_at(tmp_path: Path, names: list[str]) -> None:
    write_folder(tmp_path, {f"{name}/1.png": 1 for name in names})
    with pytest.raises(BadInput, match=r"named like parts of the data, but no test/ or val/ with class folders"):
        open_dataset(str(tmp_path))
    assert values(open_dataset(str(tmp_path), labelled=False).test)


@pytest.mark.parametrize("labelled", [True, False])
def test_linked_folders_are_followed_and_loops_are_not(tmp_path: Path, labelled: bool) -> None:
    write_folder(tmp_path / "elsewhere", {"dogs/1.png": 2, "more/2.png": 3})
    write_folder(tmp_path / "d", {"cat/1.png": 1})
    (tmp_path / "d/dog").symlink_to(tmp_path / "elsewhere/dogs")
    (tmp_path / "elsewhere/dogs/more").symlink_to(tmp_path / "elsewhere/more")
    (tmp_path / "elsewhere/more/back").symlink_to(tmp_path / "elsewhere/dogs")
    (tmp_path / "linked").symlink_to(tmp_path / "d")
    assert values(open_dataset(str(tmp_path / "linked"), labelled=labelled).test) == [1, 2, 3]


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({}, "no pictures in class folders"),
        ({"a.png": 1}, "no pictures in class folders"),
        ({"train/cat/a.png": 1, "train/dog/a.png": 1}, "no test/ or val/"),
    ],
)
def test_a_folder_without_classes_is_refused(tmp_path: Path, files: dict[str, int], said: str) -> None:
    write_folder(tmp_path, files)
    with pytest.raises(BadInput, match=said):
        open_dataset(str(tmp_path))


def test_an_empty_class_folder_is_named(tmp_path: Path) -> None:
    write_folder(tmp_path, {"cat/a.png": 1})
    (tmp_path / "dog").mkdir()
    with pytest.raises(BadInput, match=r"dog: a class folder without pictures"):
        open_dataset(str(tmp_path))


# --- parquet


@pytest.mark.parametrize(("image", "label"), [("img", "label"), ("image", "labels"), ("picture", "fine_label")])
def test_parquet_columns_are_found(tmp_path: Path, image: str, label: str) -> None:
    write_parquet(
        tmp_path / "d.parquet", [png(v) for v in range(8)], [0, 1, 2, 0, 1, 2, 0, 3], image=image, label=label
    )
    data = open_dataset(str(tmp_path / "d.parquet"))
    assert data.train is None
    assert data.class_names == ("0", "1", "2", "3")
    assert data.test.labels.tolist() == [0, 1, 2, 0, 1, 2, 0, 3]
    assert values(data.test) == list(range(8))


@pytest.mark.parametrize("names", [["cat", "dog", "owl"], {"0": "cat", "1": "dog", "2": "owl"}])
def test_parquet_names_its_classes(tmp_path: Path, names: object) -> None:
    write_parquet(tmp_path / "d.parquet", [png(1)], [1], names=names)
    assert open_dataset(str(tmp_path / "d.parquet")).class_names == ("cat", "dog", "owl")


@pytest.mark.parametrize("indices", [[0], [10], [2, 3], [0, 4, 5, 10], [7, 9], list(range(11)), []])
def test_parquet_rows_are_found_across_groups_and_files(tmp_path: Path, indices: list[int]) -> None:
    write_parquet(tmp_path / "test-00000.parquet", [png(v) for v in range(7)], [0] * 7, rows=3)
    write_parquet(tmp_path / "test-00001.parquet", [png(v) for v in range(7, 11)], [1] * 4, rows=2)
    write_parquet(tmp_path / "train.parquet", [png(99)], [0])
    data = open_dataset(str(tmp_path))
    assert data.train is not None
    assert values(data.train) == [99]
    assert data.test.labels.tolist() == [0] * 7 + [1] * 4
    assert values(data.test, indices) == indices


def test_parquet_files_lie_in_hugging_faces_cache_as_links_to_blobs_without_a_suffix(tmp_path: Path) -> None:
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshots/1f2e"
    blobs.mkdir()
    snapshot.mkdir(parents=True)
    for name, value in (("train", 1), ("test", 2)):
        write_parquet(tmp_path / f"{name}.parquet", [png(value)], [0])
        (tmp_path / f"{name}.parquet").rename(blobs / f"{value}d4c3")
        (snapshot / f"{name}-00000.parquet").symlink_to(Path("../../blobs") / f"{value}d4c3")
    (tmp_path / "latest").symlink_to(snapshot)
    (tmp_path / "short").symlink_to(snapshot / "test-00000.parquet")
    (tmp_path / "file.parquet").symlink_to(blobs / "2d4c3")
    (tmp_path / "named").symlink_to(tmp_path / "kept.npz")
    np.savez(tmp_path / "kept.npz", x=np.full((1, 4, 4), 2, np.uint8), y=[0])
    for place in ("snapshots/1f2e/test-00000.parquet", "file.parquet", "named", "short", "blobs/2d4c3"):
        data = open_dataset(str(tmp_path / place))
        assert values(data.test) == [2]
        assert data.fingerprint()
    for place in ("snapshots/1f2e", "latest"):
        data = open_dataset(str(tmp_path / place))
        assert data.train is not None
        assert (values(data.train), values(data.test)) == ([1], [2])
        assert data.fingerprint()


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_a_label_that_is_an_identifier_makes_no_millions_of_names(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"d.{kind}"
    if kind == "npz":
        np.savez(path, x=np.zeros((2, 4, 4), np.uint8), y=[3, 30_000_000])
    else:
        write_parquet(path, [png(0), png(0)], [3, 30_000_000])
    tracemalloc.start()
    with pytest.raises(BadInput, match=r"label 30000000 was found; .* 30,000,001 classes.*number them 0, 1, 2"):
        open_dataset(str(path))
    assert tracemalloc.get_traced_memory()[1] < 20e6
    tracemalloc.stop()


def test_parquet_rows_without_bytes_are_named(tmp_path: Path) -> None:
    write_parquet(tmp_path / "d.parquet", [png(0), None], [0, 1])
    with pytest.raises(BadInput, match=r"d\.parquet row 1"):
        values(open_dataset(str(tmp_path / "d.parquet")).test)


@pytest.mark.parametrize(
    ("labels", "options", "said"),
    [
        ([0, None], {}, "without a label"),
        ([0, -1], {}, "label -1"),
        ([0, 2], {"names": ["a", "b"]}, "label 2"),
        ([], {}, "no rows"),
    ],
)
def test_wrong_labels_in_parquet_are_refused(
    tmp_path: Path, labels: list[int | None], options: dict[str, object], said: str
) -> None:
    write_parquet(tmp_path / "d.parquet", [png(0)] * len(labels), labels, **options)
    with pytest.raises(BadInput, match=said):
        open_dataset(str(tmp_path / "d.parquet"))


def test_parquet_of_something_else_is_refused_with_its_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "d.parquet")
    with pytest.raises(BadInput, match=r"a \(int64\), b \(string\)"):
        open_dataset(str(tmp_path / "d.parquet"))


def test_a_damaged_parquet_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "d.parquet"
    file.write_bytes(b"PAR1 nonsense PAR1")
    with pytest.raises(BadInput, match=r"d\.parquet: not a parquet file"):
        open_dataset(str(file))
    rng = np.random.default_rng(0)
    write_parquet(file, [rng.bytes(5000) for _ in range(9)], [0] * 9)
    content = bytearray(file.read_bytes())
    content[4:3000] = b"\xff" * 2996  # the first pages: headers and lengths
    file.write_bytes(content)
    with pytest.raises(BadInput, match=r"d\.parquet"):
        values(open_dataset(str(file)).test)


def test_a_folder_with_training_parquet_only_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "train.parquet", [png(0)], [0])
    with pytest.raises(BadInput, match=r"no test\*\.parquet"):
        open_dataset(str(tmp_path))


def test_the_shared_data_are_read(shared: Path) -> None:
    cifar = open_dataset(str(shared / "data/cifar10"))
    assert cifar.train is not None
    assert (len(cifar.train.labels), len(cifar.test.labels)) == (9990, 10_000)
    assert cifar.class_names[:2] == ("airplane", "automobile")
    assert np.bincount(cifar.test.labels).tolist() == [1000] * 10  # as Krizhevsky made it
    table = pq.read_table(shared / "data/cifar10/test.parquet").slice(6789, 1).to_pylist()[0]
    (picture,) = cifar.test.pictures([6789])
    assert table["label"] == cifar.test.labels[6789]
    assert np.array_equal(picture.pixels(parse("unit")), np.asarray(Image.open(io.BytesIO(table["img"]["bytes"]))))


# --- npz


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
@pytest.mark.parametrize("compressed", [False, True])
def test_npz_arrays_are_read(tmp_path: Path, channels: tuple[int, ...], compressed: bool) -> None:
    x = np.random.default_rng(0).integers(0, 256, (9, 4, 5, *channels), dtype=np.uint8)
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "d.npz", y=np.array([0, 1, 2, 0, 1, 2, 0, 1, 5], np.uint8), x=x)
    data = open_dataset(str(tmp_path / "d.npz"))
    assert data.class_names == ("0", "1", "2", "3", "4", "5")
    found = [p.pixels(parse("unit")) for p in data.test.pictures([1, 4, 8])]
    expected = x[[1, 4, 8]].reshape(3, 4, 5, -1)
    assert np.array_equal(found, np.broadcast_to(expected, (3, 4, 5, 3)))


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"x": np.zeros((2, 4, 4), np.float32), "y": [0, 1]}, "floats do not tell"),
        ({"x": np.zeros((2, 4, 4), np.int32), "y": [0, 1]}, r"x is int32 \[2, 4, 4\]"),
        ({"x": np.zeros((2, 4), np.uint8), "y": [0, 1]}, r"x is uint8 \[2, 4\]"),
        ({"x": np.zeros((2, 3, 4, 4), np.uint8)[:, :, :, :2], "y": [0, 1]}, r"\[2, 3, 4, 2\]"),
        ({"x": np.asfortranarray(np.zeros((2, 4, 4), np.uint8)), "y": [0, 1]}, "Fortran"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0, 1, 2]}, "2 integers"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0.0, 1.0]}, "float64"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": [0, -1]}, "label -1"),
        ({"x": np.zeros((0, 4, 4), np.uint8), "y": np.zeros(0, int)}, "no pictures"),
        ({"x": np.zeros((2, 4, 4), np.uint8)}, "y is not a file in the archive"),
        ({"images": np.zeros((2, 4, 4), np.uint8), "y": [0, 1]}, "x.npy"),
        ({"x": np.zeros((2, 4, 4), np.uint8), "y": np.array([0, "a"], object)}, "allow_pickle"),
    ],
)
def test_a_wrong_npz_is_refused(tmp_path: Path, arrays: dict[str, object], said: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)  # type: ignore[arg-type]
    with pytest.raises(BadInput, match=said):
        open_dataset(str(tmp_path / "d.npz"))


def test_a_truncated_npz_is_named(tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    np.savez(file, x=np.zeros((2, 4, 4), np.uint8), y=[0, 1])
    file.write_bytes(file.read_bytes()[:-30])
    with pytest.raises(BadInput, match=r"d\.npz: not an \.npz file"):
        open_dataset(str(file))


# --- without labels


@pytest.mark.parametrize("kind", ["folder", "nested", "class folders", "train", "parquet", "parquet folder", "npz"])
def test_where_no_labels_are_needed_none_need_be_there(tmp_path: Path, kind: str) -> None:
    """quantize calibrates on such pictures; compare asks for labels."""
    path = tmp_path / "d"
    if kind == "folder":
        write_folder(path, {"a.png": 1, "b.png": 2, "c.png": 3})
    elif kind == "nested":
        write_folder(path, {"a.png": 1, "b.png": 2, "more/c.png": 3, ".thumbnails/d.png": 4})
    elif kind == "train":
        write_folder(path, {"train/a.png": 1, "train/b.png": 2, "train/c.png": 3, "test/d.png": 4})
    elif kind == "class folders":
        write_folder(path, {"x/a.png": 1, "x/b.png": 2, "y/c.png": 3})
    elif kind == "npz":
        path = tmp_path / "d.npz"
        np.savez(path, x=np.stack([np.asarray(colour(value)) for value in (1, 2, 3)]))
    else:
        path = tmp_path / "d" / "test-0.parquet"
        path.parent.mkdir()
        write_parquet(path, [png(1), png(2), png(3)], [-1, -1, -1])
        table = pq.read_table(path)
        pq.write_table(table if kind == "parquet" else table.drop_columns(["label"]), path)
        path = path if kind == "parquet" else path.parent
    data = open_dataset(str(path), labelled=False)
    assert values(data.test) == [1, 2, 3]
    assert data.test.labels.shape == (3,)
    assert len(data.class_names) >= 1
    if kind in ("folder", "parquet", "parquet folder", "npz"):
        with pytest.raises(BadInput, match=r"label|class folders|y is not"):
            open_dataset(str(path))


# --- anything else


@pytest.mark.parametrize("spec", ["absent", "a.txt"])
def test_what_is_no_data_lists_what_is(tmp_path: Path, spec: str) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(BadInput, match="`digits`, a folder of class folders"):
        open_dataset(str(tmp_path / spec))


@pytest.mark.parametrize("content", [b"", b"\x89PNG\r\n\x1a\n", png(7)[:45], b"GIF89a", b"not a picture at all"])
def test_an_unreadable_picture_is_named(tmp_path: Path, content: bytes) -> None:
    write_folder(tmp_path, {"cat/good.png": 1})
    (tmp_path / "cat/ill.png").write_bytes(content)
    with pytest.raises(BadInput, match=r"cat/ill\.png: not a picture that can be read"):
        values(open_dataset(str(tmp_path)).test)


def test_the_fingerprint_sees_every_change(tmp_path: Path) -> None:
    write_folder(tmp_path, {"train/a/1.png": 1, "test/a/1.png": 2, "test/b/1.png": 3})
    seen = {open_dataset(str(tmp_path)).fingerprint()}
    assert open_dataset(str(tmp_path)).fingerprint() in seen

    def changed() -> None:
        now = open_dataset(str(tmp_path)).fingerprint()
        assert now not in seen
        seen.add(now)

    write_folder(tmp_path, {"train/a/2.png": 1})
    changed()
    (tmp_path / "test/a/1.png").rename(tmp_path / "test/a/0.png")
    changed()
    content = (tmp_path / "test/b/1.png").read_bytes()
    status = (tmp_path / "test/b/1.png").stat()
    (tmp_path / "test/b/1.png").write_bytes(content[::-1])  # the same size, and the old time put back
    os.utime(tmp_path / "test/b/1.png", ns=(status.st_atime_ns, status.st_mtime_ns))
    changed()


def test_the_fingerprint_does_not_know_where_the_data_lie(tmp_path: Path) -> None:
    write_folder(tmp_path / "x/d", {"a/1.png": 1})
    before = open_dataset(str(tmp_path / "x/d")).fingerprint()
    (tmp_path / "x").rename(tmp_path / "y")
    assert open_dataset(str(tmp_path / "y/d")).fingerprint() == before

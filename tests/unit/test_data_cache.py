"""The sample cache: right, whole, parallel, small in memory, and gone with its parent."""

import io
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from lowbit.core.errors import BadInput
from lowbit.data.cache import batches, make_samples, note_of, open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.preprocess import parse, to_input


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 pictures of different sizes in three classes; no two are equal."""
    root = tmp_path_factory.mktemp("pictures")
    rng = np.random.default_rng(0)
    for number in range(600):
        folder = root / f"class{number % 3}"
        folder.mkdir(exist_ok=True)
        width, height = rng.integers(20, 40, 2)
        pixels = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03}.png", compress_level=0)
    return root


def make(data: Path, out: Path, preprocess: str = "unit,resize=20,crop=16", **options: object) -> None:
    arguments: dict[str, object] = {"calibration_samples": 100, "seed": 0, "limit": None, "workers": 1} | options
    make_samples(open_dataset(str(data)), parse(preprocess), out=out, **arguments)  # type: ignore[arg-type]


def independently(path: Path) -> np.ndarray:
    """Shorter side 20, centred 16 × 16."""
    original = Image.open(path)
    factor = 20 / min(original.size)
    image = original.resize(
        (int(original.width * factor + 1e-9), int(original.height * factor + 1e-9)), Image.Resampling.BILINEAR
    )
    left, top = round((image.width - 16) / 2), round((image.height - 16) / 2)
    return np.asarray(image.crop((left, top, left + 16, top + 16)))


@pytest.mark.parametrize("workers", [1, 3])
def test_every_picture_is_in_one_part_with_its_label(pictures: Path, tmp_path: Path, workers: int) -> None:
    make(pictures, tmp_path / "s", workers=workers)
    expected = {independently(path).tobytes(): int(path.parent.name[-1]) for path in pictures.glob("*/*.png")}
    parts = [open_samples(tmp_path / "s", part) for part in ("calibration", "evaluation")]
    assert [len(part) for part in parts] == [100, 500]
    for part in parts:
        assert part.images.shape[1:] == (16, 16, 3)
        assert part.class_names == ("class0", "class1", "class2")
        assert not part.images.flags.writeable and not part.labels.flags.writeable
        for image, label in zip(part.images, part.labels, strict=True):
            assert expected.pop(image.tobytes()) == label
    assert not expected
    assert np.all(np.diff(parts[1].labels) >= 0), "evaluation in the data's order"
    assert set(parts[0].labels[:20].tolist()) == {0, 1, 2}, "calibration in random order"


def test_the_number_of_processes_changes_nothing(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "one", workers=1)
    make(pictures, tmp_path / "two", workers=2)
    make(pictures, tmp_path / "other", workers=2, seed=1)
    for part in ("calibration", "evaluation"):
        for file in ("images.npy", "labels.npy", "meta.json"):
            one = (tmp_path / "one" / part / file).read_bytes()
            assert one == (tmp_path / "two" / part / file).read_bytes()
        digests = {open_samples(tmp_path / name, part).digest for name in ("one", "two", "other")}
        assert len(digests) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ["one", "other", "two"], "nothing is left behind"


def test_batches_are_the_samples_in_order(pictures: Path, tmp_path: Path) -> None:
    declared = parse("imagenet,resize=20,crop=16")
    make(pictures, tmp_path / "s", "imagenet,resize=20,crop=16", limit=50)
    samples = open_samples(tmp_path / "s", "evaluation")
    found = list(batches(samples, declared, 16))
    assert [len(batch) for batch in found] == [16, 16, 16, 2]
    assert np.array_equal(np.concatenate(found), to_input(np.array(samples.images), declared))


def test_a_new_cache_takes_the_place_of_the_old_one(pictures: Path, tmp_path: Path) -> None:
    make(pictures, tmp_path / "s", limit=50)
    make(pictures, tmp_path / "s", limit=40)
    assert len(open_samples(tmp_path / "s", "evaluation")) == 40


@pytest.mark.parametrize("workers", [1, 3])
def test_pictures_of_different_sizes_are_both_named(pictures: Path, tmp_path: Path, workers: int) -> None:
    with pytest.raises(BadInput) as error:
        make(pictures, tmp_path / "s", "unit,resize=20", workers=workers)
    said = str(error.value)
    named = [path for path in pictures.glob("*/*.png") if str(path) in said]
    assert len(named) == 2
    for path in named:
        width, height = Image.open(path).size
        shorter = min(width, height)
        assert f"{width * 20 // shorter} x {height * 20 // shorter}" in said
    assert "resize and crop" in said
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize("workers", [1, 2])
def test_a_truncated_picture_is_named_and_an_old_cache_survives(pictures: Path, tmp_path: Path, workers: int) -> None:
    data = tmp_path / "data"
    for path in pictures.glob("*/*.png"):
        (data / path.parent.name).mkdir(parents=True, exist_ok=True)
        os.link(path, data / path.parent.name / path.name)
    make(data, tmp_path / "s", workers=workers)
    before = open_samples(tmp_path / "s", "evaluation").digest
    ill = data / "class1/301.png"
    content = ill.read_bytes()
    ill.unlink()
    ill.write_bytes(content[: len(content) // 2])
    with pytest.raises(BadInput, match=r"class1/301\.png"):
        make(data, tmp_path / "s", workers=workers)
    assert open_samples(tmp_path / "s", "evaluation").digest == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "s"]


def test_the_note_says_when_there_were_fewer_to_calibrate_with(pictures: Path, tmp_path: Path) -> None:
    for part, name in (("train", "class0"), ("test", "class1")):
        (tmp_path / "data" / part).mkdir(parents=True)
        (tmp_path / "data" / part / name).symlink_to(pictures / name)
    make(tmp_path / "data", tmp_path / "few", calibration_samples=512)
    make(tmp_path / "data", tmp_path / "enough", calibration_samples=200)
    assert note_of(tmp_path / "few") == "512 calibration samples were asked for; the training part has 200"
    assert note_of(tmp_path / "enough") == ""


def test_a_folder_without_samples_is_refused(tmp_path: Path) -> None:
    for look in (lambda: open_samples(tmp_path, "evaluation"), lambda: note_of(tmp_path)):
        with pytest.raises(BadInput, match="no samples here"):
            look()


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    program = (
        "from lowbit.data.cache import *\nfrom lowbit.data.datasets import *\nfrom lowbit.data.preprocess import *\n"
    )
    command = [sys.executable, "-c", program + textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=heed_interrupts
    )


def heed_interrupts() -> None:
    """A shell starts background jobs with Ctrl-C ignored, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


MAKE = """
import resource, sys
from pathlib import Path
data, out, workers = open_dataset(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])
def run():
    make_samples(data, parse("unit"), calibration_samples=2, seed=0, limit=None, out=out, workers=workers)
"""


def test_a_full_disk_is_an_error_before_the_work(pictures: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=np.zeros((100, 64, 64), np.uint8), y=np.zeros(100, int))
    limited = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\nrun()"
    child = python(MAKE + limited, tmp_path / "d.npz", tmp_path / "s", 1)
    _, errors = child.communicate(timeout=60)
    assert "BadInput" in errors and "no room for 98 decoded pictures, 1 MB" in errors
    assert not (tmp_path / "s").exists()


@pytest.mark.parametrize("kind", ["npz", "parquet"])
def test_memory_does_not_grow_with_the_pictures(tmp_path: Path, kind: str) -> None:
    count, side = 1300, 160
    file = tmp_path / f"d.{kind}"
    if kind == "npz":
        np.savez(file, x=np.zeros((count, side, side, 3), np.uint8), y=np.zeros(count, int))
    else:
        stream = io.BytesIO()
        Image.new("RGB", (side, side)).save(stream, "BMP")
        cells = pa.array([{"bytes": stream.getvalue()}] * count, pa.struct([("bytes", pa.binary())]))
        table = pa.table({"image": cells, "label": pa.array([0] * count)})
        pq.write_table(table, file, row_group_size=count, use_dictionary=False, compression="none")
        del table, cells
    assert file.stat().st_size > 99e6
    measured = """
    peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    import pyarrow.parquet
    before = peak()
    run()
    print(peak() - before)
    """
    child = python(MAKE + textwrap.dedent(measured), file, tmp_path / "s", 1)
    out, errors = child.communicate(timeout=120)
    assert child.returncode == 0, errors
    assert int(out) < 50e6


def test_memory_does_not_grow_with_the_pictures_that_are_read(tmp_path: Path) -> None:
    """40 MB of them, of which no more than one part stays in memory; what is read is right all the same."""
    count, side = 520, 160
    images = np.random.default_rng(0).integers(0, 256, (count, side, side, 3), np.uint8)
    np.savez(tmp_path / "d.npz", x=images, y=np.arange(count) % 2)
    make(tmp_path / "d.npz", tmp_path / "s", "raw", calibration_samples=2)
    samples = open_samples(tmp_path / "s", "evaluation")
    file = str((tmp_path / "s" / "evaluation" / "images.npy").resolve())
    most, sums = 0, []
    for batch in batches(samples, parse("raw"), 50):
        sums.append(batch.sum(dtype=np.float64))
        most = max(most, sum(each.rss for each in psutil.Process().memory_maps() if each.path == file))
    assert sum(sums) == samples.images.sum(dtype=np.int64)
    assert 4e6 < most < 30e6


@pytest.fixture(scope="module")
def slow_pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """1,000 names of one large picture: minutes of decoding."""
    root = tmp_path_factory.mktemp("slow")
    (root / "a").mkdir()
    Image.new("RGB", (4000, 3000)).save(root / "a/0.jpg")
    for number in range(1, 1000):
        os.link(root / "a/0.jpg", root / f"a/{number}.jpg")
    return root


def writes(process: psutil.Process) -> bool:
    return any(Path(file.path).name == "images.npy" for file in process.open_files())


def decoding(parent: subprocess.Popen[str]) -> list[psutil.Process]:
    """The decoding processes, once both are at work."""
    for _ in range(300):
        children = psutil.Process(parent.pid).children()
        if len(children) == 2 and all(map(writes, children)):
            return children
        time.sleep(0.1)
    raise AssertionError(f"no two decoding processes: {parent.poll()}")


SLOW = MAKE.replace('"unit"', '"unit,resize=20,crop=16"') + "run()"


def test_no_process_outlives_a_killed_parent(slow_pictures: Path, tmp_path: Path) -> None:
    parent = python(SLOW, slow_pictures, tmp_path / "s", 2)
    children = decoding(parent)
    parent.kill()
    parent.communicate()
    gone, alive = psutil.wait_procs(children, timeout=5)
    for child in alive:
        child.kill()
    assert (len(gone), alive) == (2, [])
    assert not (tmp_path / "s").exists()


def test_a_killed_process_and_ctrl_c_end_the_others(slow_pictures: Path, tmp_path: Path) -> None:
    for number, (hit, said) in enumerate([("child", "status -9"), ("parent", "KeyboardInterrupt")]):
        parent = python(SLOW, slow_pictures, tmp_path / str(number), 2)
        children = decoding(parent)
        if hit == "child":
            children[1].kill()  # the other has minutes of work before it
        else:
            parent.send_signal(signal.SIGINT)
        _, errors = parent.communicate(timeout=20)
        assert said in errors
        assert not psutil.wait_procs(children, timeout=5)[1]
        assert not any(tmp_path.iterdir()), "what was written aside is removed"

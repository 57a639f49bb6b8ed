"""Pictures come out as Pillow and torchvision make them, and what the user declared is what happens."""

import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Preprocess
from lowbit.data.declare import named
from lowbit.data.preprocess import parse, prepare, to_input


def picture(width: int, height: int, mode: str = "RGB", seed: int = 0) -> Image.Image:
    """Smooth colour with noise on it, so that every filter tap counts."""
    rng = np.random.default_rng(seed)
    noise = rng.integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC).convert(mode)


def reopened(image: Image.Image, kind: str, **options: object) -> Image.Image:
    """What a reader of the file sees."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return Image.open(io.BytesIO(stream.getvalue()))


# --- what the user may say


def test_the_presets_are_what_the_documentation_says() -> None:
    assert parse("imagenet") == Preprocess(
        "imagenet", 256, 224, 1 / 255, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "rgb", "bilinear"
    )
    tf = to_input(np.array([0, 255], np.uint8).reshape(2, 1, 1, 1), parse("imagenet-tf"))
    assert tf.ravel().tolist() == [-1, 1]
    cifar = parse("cifar10")
    assert (cifar.resize, cifar.crop) == (None, None)
    assert (cifar.mean, cifar.std) == ((0.4914, 0.4822, 0.4465), (0.2470, 0.2435, 0.2616))
    ends = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)
    assert to_input(ends, parse("unit")).ravel().tolist() == [0, 1]
    assert to_input(ends, parse("raw")).ravel().tolist() == [0, 255]
    assert to_input(ends, parse("keras-tf")).ravel().tolist() == [-1, 1]


def test_keras_own_presets_do_what_preprocess_input_does() -> None:
    """Its formulas, of one red pixel (255, 0, 51): caffe turns to BGR and subtracts ImageNet's mean, torch divides."""
    red = np.array([255, 0, 51], np.uint8).reshape(1, 1, 1, 3)
    tf, caffe, torch = (to_input(red, parse(f"keras-{mode}")).ravel() for mode in ("tf", "caffe", "torch"))
    np.testing.assert_allclose(tf, [1, -1, 51 / 127.5 - 1], atol=1e-6)
    np.testing.assert_allclose(caffe, [51 - 103.939, -116.779, 255 - 123.68], atol=1e-4)
    np.testing.assert_allclose(torch, [(1 - 0.485) / 0.229, -0.456 / 0.224, (0.2 - 0.406) / 0.225], atol=1e-6)


def test_keys_change_a_preset() -> None:
    declared = parse("imagenet, resize=none,crop=32 ,mean=0.5:0.25:0.125,std=2,scale=1/128,interpolation=bicubic")
    assert (declared.resize, declared.crop, declared.scale) == (None, 32, 1 / 128)
    assert (declared.mean, declared.std, declared.interpolation) == ((0.5, 0.25, 0.125), (2.0,), "bicubic")
    assert parse("imagenet,crop=224,resize=none") == parse("imagenet,resize=none")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("imagenett", "imagenet, imagenet-tf, cifar10, unit, raw"),
        ("", "imagenet, imagenet-tf, cifar10, unit, raw"),
        ("unit,size=3", "resize, crop, scale, mean, std, channels, interpolation"),
        ("unit,resize", "key=value"),
        ("unit,resize=0", "resize='0'"),
        ("unit,resize=1.5", "resize='1.5'"),
        ("unit,crop=-3", "crop='-3'"),
        ("unit,crop=100000", "8192"),
        ("unit,crop=3,crop=4", "twice"),
        ("unit,scale=0", "scale"),
        ("unit,scale=1/0", "1/255"),
        ("unit,scale=nan", "scale"),
        ("unit,std=1:0:1", "std"),
        ("unit,mean=1:2", "mean has 2 values"),
        ("unit,mean=a", "colons"),
        ("imagenet,channels=grey", "mean has 3 values"),
        ("unit,channels=gray", "rgb, bgr, grey"),
        ("unit,interpolation=lanczos", "nearest, bilinear, bicubic"),
    ],
)
def test_what_is_wrong_is_named_with_the_choices(text: str, said: str) -> None:
    with pytest.raises(BadInput) as error:
        parse(text)
    assert said in str(error.value)


sides = st.none() | st.integers(1, 8192)
numbers = st.floats(allow_nan=False, allow_infinity=False)
positives = st.floats(min_value=0, exclude_min=True, allow_infinity=False)


@st.composite
def declared(draw: st.DrawFn) -> dict[str, object]:
    """Any valid choice of keys, as a YAML file would hold them."""
    channels = draw(st.sampled_from(["rgb", "bgr", "grey"]))
    most = 1 if channels == "grey" else 3
    lengths = st.sampled_from([1, most])
    values = {
        "resize": draw(sides),
        "crop": draw(sides),
        "scale": draw(positives),
        "mean": draw(lengths.flatmap(lambda n: st.lists(numbers, min_size=n, max_size=n))),
        "std": draw(lengths.flatmap(lambda n: st.lists(positives, min_size=n, max_size=n))),
        "interpolation": draw(st.sampled_from(["nearest", "bilinear", "bicubic"])),
        "crop_rounding": draw(st.sampled_from(["even", "down"])),
    }
    dropped = draw(st.sets(st.sampled_from(["resize", "crop", "scale", "interpolation", "crop_rounding"])))
    return {"channels": channels} | {key: value for key, value in values.items() if key not in dropped}


@given(st.sampled_from(["imagenet", "imagenet-tf", "cifar10", "unit", "raw"]), declared())
def test_a_name_says_all_and_reads_back(base: str, values: dict[str, object]) -> None:
    def spelled(value: object) -> str:
        return ":".join(map(str, value)) if isinstance(value, list) else "none" if value is None else str(value)

    first = parse(",".join([base, *(f"{key}={spelled(value)}" for key, value in values.items())]))
    for key, value in values.items():
        assert getattr(first, key) == (tuple(value) if isinstance(value, list) else value)
    assert parse(first.name) == first
    shortest = named(first)
    assert parse(shortest.name) == shortest
    assert len(shortest.name) <= len(first.name)


def test_a_yaml_file_says_the_same(tmp_path: Path) -> None:
    file = tmp_path / "p.yaml"
    file.write_text("name: imagenet\nresize: null\ncrop: 32\nscale: 1/128\nmean: [0.1, 0.2, 0.3]\nstd: 0.5\n")
    assert parse(str(file)) == parse("imagenet,resize=none,crop=32,scale=1/128,mean=0.1:0.2:0.3,std=0.5")
    file.write_text("resize: none\ncrop: ~\n")
    assert parse(str(file)) == parse("unit")
    file.write_text("mean: 1:2:3\n")  # to YAML 1.1 a number, 3,723
    assert parse(str(file)) == parse("unit,mean=1:2:3")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("rezise: 3", "no key 'rezise'"),
        ("name: foo", "'foo' is none of"),
        ("- 1", "key: value"),
        ("a: [", "not YAML"),
        ("a: " + "[" * 5000, "not YAML"),
        ("resize: true", "resize='true'"),
        ("resize: 2.5", "resize='2.5'"),
        ("resize: [1, 2]", "resize=['1', '2'] was given, the shorter side"),
        ("crop: {a: 1}", "crop={'a': '1'} was given, the side"),
        ("resize: 2020-01-01", "resize='2020-01-01'"),
        ("scale: 2020-99-99", "scale='2020-99-99'"),
        ("std: {a: 1}", "std="),
        ("interpolation: {a: 1}", "interpolation="),
        ("? [1]\n: 2", "not YAML"),
        ("mean: [1, x]", "mean="),
        ("scale: [1]", "scale="),
        ("channels: [rgb]", "channels="),
    ],
)
def test_a_wrong_yaml_file_is_refused(tmp_path: Path, content: str, said: str) -> None:
    file = tmp_path / "p.yml"
    file.write_text(content)
    with pytest.raises(BadInput) as error:
        parse(str(file))
    assert said in str(error.value)


def test_a_yaml_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"absent\.yaml"):
        parse(str(tmp_path / "absent.yaml"))


# --- pixels, against Pillow's own calls


@pytest.mark.parametrize("size", [(300, 400), (401, 299), (256, 256), (257, 999), (64, 65), (225, 224)])
@pytest.mark.parametrize("name", ["imagenet", "unit,resize=100,crop=37", "unit,resize=63,interpolation=bicubic"])
def test_resizing_and_cropping_agree_with_pillow_to_the_last_bit(size: tuple[int, int], name: str) -> None:
    declared = parse(name)
    image = picture(*size)
    assert isinstance(declared.resize, int)
    short, long = min(size), max(size)
    longer = int(declared.resize * long / short)
    target = (declared.resize, longer) if size[0] <= size[1] else (longer, declared.resize)
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    expected = image.resize(target, filters[declared.interpolation])
    if isinstance(declared.crop, int):
        left = round((target[0] - declared.crop) / 2.0)
        top = round((target[1] - declared.crop) / 2.0)
        expected = expected.crop((left, top, left + declared.crop, top + declared.crop))
    assert np.array_equal(prepare(image, declared), np.asarray(expected))


@pytest.mark.slow
def test_agrees_with_torchvision() -> None:
    from lowbit.sources.torch_operators import declare_torchvision_operators

    declare_torchvision_operators()
    from torchvision import transforms

    steps = [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor()]
    normalize = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    for width, height in [(500, 375), (333, 500), (224, 224), (231, 1000), (257, 256)]:
        image = picture(width, height)
        expected = normalize(transforms.Compose(steps)(image)).numpy()
        found = to_input(prepare(image, parse("imagenet"))[np.newaxis], parse("imagenet"))[0]
        assert np.abs(found - expected).max() < 1e-6


def test_a_crop_that_does_not_fit_names_both_sizes() -> None:
    with pytest.raises(BadInput, match=r"224 x 224 .* 300 x 200"):
        prepare(picture(300, 200), parse("unit,crop=224"))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_turns_the_picture(orientation: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = reopened(picture(40, 24), kind, exif=exif)
    upright = prepare(image, parse("unit"))
    assert upright.shape == ((24, 40, 3) if orientation < 5 else (40, 24, 3))
    assert np.array_equal(upright, np.asarray(ImageOps.exif_transpose(reopened(picture(40, 24), kind, exif=exif))))


def test_a_broken_exif_block_does_not_spoil_good_pixels() -> None:
    image = reopened(picture(40, 24), "JPEG", exif=b"Exif\0\0nonsense")
    assert prepare(image, parse("unit")).shape == (24, 40, 3)


def test_every_kind_of_picture_becomes_rgb_or_grey() -> None:
    colours = picture(9, 7)
    plain = np.asarray(colours)
    luma = np.asarray(colours.convert("L"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rgba = np.dstack([plain, np.arange(63, dtype=np.uint8).reshape(7, 9)])
        assert np.array_equal(prepare(reopened(Image.fromarray(rgba), "PNG"), parse("unit")), plain)
        grey = reopened(Image.fromarray(luma), "PNG")
        assert np.array_equal(prepare(grey, parse("unit")), np.dstack([luma] * 3))
        assert np.array_equal(prepare(grey, parse("unit,channels=grey")), luma[..., np.newaxis])
        assert np.array_equal(prepare(colours, parse("unit,channels=grey")), luma[..., np.newaxis])
        assert np.array_equal(prepare(colours, parse("unit,channels=bgr")), plain), "the cache holds RGB"
        bits = reopened(Image.fromarray(luma > 99), "PNG")
        assert np.array_equal(prepare(bits, parse("unit"))[..., 0], (luma > 99) * np.uint8(255))
        inks = reopened(colours.convert("CMYK"), "TIFF")
        assert np.array_equal(prepare(inks, parse("unit")), plain)  # without black ink the way back is exact


@pytest.mark.parametrize("transparency", [None, 1, b"\x00\x80\xff"])
def test_palette_pictures_get_their_colours(transparency: int | bytes | None) -> None:
    table = [(255, 0, 0), (0, 200, 0), (10, 20, 30)]
    indices = np.arange(12, dtype=np.uint8).reshape(3, 4) % 3
    image = Image.fromarray(indices).convert("P")
    image.putpalette([value for colour in table for value in colour])
    options = {} if transparency is None else {"transparency": transparency}
    opened = reopened(image, "PNG", **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.array_equal(prepare(opened, parse("unit")), np.array(table, np.uint8)[indices])


def test_16_bit_grey_keeps_its_upper_byte_and_32_bit_is_refused() -> None:
    values = np.array([[0, 255, 256, 0x1234, 0x80FF, 65535]], np.uint16)
    opened = reopened(Image.fromarray(values), "PNG")
    assert prepare(opened, parse("unit,channels=grey")).ravel().tolist() == [0, 0, 1, 0x12, 0x80, 255]
    big_endian = Image.frombytes("I;16B", (6, 1), values.astype(">u2").tobytes())
    assert prepare(big_endian, parse("unit"))[0, :, 1].tolist() == [0, 0, 1, 0x12, 0x80, 255]
    for kind in (np.int32, np.float32):
        with pytest.raises(BadInput, match="32-bit"):
            prepare(Image.fromarray(values.astype(kind)), parse("unit"))


# --- tensors


@pytest.mark.parametrize("name", ["imagenet", "imagenet-tf,mean=0.1:0.2:0.3", "raw", "cifar10,channels=bgr"])
def test_a_tensor_is_what_the_declaration_says(name: str) -> None:
    declared = parse(name)
    images = np.random.default_rng(0).integers(0, 256, (3, 5, 4, 3), dtype=np.uint8)
    found = to_input(images, declared)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert found.shape == (3, 3, 5, 4)
    order = (2, 1, 0) if declared.channels == "bgr" else (0, 1, 2)
    mean, std = (list(values) * (3 // len(values)) for values in (declared.mean, declared.std))
    for n, c, y, x in np.ndindex(found.shape):
        expected = (float(images[n, y, x, order[c]]) * declared.scale - mean[c]) / std[c]
        assert found[n, c, y, x] == pytest.approx(expected, abs=1e-6)

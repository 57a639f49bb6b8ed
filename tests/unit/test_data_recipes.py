"""Each line of the guide's table "your code says …" gives what that code gives.

torchvision and Pillow are called; what Keras, TensorFlow, timm and OpenCV do is written out with Pillow, torch and
numpy, since they are not installed where this is tested.
"""

import re
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Preprocess
from lowbit.data.preprocess import parse, prepare, to_input

GUIDE = Path(__file__).resolve().parents[2] / "docs/guide.md"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
STEP = 1 / 255

Floats = npt.NDArray[Any]


def picture(width: int, height: int) -> Image.Image:
    """Smooth colour with noise on it."""
    noise = np.random.default_rng(width).integers(0, 256, (height // 8 + 1, width // 8 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)


def tensor(pixels: object) -> Floats:
    """Float32 [C, H, W] of a picture or of an array [H, W] or [H, W, C]."""
    array = np.asarray(pixels, np.float32)
    return np.moveaxis(array if array.ndim == 3 else array[..., np.newaxis], -1, 0)


def normalized(x: Floats, mean: tuple[float, ...], std: tuple[float, ...]) -> Floats:
    column = (-1, 1, 1)
    return np.asarray((x - np.reshape(mean, column)) / np.reshape(std, column))


def torchvision(
    resize: int | tuple[int, int], crop: int | None = None, *, grey: bool = False, **options: Any
) -> Callable[[Image.Image], Floats]:
    """torchvision's own transforms, up to ToTensor."""
    from lowbit.sources.torch_operators import declare_torchvision_operators

    declare_torchvision_operators()
    from torchvision import transforms

    steps: list[Any] = [transforms.Grayscale()] * grey + [transforms.Resize(resize, **options)]
    steps += [transforms.CenterCrop(side) for side in (crop,) if side is not None] + [transforms.ToTensor()]

    def call(image: Image.Image) -> Floats:
        result: Floats = transforms.Compose(steps)(image).numpy()
        return result

    return call


def bicubic() -> Any:
    torchvision(1)
    from torchvision.transforms import InterpolationMode

    return InterpolationMode.BICUBIC


def linear(image: object, height: int, width: int) -> Floats:
    """[C, height, width] in 0..255 by torch, whose bilinear without antialiasing is TensorFlow's and OpenCV's."""
    import torch

    x = torch.from_numpy(tensor(image).copy())[None]
    return torch.nn.functional.interpolate(x, (height, width), mode="bilinear", antialias=False)[0].numpy()


def area(image: object, height: int, width: int) -> Floats:
    """[C, height, width]: each pixel repeated until both sizes divide the sides, then the mean of every block."""
    x = tensor(image)
    x = np.repeat(x, height, 1).reshape(len(x), height, -1, x.shape[2]).mean(2)
    return np.asarray(np.repeat(x, width, 2).reshape(len(x), height, width, -1).mean(3))


def padded(image: Image.Image, side: int, fill: float) -> Floats:
    """Fitted into a square and centred: top and left get the smaller half."""
    ratio = min(side / image.width, side / image.height)
    width, height = round(image.width * ratio), round(image.height * ratio)
    out = np.full((3, side, side), fill, np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    out[:, top : top + height, left : left + width] = linear(image, height, width)
    return out


def covered(image: Image.Image, side: int) -> Floats:
    """blobFromImage with crop=True: resized until the shorter side fits, the middle cut out."""
    ratio = side / min(image.size)
    width, height = int(image.width * ratio), int(image.height * ratio)
    top, left = round((height - side) / 2), round((width - side) / 2)
    return linear(image, height, width)[:, top : top + side, left : left + side]


def keras(image: Image.Image) -> Floats:
    """load_img(target_size=(224, 224)): Pillow's nearest."""
    return tensor(image.resize((224, 224), Image.Resampling.NEAREST))


# Recipe → what the code gives, and how far it may differ.
RECIPES: dict[str, tuple[Callable[[Image.Image], Floats], float]] = {
    "imagenet": (lambda i: normalized(torchvision(256, 224)(i), MEAN, STD), 1e-5),
    "imagenet,resize=232": (lambda i: normalized(torchvision(232, 224)(i), MEAN, STD), 1e-5),
    "imagenet,resize=224x224,crop=none": (lambda i: normalized(torchvision((224, 224))(i), MEAN, STD), 1e-5),
    "unit,resize=48x192": (lambda i: torchvision((48, 192))(i), 1e-6),
    "unit,resize=28x28,mean=0.5,std=0.5,channels=grey": (
        lambda i: normalized(torchvision((28, 28), grey=True)(i), (0.5,), (0.5,)), 1e-6,
    ),
    "imagenet,resize=248,interpolation=bicubic": (
        lambda i: normalized(torchvision(int(224 / 0.9), 224, interpolation=bicubic())(i), MEAN, STD), 1e-5,
    ),
    "imagenet-tf,resize=248,interpolation=bicubic": (
        lambda i: normalized(torchvision(int(224 / 0.9), 224, interpolation=bicubic())(i), (0.5,), (0.5,)), 1e-5,
    ),
    "imagenet,resize=224x224,crop=none,interpolation=bicubic": (
        lambda i: normalized(torchvision((224, 224), interpolation=bicubic())(i), MEAN, STD), 1e-5,
    ),
    "unit,resize=48x192,interpolation=bicubic": (lambda i: tensor(i.resize((192, 48))) / 255, 1e-6),
    "unit,resize=224x224,interpolation=nearest": (lambda i: keras(i) / 255, 1e-6),
    "keras-caffe,resize=224x224,interpolation=nearest": (
        lambda i: keras(i)[::-1] - np.reshape((103.939, 116.779, 123.68), (3, 1, 1)), 1e-4,
    ),
    "keras-torch,resize=224x224,interpolation=nearest": (
        lambda i: normalized(keras(i) / 255, MEAN, STD), 1e-5,
    ),
    "raw,resize=224x224,interpolation=nearest": (keras, 0),
    "unit,resize=224x224,interpolation=linear": (lambda i: linear(i, 224, 224) / 255, STEP),
    "keras-tf,resize=224x224,interpolation=linear": (
        lambda i: linear(i, 224, 224) / 127.5 - 1, 2 * STEP,
    ),
    "unit,resize=224x224,interpolation=linear,letterbox=0": (lambda i: padded(i, 224, 0) / 255, STEP),
    "unit,resize=48x192,channels=bgr,interpolation=linear": (lambda i: linear(i, 48, 192)[::-1] / 255, STEP),
    "unit,resize=96x96,channels=grey,interpolation=area": (lambda i: area(i.convert("L"), 96, 96) / 255, STEP),
    "unit,resize=224,crop=224,interpolation=linear": (lambda i: covered(i, 224) / 255, STEP),
    "unit,resize=640x640,interpolation=linear,letterbox=114": (lambda i: padded(i, 640, 114) / 255, STEP),
}  # fmt: skip


def in_the_guide() -> list[str]:
    table = GUIDE.read_text().partition("| your code says |")[2].partition("\n\n")[0]
    return re.findall(r"\| `([^`]+)` \|$", table, re.MULTILINE)


def test_every_recipe_of_the_guide_is_tested_and_stands_in_its_shortest_form() -> None:
    assert in_the_guide() == list(RECIPES)
    assert [parse(text).name for text in RECIPES] == list(RECIPES)


@pytest.mark.parametrize("text", RECIPES)
def test_a_recipe_gives_what_the_code_gives(text: str) -> None:
    for package in ("torch", "torchvision"):
        if find_spec(package) is None:
            pytest.skip(f"needs {package}")
    code, allowed = RECIPES[text]
    for size in ((500, 375), (333, 500), (250, 250)):
        expected = code(image := picture(*size))
        declared = parse(text)
        found = to_input(prepare(image, declared)[np.newaxis], declared)[0]
        assert np.abs(found - expected).max() <= allowed * 0.51 + 1e-5
        assert found.shape == np.shape(expected)


def test_letterbox_fills_in_the_order_the_model_expects_and_odd_pixels_go_right_and_below() -> None:
    white = Image.new("RGB", (40, 31), (255, 255, 255))
    for channels in ("rgb", "bgr"):
        declared = parse(f"raw,resize=40x40,letterbox=1:2:3,channels={channels}")
        x = to_input(prepare(white, declared)[np.newaxis], declared)[0]
        assert x[:, 0, 0].tolist() == [1, 2, 3]
        rows = (x[0] == 255).all(1).nonzero()[0]
        assert (rows[0], rows[-1]) == (4, 34)
    grey = parse("raw,resize=8x8,letterbox=7,channels=grey")
    assert to_input(prepare(white, grey)[np.newaxis], grey)[0, 0, 0].tolist() == [7] * 8


def test_a_crop_may_be_a_rectangle_or_of_one_side() -> None:
    image = picture(60, 41)
    whole = np.asarray(image)
    assert np.array_equal(prepare(image, parse("unit,crop=31x40")), whole[5:36, 10:50])
    assert np.array_equal(prepare(image, parse("unit,crop=31xnone")), whole[5:36])
    assert np.array_equal(prepare(image, parse("unit,crop=nonex40")), whole[:, 10:50])
    assert np.array_equal(
        prepare(image, parse("unit,resize=30x20,crop=20")), np.asarray(image.resize((20, 30), 2))[5:25]
    )
    with pytest.raises(BadInput, match="a crop of 60 x 50 does not fit into a picture of 60 x 41"):
        prepare(image, parse("unit,crop=50xnone"))


def test_sides_have_one_shortest_form_and_survive_json(tmp_path: Path) -> None:
    from lowbit.core.codec import load_json, save_json

    for text, name in (
        ("unit,crop=32x32", "unit,crop=32"),
        ("imagenet,crop=none x none", "imagenet,crop=none"),
        ("unit,resize=48X192", "unit,resize=48x192"),
        ("unit,crop=24 x none,resize=8x9", "unit,resize=8x9,crop=24xnone"),
        ("unit,resize=8x8,letterbox=0:114:255", "unit,resize=8x8,letterbox=0:114:255"),
        ("unit,resize=8x8,letterbox=none", "unit,resize=8x8"),
    ):
        declared = parse(text)
        assert declared.name == name
        assert parse(name) == declared
        save_json(tmp_path / "p.json", declared)
        assert load_json(Preprocess, tmp_path / "p.json") == declared


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("unit,resize=8xnone", "HEIGHTxWIDTH to stretch both"),
        ("unit,resize=8x8x8", "HEIGHTxWIDTH to stretch both"),
        ("unit,resize=8x", "HEIGHTxWIDTH to stretch both"),
        ("unit,crop=0x5", "one of them may be none"),
        ("imagenet,letterbox=114", "resize=256; give resize=HEIGHTxWIDTH"),
        ("unit,resize=8x8,letterbox=256", "0 to 255"),
        ("unit,resize=8x8,letterbox=1.5", "0 to 255"),
        ("unit,resize=8x8,letterbox=1:2", "letterbox has 2 values"),
        ("unit,resize=8x8,letterbox=1:2:3,channels=grey", "letterbox has 3 values"),
    ],
)
def test_sides_and_fills_that_mean_nothing_are_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        parse(text)

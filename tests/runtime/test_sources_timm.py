"""timm's networks, by name and from a folder in timm's own form; pictures prepared as timm prepares them."""

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Preprocess
from lowbit.data.declare import parse
from lowbit.data.preprocess import prepare, to_input
from lowbit.sources.find import find
from lowbit.sources.torch_operators import declare_torchvision_operators
from lowbit.sources.torch_timm import how_prepared, preprocess_of_config, pretrained_config
from tests.runtime.sourcing import checked, load, request
from tests.runtime.test_sources_torch_files import Malicious

declare_torchvision_operators()
timm = pytest.importorskip("timm")
SIZES = [(97, 150), (501, 375), (333, 257), (225, 224), (224, 224), (1000, 231), (31, 47)]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def saved(folder: Path, name: str, *, classes: int = 5, safe: bool = True, **more: Any) -> Any:
    """A network of timm's whose random weights give scores that differ, saved as timm saves for the hub."""
    torch.manual_seed(0)
    net = timm.create_model(name, pretrained=False, num_classes=classes).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
        for part in net.modules():
            if isinstance(part, nn.BatchNorm2d) and part.running_mean is not None:
                part.running_mean.uniform_(-0.2, 0.2)
    importlib.import_module("timm.models").save_for_hf(net, folder, safe_serialization=safe, **more)
    return net


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng([width, height, seed])
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))


def same_pixels(ours: Preprocess, image: Image.Image, theirs: np.ndarray) -> None:
    """The model's input is theirs, and so is every byte of the picture before it is scaled."""
    pixels = prepare(image, ours)
    found = to_input(pixels[np.newaxis], ours)[0]
    assert found.shape == theirs.shape
    np.testing.assert_allclose(found, theirs, atol=2e-6 * max(1.0, float(np.abs(theirs).max())))
    mean, std = (np.asarray(values, np.float64).reshape(-1, 1, 1) for values in (ours.mean, ours.std))
    bytes_of_theirs = np.rint((theirs.astype(np.float64) * std + mean) / ours.scale)
    expected = pixels.transpose(2, 0, 1)
    assert np.array_equal(bytes_of_theirs, expected[::-1] if ours.channels == "bgr" else expected)


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "side"), [("test_convnext", 160), ("test_vit", 160), ("mobilenetv4_conv_small_035", 224)]
)
def test_a_folder_scores_as_timms_own_network(tmp_path: Path, name: str, side: int) -> None:
    names = ["cat", "dog", "owl", "cow", "hen"]
    net = saved(tmp_path / "net", name, model_config={"label_names": names})
    spec = str(tmp_path / "net")
    own = find(spec).preprocess_of(spec)  # type: ignore[attr-defined]
    asked = request(spec, tmp_path / "out", (3, side, side), preprocess=own.name)
    model, scores = checked(asked)
    with torch.inference_mode():
        theirs = net(torch.from_numpy(to_input(asked.calibration.images[:16], asked.preprocess))).numpy()
    np.testing.assert_allclose(scores, theirs, atol=1e-4 * np.abs(theirs).max())
    assert theirs.std(0).min() > 1e-3, "the scores tell images apart"
    assert (model.name, model.outputs, model.random_weights) == ("net", 5, False)
    assert model.class_names == tuple(names)
    assert f"pictures are prepared as its config.json says: {own.name}" in model.notes
    assert any("label_names" in note for note in model.notes)


def test_another_preprocessing_than_the_models_own_is_said(tmp_path: Path) -> None:
    config = {"input_size": [3, 96, 96], "interpolation": "bicubic"}
    said = how_prepared(parse("unit"), config, "m", "its config.json says")
    assert said.startswith("pictures are prepared as --preprocess says (unit), not as its config.json says: imagenet,")
    assert "lowbit cannot do exactly" in how_prepared(parse("unit"), config | {"crop_mode": "border"}, "m", "timm says")


def test_random_networks_by_name_tell_images_apart(tmp_path: Path) -> None:
    asked = request("timm:test_efficientnet", tmp_path, (3, 64, 64), outputs=10)
    model, scores = checked(asked)
    assert (model.name, model.outputs, model.random_weights) == ("test_efficientnet", 10, True)
    assert len(set(scores.argmax(1).tolist())) > 1
    assert (scores.std(0) > 0.02).all()


def test_weights_size_the_head_and_fill_the_network(tmp_path: Path) -> None:
    net = saved(tmp_path / "net", "test_resnet", classes=7)
    save_file(net.state_dict(), tmp_path / "w.safetensors")
    asked = request(
        "timm:test_resnet.r160_in1k", tmp_path / "out", (3, 64, 64), weights=tmp_path / "w.safetensors", outputs=10
    )
    model, scores = checked(asked)
    with torch.inference_mode():
        theirs = net(torch.from_numpy(to_input(asked.calibration.images[:16], asked.preprocess))).numpy()
    np.testing.assert_allclose(scores, theirs, atol=1e-4 * np.abs(theirs).max())
    assert (model.outputs, model.random_weights) == (7, False)


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "convnext_atto",
        "vit_tiny_patch16_224",
        "mobilenetv4_conv_small",
        "efficientnet_b0",
        "resnet18d",
        "deit_tiny_distilled_patch16_224",
        "levit_128s",
        "mobilevit_xxs",
        "regnety_002",
        "ghostnetv2_100",
    ],
)
def test_random_networks_at_full_size(tmp_path: Path, name: str) -> None:
    own = find(f"timm:{name}").preprocess_of(f"timm:{name}")  # type: ignore[attr-defined]
    assert isinstance(own.crop, int)
    asked = request(f"timm:{name}", tmp_path, (3, own.crop, own.crop), preprocess=own.name, outputs=10, count=24)
    _, scores = checked(asked)
    assert len(set(scores.argmax(1).tolist())) > 1


# --- pictures ---------------------------------------------------------------------------------------------------------


def transform(config: dict[str, Any]) -> Any:
    data = importlib.import_module("timm.data")
    return data.create_transform(**data.resolve_data_config(pretrained_cfg=config))


@pytest.mark.parametrize(
    "name",
    [
        "resnet50.a1_in1k",
        "vit_tiny_patch16_224.augreg_in21k_ft_in1k",
        "convnext_tiny.fb_in1k",
        "mobilenetv4_conv_small.e2400_r224_in1k",
        "inception_v3.tv_in1k",
        "test_vit.r160_in1k",
    ],
)
def test_pictures_are_those_of_timm_pixel_by_pixel(name: str) -> None:
    config = pretrained_config(name)
    ours, theirs = preprocess_of_config(config, name), transform(config)
    for size in SIZES:
        same_pixels(ours, picture(*size), theirs(picture(*size)).numpy())


@pytest.mark.parametrize(
    ("changed", "name"),
    [
        ({"crop_mode": "squash", "crop_pct": 1.0}, "imagenet,resize=96x96,crop=none,interpolation=bicubic"),
        ({"crop_mode": "squash", "crop_pct": 0.9}, "imagenet,resize=106x106,crop=96,interpolation=bicubic"),
        ({"crop_pct": 0.85, "interpolation": "bilinear"}, "imagenet,resize=112,crop=96"),
        ({"mean": [0.5] * 3, "std": [0.5] * 3}, "imagenet-tf,resize=109,crop=96,interpolation=bicubic"),
    ],
)
def test_what_a_configuration_says_is_named_shortly(changed: dict[str, Any], name: str) -> None:
    config = {"input_size": [3, 96, 96], "interpolation": "bicubic", **changed}
    ours = preprocess_of_config(config, "m")
    assert ours.name == name
    for size in SIZES:
        same_pixels(ours, picture(*size), transform(config)(picture(*size)).numpy())


def test_grey_pictures(tmp_path: Path) -> None:
    config = {"input_size": [1, 28, 28], "crop_pct": 1.0, "mean": [0.5], "std": [0.25]}
    ours = preprocess_of_config(config, "m")
    assert ours.channels == "grey"
    same_pixels(ours, picture(61, 40), transform(config)(picture(61, 40).convert("L")).numpy())


@pytest.mark.parametrize(
    "changed", [{"crop_mode": "border"}, {"interpolation": "lanczos"}, {"input_size": [3, 96, 128]}]
)
def test_what_cannot_be_said_is_named(changed: dict[str, Any]) -> None:
    with pytest.raises(BadInput, match=r"m: lowbit cannot prepare pictures as timm does for it .*give --preprocess"):
        preprocess_of_config({"input_size": [3, 96, 96], **changed}, "m")


@pytest.mark.slow
def test_all_of_timms_configurations_are_said_exactly_or_refused() -> None:
    """Whether they are the same, `preprocess_of_config` itself finds out on pictures."""
    kept = ("input_size", "crop_pct", "crop_mode", "interpolation", "mean", "std")
    seen: dict[str, dict[str, Any]] = {}
    for name in timm.list_pretrained():
        config = pretrained_config(name)
        seen.setdefault(json.dumps({key: config.get(key) for key in kept}), config)
    refused = []
    for config in seen.values():
        try:
            preprocess_of_config(config, "m")
        except BadInput as error:
            refused.append(str(error))
    assert len(seen) > 50
    assert all("border" in reason or "input_size" in reason for reason in refused), refused
    assert len(refused) < 0.1 * len(seen), refused


# --- what cannot be used ----------------------------------------------------------------------------------------------


def test_unknown_names_are_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"timm has no network of the name 'resnet-50'; did you mean .*resnet50"):
        load(request("timm:resnet-50", tmp_path, (3, 64, 64)))
    with pytest.raises(BadInput, match=r"timm has no such weights; did you mean .*resnet50\.a1_in1k"):
        find("timm:resnet50.a9_in1k").preprocess_of("timm:resnet50.a9_in1k")  # type: ignore[attr-defined]


def test_weights_of_another_network(tmp_path: Path) -> None:
    torch.save({"fc.bias": torch.zeros(5)}, tmp_path / "w.pt")
    with pytest.raises(BadInput, match=r"lacks 'fc\.weight', the classifier of timm's test_resnet"):
        load(request("timm:test_resnet", tmp_path / "out", (3, 64, 64), weights=tmp_path / "w.pt"))


def test_a_folder_of_an_unknown_architecture(tmp_path: Path) -> None:
    saved(tmp_path / "net", "test_resnet")
    config = json.loads((tmp_path / "net/config.json").read_text())
    (tmp_path / "net/config.json").write_text(json.dumps(config | {"architecture": "resnet_of_tomorrow"}))
    with pytest.raises(BadInput, match="timm has no network of the name 'resnet_of_tomorrow'"):
        load(request(str(tmp_path / "net"), tmp_path / "out", (3, 64, 64)))


def test_a_folder_whose_weights_do_not_fit(tmp_path: Path) -> None:
    net = saved(tmp_path / "net", "test_resnet")
    state = net.state_dict()
    del state["fc.bias"]
    save_file(state, tmp_path / "net/model.safetensors")
    with pytest.raises(BadInput, match=r"timm cannot build it.*fc\.bias"):
        load(request(str(tmp_path / "net"), tmp_path / "out", (3, 64, 64)))


def test_a_folder_with_pickled_weights(tmp_path: Path) -> None:
    """Plain tensors are read; a pickle that brings code is refused and not run."""
    saved(tmp_path / "net", "test_resnet", safe=False)
    assert load(request(str(tmp_path / "net"), tmp_path / "out", (3, 64, 64))).model.outputs == 5
    trace = tmp_path / "trace"
    torch.save({"fc.weight": Malicious(trace)}, tmp_path / "net/pytorch_model.bin")
    with pytest.raises(BadInput, match=r"pytorch_model\.bin: cannot be read without running code"):
        load(request(str(tmp_path / "net"), tmp_path / "out", (3, 64, 64)))
    assert not trace.exists()

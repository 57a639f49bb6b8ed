"""Image classifiers of transformers from a folder or the cache; pictures prepared as their own processors do."""

import importlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Preprocess
from lowbit.data.preprocess import prepare, to_input
from lowbit.sources.find import find
from lowbit.sources.torch_operators import declare_torchvision_operators
from lowbit.sources.torch_processors import own_preprocess
from tests.runtime.sourcing import checked, load, request
from tests.runtime.test_sources_timm import SIZES, picture, same_pixels
from tests.runtime.test_sources_torch_files import Malicious

declare_torchvision_operators()
transformers = pytest.importorskip("transformers")
CLASSES = {0: "tabby, tabby cat", 1: "dog", 2: "owl", 3: "cow", 4: "hen"}


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


CONFIGS: dict[str, dict[str, Any]] = {
    "ViT": {
        "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "image_size": 32,
        "patch_size": 8,
    },
    "ConvNext": {"hidden_sizes": [8, 16, 24, 32], "depths": [1, 1, 1, 1]},
    "ResNet": {"embedding_size": 8, "hidden_sizes": [8, 16], "depths": [1, 1], "layer_type": "basic"},
}  # fmt: skip
PROCESSORS: dict[str, dict[str, Any]] = {
    "ViT": {"size": {"height": 32, "width": 32}},
    "ConvNext": {"size": {"shortest_edge": 32}, "crop_pct": 0.875},
}


def saved(folder: Path, kind: str, **more: Any) -> Any:
    """A classifier with random weights that tell images apart, saved as transformers saves it."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{kind}Config")(id2label=CLASSES, **CONFIGS[kind])
    net = getattr(transformers, f"{kind}ForImageClassification")(config).eval()
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=(2 / parameter[0].numel()) ** 0.5)
    net.save_pretrained(folder, **more)
    if kind in PROCESSORS:
        processor(folder, f"{kind}ImageProcessor", **PROCESSORS[kind])
    return net


def processor(folder: Path, kind: str, **settings: Any) -> Any:
    """A processor of transformers, its settings saved in `folder`."""
    made = getattr(transformers, kind)(**settings)
    made.save_pretrained(folder)
    return made


def pixels_of(made: Any, size: tuple[int, int]) -> np.ndarray:
    values: np.ndarray = np.asarray(made(picture(*size), return_tensors="np")["pixel_values"][0], np.float32)
    return values


def pillow(folder: Path) -> Any:
    return transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")


# --- networks ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", list(CONFIGS))
def test_a_folder_scores_as_transformers_own_network(tmp_path: Path, kind: str) -> None:
    """Its preprocessing and the names of its classes are said, where it has them."""
    net = saved(tmp_path / "net", kind)
    spec, how = str(tmp_path / "net"), "unit"
    if kind in PROCESSORS:
        how = find(spec).preprocess_of(spec).name  # type: ignore[attr-defined]
    asked = request(spec, tmp_path / "out", (3, 32, 32), preprocess=how)
    model, scores = checked(asked)
    with torch.inference_mode():
        given = torch.from_numpy(to_input(asked.calibration.images[:16], asked.preprocess))
        theirs = net(pixel_values=given).logits.numpy()
    np.testing.assert_allclose(scores, theirs, atol=1e-4 * np.abs(theirs).max())
    assert theirs.std(0).min() > 1e-3, "the scores tell images apart"
    assert (model.name, model.outputs, model.random_weights) == ("net", 5, False)
    assert model.class_names == tuple(CLASSES.values())
    said = [f"pictures are prepared as its preprocessor_config.json says: {how}"] if kind in PROCESSORS else []
    assert list(model.notes) == [*said, "the names of its classes are those of its config.json (id2label)"]


def test_names_that_transformers_made_up_are_none(tmp_path: Path) -> None:
    torch.manual_seed(0)
    config = transformers.ViTConfig(num_labels=4, **CONFIGS["ViT"])
    transformers.ViTForImageClassification(config).save_pretrained(tmp_path / "net")
    assert load(request(str(tmp_path / "net"), tmp_path / "out", (3, 32, 32))).model.class_names == ()


def test_weights_in_several_files(tmp_path: Path) -> None:
    saved(tmp_path / "net", "ViT", max_shard_size="20KB")
    assert (tmp_path / "net/model.safetensors.index.json").is_file()
    spec = str(tmp_path / "net")
    before = find(spec).fingerprint(spec, None)
    checked(request(spec, tmp_path / "out", (3, 32, 32)))
    first = sorted((tmp_path / "net").glob("model-*.safetensors"))[0]
    changed = bytearray(first.read_bytes())
    changed[-1] ^= 1
    first.write_bytes(changed)
    assert find(spec).fingerprint(spec, None) != before
    first.unlink()
    with pytest.raises(BadInput, match=rf"{first.name} is missing"):
        find(spec).fingerprint(spec, None)


def test_the_users_cache_is_read_and_the_network_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "hub"
    monkeypatch.setattr(importlib.import_module("huggingface_hub").constants, "HF_HUB_CACHE", str(cache))
    with pytest.raises(BadInput, match=r"hf:somebody/net: not in the cache .*give --download"):
        find("hf:somebody/net").fingerprint("hf:somebody/net", None)
    snapshot = cache / "models--somebody--net/snapshots/0123456789"
    saved(snapshot, "ViT")
    (cache / "models--somebody--net/refs").mkdir()
    (cache / "models--somebody--net/refs/main").write_text("0123456789")
    model, _ = checked(request("hf:somebody/net", tmp_path / "out", (3, 32, 32)))
    assert model.name == "net"


# --- pictures ---------------------------------------------------------------------------------------------------------

HALF, CLIP = [0.5, 0.5, 0.5], [0.48145466, 0.4578275, 0.40821073]
SAID: list[tuple[str, dict[str, Any]]] = [
    ("ViTImageProcessor", {"size": {"height": 64, "width": 48}}),
    ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "resample": 3, "image_mean": CLIP}),
    ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "do_normalize": False}),
    ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "do_rescale": False}),
    ("DeiTImageProcessor", {"size": {"height": 73, "width": 73}, "crop_size": {"height": 64, "width": 64}}),
    ("CLIPImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": 64}),
    ("BitImageProcessor", {"size": {"shortest_edge": 73}, "crop_size": {"height": 64, "width": 64}}),
    ("MobileNetV1ImageProcessor", {"size": {"shortest_edge": 75}, "crop_size": {"height": 64, "width": 62}}),
    ("MobileNetV2ImageProcessor", {}),
    ("MobileViTImageProcessor", {"size": {"shortest_edge": 72}, "crop_size": {"height": 64, "width": 64}}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 64}, "crop_pct": 0.9}),
    ("ConvNextImageProcessor", {"size": {"shortest_edge": 384}}),
    ("PoolFormerImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": {"height": 64, "width": 64}}),
    ("LevitImageProcessor", {}),
    ("EfficientNetImageProcessor", {"size": {"height": 64, "width": 64}, "resample": 0}),
    (
        "EfficientNetImageProcessor",
        {"size": {"height": 64, "width": 64}, "rescale_offset": True, "rescale_factor": 1 / 127.5},
    ),
    ("SiglipImageProcessor", {"size": {"height": 64, "width": 64}, "image_mean": HALF, "image_std": HALF}),
]


@pytest.mark.parametrize(("kind", "settings"), SAID, ids=[f"{kind}-{place}" for place, (kind, _) in enumerate(SAID)])
def test_pictures_are_those_of_the_processor_pixel_by_pixel(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    processor(tmp_path, kind, **settings)
    ours, theirs = own_preprocess(tmp_path, "m"), pillow(tmp_path)
    for size in SIZES:
        same_pixels(ours, picture(*size), pixels_of(theirs, size))


def test_an_old_form_of_the_settings_is_read(tmp_path: Path) -> None:
    old = {"feature_extractor_type": "ViTFeatureExtractor", "do_normalize": True, "do_resize": True, "resample": 2,
        "image_mean": HALF, "image_std": HALF, "size": 64}  # fmt: skip
    (tmp_path / "preprocessor_config.json").write_text(json.dumps(old))
    assert own_preprocess(tmp_path, "m").name == "imagenet-tf,resize=64x64,crop=none"


def test_the_torch_backend_differs_by_its_rounding_alone(tmp_path: Path) -> None:
    """transformers takes it where torchvision is installed: its own kernels for bytes, within one of 255."""
    made = processor(tmp_path, "BitImageProcessor", size={"shortest_edge": 73}, crop_size={"height": 64, "width": 64})
    assert made.backend == "torchvision"
    ours = own_preprocess(tmp_path, "m")
    for size in SIZES:
        found = to_input(prepare(picture(*size), ours)[np.newaxis], ours)[0]
        steps = np.abs(found - pixels_of(made, size)) * np.reshape(ours.std, (-1, 1, 1)) * 255
        assert steps.max() < 1.01
        assert (steps > 0.01).mean() < 0.2


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("PerceiverImageProcessor", {}, "prepares pictures in a way that lowbit cannot say exactly"),
        ("ViTImageProcessor", {"size": {"height": 64, "width": 64}, "resample": 1}, "Pillow's filter 1"),
        ("ViTImageProcessor", {"size": {"shortest_edge": 64, "longest_edge": 96}}, "it resizes to"),
        ("CLIPImageProcessor", {"size": {"shortest_edge": 64}, "crop_size": 80}, "does not fit"),
    ],
)
def test_what_cannot_be_said_is_named(tmp_path: Path, kind: str, settings: dict[str, Any], said: str) -> None:
    processor(tmp_path, kind, **settings)
    with pytest.raises(BadInput, match=said) as error:
        own_preprocess(tmp_path, "m")
    assert str(error.value).startswith("m: ")
    assert "give --preprocess" in str(error.value)


def test_without_a_processor_preprocessing_must_be_given(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"--preprocess is missing: m has no preprocessor_config\.json"):
        own_preprocess(tmp_path, "m")


def test_crops_round_as_transformers_does() -> None:
    """Of 7 pixels the middle 4 begin at 1 in transformers, at 2 in torchvision."""
    image = picture(7, 7)
    down, even = (Preprocess("", crop=4, crop_rounding=how) for how in ("down", "even"))
    assert np.array_equal(prepare(image, down), np.asarray(image)[1:5, 1:5])
    assert np.array_equal(prepare(image, even), np.asarray(image)[2:6, 2:6])


# --- what cannot be used ----------------------------------------------------------------------------------------------


def refused(folder: Path, out: Path, said: str) -> None:
    spec = str(folder)
    with pytest.raises(BadInput, match=said) as error:
        load(request(spec, out, (3, 32, 32)))
    assert "\n" not in str(error.value)


def changed(folder: Path, **more: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | more))


def test_a_config_of_something_else(tmp_path: Path) -> None:
    saved(tmp_path / "net", "ViT")
    shutil.copytree(tmp_path / "net", tmp_path / "text")
    changed(tmp_path / "text", model_type="bert", architectures=["BertForSequenceClassification"])
    refused(tmp_path / "text", tmp_path / "out", "is of BertForSequenceClassification, expected an image classifier")
    changed(tmp_path / "net", architectures=["ViTForMaskedImageModeling"])
    refused(tmp_path / "net", tmp_path / "out", "is of ViTForMaskedImageModeling, expected an image classifier")
    (tmp_path / "net/config.json").write_text("{}")
    refused(tmp_path / "net", tmp_path / "out", "is of model_type None")
    (tmp_path / "net/config.json").write_text("{ cut")
    refused(tmp_path / "net", tmp_path / "out", r"config\.json: not JSON")


def test_a_network_without_its_head(tmp_path: Path) -> None:
    net = saved(tmp_path / "net", "ViT")
    net.vit.save_pretrained(tmp_path / "net")
    changed(tmp_path / "net", architectures=None)
    refused(tmp_path / "net", tmp_path / "out", r"the weights do not fit config\.json: classifier\.bias")


def test_absent_weights(tmp_path: Path) -> None:
    saved(tmp_path / "net", "ViT")
    (tmp_path / "net/model.safetensors").unlink()
    refused(tmp_path / "net", tmp_path / "out", r"no weights; expected model\.safetensors")


def test_weights_that_were_cut_short(tmp_path: Path) -> None:
    saved(tmp_path / "net", "ViT")
    weights = tmp_path / "net/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(tmp_path / "net", tmp_path / "out", "transformers cannot build it from config.json and its weights")


def test_pickled_weights_are_read_where_they_are_plain_tensors(tmp_path: Path) -> None:
    net = saved(tmp_path / "net", "ViT")
    (tmp_path / "net/model.safetensors").unlink()
    torch.save(net.state_dict(), tmp_path / "net/pytorch_model.bin")
    asked = request(str(tmp_path / "net"), tmp_path / "out", (3, 32, 32))
    _, scores = checked(asked)
    with torch.inference_mode():
        theirs = net(torch.from_numpy(to_input(asked.calibration.images[:16], asked.preprocess))).logits.numpy()
    np.testing.assert_allclose(scores, theirs, atol=1e-4 * np.abs(theirs).max())
    trace = tmp_path / "trace"
    torch.save({"classifier.weight": Malicious(trace)}, tmp_path / "net/pytorch_model.bin")
    refused(tmp_path / "net", tmp_path / "out", "cannot be read without running code")
    assert not trace.exists()


def test_code_that_a_folder_brings_is_not_run(tmp_path: Path) -> None:
    saved(tmp_path / "net", "ViT")
    (tmp_path / "net/modeling.py").write_text(f"open({str(tmp_path / 'trace')!r}, 'w')\nclass Net: ...\n")
    changed(
        tmp_path / "net", auto_map={"AutoModelForImageClassification": "modeling.Net", "AutoConfig": "modeling.Net"}
    )
    load(request(str(tmp_path / "net"), tmp_path / "out", (3, 32, 32)))  # transformers' own class is taken
    changed(tmp_path / "net", model_type="net-of-mine", architectures=["Net"])
    refused(tmp_path / "net", tmp_path / "out", "expected an image classifier")
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize("spec", ["hf:", "hf:vit", "hf:a/b/c", "hf:../net"])
def test_names_that_are_none(spec: str) -> None:
    with pytest.raises(BadInput, match="expected hf:ORG/NAME"):
        find(spec).fingerprint(spec, None)


def test_weights_beside_a_folder_are_refused(tmp_path: Path) -> None:
    saved(tmp_path / "net", "ViT")
    with pytest.raises(BadInput, match="brings its own weights"):
        find(str(tmp_path / "net")).fingerprint(str(tmp_path / "net"), tmp_path / "w.safetensors")

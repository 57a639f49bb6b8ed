"""Somebody who brings another kind of model is told what to do with it."""

from pathlib import Path

import pytest

from lowbit.core.errors import BadInput
from lowbit.sources.find import find


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("m.weights.h5", r"holds weights without.*keras:NAME.*--weights"),
        ("m.ckpt", r"file\.py:name.*--weights"),
        ("pytorch_model.bin", r"file\.py:name.*--weights"),
        ("google/vit-base-patch16-224", "hf:google/vit-base-patch16-224"),
        ("m.safetensors", r"file\.py:name.*--weights"),
        ("m.litertlm", r"expected a classifier's float \.tflite"),
        ("m.pb", r"tf2onnx\.convert --graphdef m\.pb"),
        ("m.xml", r"OpenVINO IR; export the network.*FLOAT\.onnx --given m\.xml"),
        ("m.mlmodel", "Core ML"),
        ("m.engine", "TensorRT.*ONNX file"),
        ("m.joblib", r"pickle.*file\.py:name"),
        ("net.py", r"net\.py:name"),
        ("resnet50", "torchvision:resnet50, one of timm timm:resnet50"),
        ("ResNet50", "keras:ResNet50"),
        ("m.onn", "expected one of: "),
    ],
)
def test_an_unknown_kind_of_model_is_told_what_to_do(name: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as error:
        find(name)
    assert "\n" not in str(error.value)
    assert "expected one of: digits-cnn, x.pt2, hf:ORG/NAME" in str(error.value)


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        ("model.safetensors", r"expected the config\.json beside them"),
        ("net.onnx", r"give the file in it: .*m/net\.onnx"),
        ("other", "give the file of the model itself"),
    ],
)
def test_a_folder_is_told_by_what_lies_in_it(tmp_path: Path, inside: str, said: str) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / inside).touch()
    with pytest.raises(BadInput, match=said):
        find(str(tmp_path / "m"))

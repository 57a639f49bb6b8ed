"""A quantized model survives the disk: what is read back writes the same files."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from lowbit.formats.onnx.write import export_onnx, layer_file
from lowbit.quant.stored import load_quantized, save_quantized
from tests.quantized import small_model


@pytest.mark.parametrize("bits", [8, 4, 2])
def test_what_is_read_back_writes_the_same_files(bits: int, tmp_path: Path) -> None:
    model = small_model(weight_bits=bits, activation_bits=min(bits * 2, 8), asymmetric=bits < 4)
    save_quantized(model, tmp_path / "kept")
    again = load_quantized(tmp_path / "kept")
    assert again.plan == model.plan
    assert again.absorbed == model.absorbed
    for name, layer in model.layers.items():
        codes = again.layers[name].weight.codes
        assert codes.dtype == layer.weight.codes.dtype
        assert np.array_equal(codes, layer.weight.codes)
        assert layer_file(again, name) == layer_file(model, name)
    export_onnx(model, tmp_path / "one.onnx")
    export_onnx(again, tmp_path / "two.onnx")
    assert (tmp_path / "one.onnx").read_bytes() == (tmp_path / "two.onnx").read_bytes()
    onnx.checker.check_model(onnx.load(tmp_path / "two.onnx"))

"""Layers run alone on equal inputs show the first one at which two files, or two runtimes, part."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from lowbit.core.adapter import CodePorts, Codes, Floats, RunCodes, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.difference import LayersDifference
from lowbit.core.errors import UnsupportedError
from lowbit.core.format import format_of_suffix
from lowbit.core.preprocess import Preprocess
from lowbit.data.cache import make_samples
from lowbit.data.datasets import open_dataset
from lowbit.formats.onnx.write import export_onnx
from lowbit.quant.model import QuantizedModel
from lowbit.quant.stored import save_quantized
from lowbit.runtimes import onnxruntime
from lowbit.worker.jobs import LayersJob, Ran
from lowbit.worker.layers import by_pieces, run
from tests.quantized import CLASSES, INPUT_SHAPE, random_images, small_model
from tests.runtime.test_cut import built

IMAGES = random_images(4, seed=11)
OPTIONS = SessionOptions(1, len(IMAGES))


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve random pictures of 8 × 8, none to calibrate with."""
    folder = tmp_path_factory.mktemp("pictures")
    np.savez(folder / "x.npz", x=np.random.default_rng(3).integers(0, 256, (12, 8, 8, 3), dtype=np.uint8))
    data = open_dataset(str(folder / "x.npz"), labelled=False)
    out = folder / "samples"
    make_samples(data, Preprocess("unit"), calibration_samples=0, seed=0, limit=None, out=out, workers=1)
    return out


def ran(path: Path, runtime: str, evidence: Path | None = None, *, batch: int | None = None) -> Ran:
    form = format_of_suffix(path.suffix)
    assert form is not None
    return Ran(Artifact(path, form.name, path.name, INPUT_SHAPE, CLASSES, batch_size=batch), runtime, evidence)


def job(first: Ran, second: Ran, samples: Path, *, same_file: bool = True) -> LayersJob:
    return LayersJob(first, second, samples, Preprocess("unit"), 8, 1, same_file=same_file, together=True)


def exported(folder: Path, model: QuantizedModel | None = None, name: str = "m.onnx") -> Path:
    export_onnx(model or small_model(), folder / name)
    return folder / name


def edited(model: QuantizedModel, node: str) -> QuantizedModel:
    """`model` with the weights of one layer turned around."""
    layer = model.layers[node]
    other = replace(layer, weight=replace(layer.weight, codes=np.ascontiguousarray(layer.weight.codes[::-1])))
    return replace(model, layers={**model.layers, node: other})


@pytest.mark.parametrize("node", ["conv1", "dwconv", "fc"])
def test_the_layer_whose_weights_were_changed_is_found(node: str, samples: Path, tmp_path: Path) -> None:
    model = small_model()
    first, second = exported(tmp_path, model), exported(tmp_path, edited(model, node), "other.onnx")
    found = run(job(ran(first, "onnxruntime"), ran(second, "onnxruntime"), samples, same_file=False))
    assert found.first is not None and found.first.name == node
    assert [layer.name for layer in found.layers if layer.parted] == [node], "the others read equal inputs"
    assert found.images == 8 and not found.same_numbers and found.unchecked == ()


def test_the_same_file_in_two_runtimes_parts_nowhere(samples: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    path = exported(tmp_path, small_model(weight_bits=4, activation_bits=4))
    found = run(job(ran(path, "onnxruntime"), ran(path, "openvino"), samples))
    assert found.first is None and found.together is None and found.same_numbers
    assert [layer.name for layer in found.layers if layer.op_type in ("Conv", "Gemm")] == ["conv1", "dwconv", "fc"]


def test_a_vendors_dynamic_file(samples: Path, tmp_path: Path) -> None:
    """Its scales are computed for every call: numbers without axes, which are no layers."""
    pytest.importorskip("openvino")
    built("int8-dynamic", tmp_path)
    path = tmp_path / "model.onnx"
    found = run(job(ran(path, "onnxruntime"), ran(path, "openvino"), samples))
    assert [layer.op_type for layer in found.layers].count("ConvInteger") == 2
    assert found.first is None and found.unchecked == ()
    assert all(layer.values > 8 for layer in found.layers)


def test_what_openvino_computes_wrongly_is_found_and_judged(samples: Path, tmp_path: Path) -> None:
    """ONNX Runtime's 16-bit files leave Relu to the quantizer's lower end, which OpenVINO 2026.4 does not keep."""
    pytest.importorskip("openvino")
    built("int16x8", tmp_path)
    path = tmp_path / "model.onnx"
    found = run(job(ran(path, "onnxruntime"), ran(path, "openvino"), samples))
    assert found.first is not None and (found.first.number, found.first.op_type) == (1, "Conv")
    assert found.first.from_reference is not None
    right, wrong = found.first.from_reference
    assert right < 0.001 and wrong > 0.1


class Damaged:
    """ONNX Runtime whose results are wrong by one for files with certain operators."""

    def __init__(self, *operators: str) -> None:
        self.operators = operators

    def open_codes(self, path: Path, ports: CodePorts, options: SessionOptions) -> RunCodes:
        opened = onnxruntime.open_codes(path, ports, options)
        nodes = [node.op_type for node in onnx.load(path).graph.node]
        wrong = all(nodes.count(each) >= self.operators.count(each) for each in self.operators)

        def damaged(codes: Sequence[Codes]) -> Codes:
            return opened(codes) + np.float32(100 * wrong)

        return damaged


class Refusing:
    """A runtime that opens no file with a certain operator."""

    def __init__(self, operator: str) -> None:
        self.operator = operator

    def open_codes(self, path: Path, ports: CodePorts, options: SessionOptions) -> RunCodes:
        if self.operator in [node.op_type for node in onnx.load(path).graph.node]:
            raise UnsupportedError(f"{self.operator} is not known here")
        return onnxruntime.open_codes(path, ports, options)


def pieces_in(other: Damaged | Refusing, folder: Path, images: Floats = IMAGES) -> LayersDifference:
    side = ran(exported(folder), "onnxruntime")
    return by_pieces(job(side, side, folder), images, (onnxruntime, other), OPTIONS, folder)


def test_a_wrong_kernel_is_found_and_plain_arithmetic_says_whose(tmp_path: Path) -> None:
    found = pieces_in(Damaged("Add"), tmp_path)
    assert [layer.name for layer in found.layers if layer.parted] == ["add"]
    assert found.first is not None and found.first.from_reference is not None
    right, wrong = found.first.from_reference
    assert right < 0.01 < 1 < wrong
    assert found.together is None, "not asked where a layer alone parts"


def test_what_goes_wrong_only_together_is_found_by_longer_and_longer_beginnings(tmp_path: Path) -> None:
    found = pieces_in(Damaged("Conv", "Conv", "Add"), tmp_path)
    assert found.first is None
    assert found.together == "add"


def test_a_layer_that_one_side_refuses_is_told_and_the_others_are_compared(tmp_path: Path) -> None:
    found = pieces_in(Refusing("Add"), tmp_path)
    assert [(layer.node, layer.reason) for layer in found.unchecked] == [
        ("add", "in onnxruntime: Add is not known here")
    ]
    assert {"conv1", "dwconv", "fc"} <= {layer.name for layer in found.layers}
    assert found.first is None


def test_two_formats_of_one_model_by_what_their_builds_left(samples: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    from lowbit.formats.openvino.write import export_openvino

    model = small_model(weight_bits=4)
    first, second = exported(tmp_path, model), tmp_path / "m.xml"
    export_openvino(model, second)
    save_quantized(model, tmp_path / "evidence")
    save_quantized(edited(model, "dwconv"), tmp_path / "other")
    same, other = tmp_path / "evidence", tmp_path / "other"
    found = run(job(ran(first, "onnxruntime", same), ran(second, "openvino", same), samples, same_file=False))
    assert [layer.name for layer in found.layers] == ["conv1", "dwconv", "add", "pool", "fc"]
    assert found.same_numbers and found.first is None
    changed = run(job(ran(first, "onnxruntime", same), ran(second, "openvino", other), samples, same_file=False))
    assert not changed.same_numbers
    assert changed.first is not None and changed.first.name == "dwconv"


def test_where_layers_cannot_be_run_alone_the_reason_is_given(samples: Path, tmp_path: Path) -> None:
    path = exported(tmp_path)
    with pytest.raises(UnsupportedError, match=r"only graphs of ONNX files can be cut into layers, and of m\.xml"):
        run(job(ran(path, "onnxruntime", tmp_path), ran(tmp_path / "m.xml", "onnxruntime"), samples, same_file=False))
    with pytest.raises(UnsupportedError, match="reference cannot run a layer alone"):
        run(job(ran(path, "onnxruntime"), ran(path, "reference"), samples))
    with pytest.raises(UnsupportedError, match="one file is made for 2 images a call, the other for 4"):
        run(job(ran(path, "onnxruntime", batch=2), ran(path, "onnxruntime", batch=4), samples))

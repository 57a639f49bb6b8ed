"""The engine's files agree with the integer reference in every runtime, and what does not agree is seen."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import onnx
import pytest

from lowbit.core.adapter import Codes, RunCodes
from lowbit.core.artifact import Artifact
from lowbit.core.codec import from_plain, to_plain
from lowbit.core.errors import BadInput, MeasurementError, UnsupportedError
from lowbit.core.format import format_of_suffix
from lowbit.core.verified import LayerCheck, Verified
from lowbit.formats.onnx.write import export_onnx
from lowbit.measure.verify import check_layer, check_scores
from lowbit.quant.model import QuantizedModel
from lowbit.report.quantized import verified_text
from lowbit.worker.verify import verify_artifact
from tests.quantized import REDUCED, random_images, small_model

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

IMAGES = random_images(16, seed=3)
CODES = np.arange(200, dtype=np.uint8).reshape(4, 50)


def artifact(path: Path) -> Artifact:
    """A file of the small model, as a study knows it."""
    form = format_of_suffix(path.suffix)
    assert form is not None
    _, channels, height, width = IMAGES.shape
    return Artifact(path, form.name, "", (channels, height, width), 5, batch_size=4 if form.fixes_batch else None)


def to_onnx(model: QuantizedModel, path: Path) -> None:
    export_onnx(model, path)


def to_openvino(model: QuantizedModel, path: Path) -> None:
    pytest.importorskip("openvino")
    from lowbit.formats.openvino.write import export_openvino

    export_openvino(model, path)


def to_litert(model: QuantizedModel, path: Path) -> None:
    pytest.importorskip("litert_torch")
    from lowbit.formats.litert.write import export_litert

    export_litert(model, path, batch_size=4)


@pytest.mark.parametrize(
    ("weights", "activations", "asymmetric"), [(8, 8, False), (4, 4, False), (3, 8, True), (2, 4, True)]
)
@pytest.mark.parametrize(
    ("runtime", "name", "export"),
    [("onnxruntime", "m.onnx", to_onnx), ("openvino", "m.onnx", to_onnx), ("openvino", "m.xml", to_openvino)],
)
def test_the_engines_files_agree(
    runtime: str,
    name: str,
    export: Callable[[QuantizedModel, Path], None],
    weights: int,
    activations: int,
    asymmetric: bool,
    tmp_path: Path,
) -> None:
    if runtime == "openvino":
        pytest.importorskip("openvino")
    model = small_model(weight_bits=weights, activation_bits=activations, asymmetric=asymmetric)
    export(model, tmp_path / name)
    agrees(verify_artifact(model, artifact(tmp_path / name), runtime, IMAGES), runtime)


@pytest.mark.parametrize("weights", [pytest.param(8, marks=pytest.mark.slow), 4])  # quantize verifies 8 bits, too
def test_the_engines_litert_files_agree(weights: int, tmp_path: Path) -> None:
    """4-bit weights run on kernels that requantize by fixed point; 8-bit ones on XNNPACK's, by float."""
    model = small_model(weight_bits=weights)
    to_litert(model, tmp_path / "m.tflite")
    found = verify_artifact(model, artifact(tmp_path / "m.tflite"), "litert", IMAGES)
    agrees(found, "litert")
    assert found.scores.images == len(IMAGES)
    if weights == 8:
        assert {layer.requantize for layer in found.layers} == {"float"}


def agrees(found: Verified, runtime: str) -> None:
    assert found.runtime == runtime
    assert [layer.node for layer in found.layers] == ["conv1", "dwconv", "add", "pool", "fc"]
    assert found.equal is not None and found.equal >= 0.999
    assert found.largest is not None and found.largest <= 1
    assert found.unchecked == ()
    assert found.scores.same_top1 is not None and found.scores.same_top1 >= 0.9
    assert found.scores.scores == len(IMAGES) * 5
    assert from_plain(Verified, to_plain(found)) == found


def test_another_models_file_does_not_agree(tmp_path: Path) -> None:
    export_onnx(small_model(seed=1), tmp_path / "other.onnx")
    found = verify_artifact(small_model(), artifact(tmp_path / "other.onnx"), "onnxruntime", IMAGES)
    assert found.equal == 1  # the layers are the model's own, written anew
    assert found.scores.within_half_step < 0.2
    assert found.scores.largest > 20 * found.scores.step


def test_a_layer_that_reads_floats_is_said_to_be_unchecked(tmp_path: Path) -> None:
    model = small_model()
    model = replace(model, main={name: q for name, q in model.main.items() if name not in ("p1", "f1")})
    export_onnx(model, tmp_path / "m.onnx")
    found = verify_artifact(model, artifact(tmp_path / "m.onnx"), "onnxruntime", IMAGES)
    assert [(layer.node, layer.reason) for layer in found.unchecked] == [("fc", "it reads float values")]
    assert [layer.node for layer in found.layers] == ["conv1", "dwconv", "add"]


def test_a_runtime_that_cannot_run_a_layer_alone_says_so(tmp_path: Path) -> None:
    export_onnx(small_model(), tmp_path / "m.onnx")
    with pytest.raises(UnsupportedError, match="null cannot run a layer alone"):
        verify_artifact(small_model(), artifact(tmp_path / "m.onnx"), "null", IMAGES)


def test_layers_are_compared_code_by_code() -> None:
    def runtime(codes: Sequence[Codes]) -> Codes:
        other = codes[0].copy()
        other[0, :2] += np.array([1, 3], np.uint8)
        return other

    found = check_layer("n", "Conv", [CODES], {"float": lambda codes: codes[0]}, runtime)
    assert found == LayerCheck("n", "Conv", codes=200, equal=198 / 200, largest=3, requantize="float")


def test_the_other_way_of_requantizing_counts_where_the_first_fails() -> None:
    ways: dict[str, RunCodes] = {"float": lambda codes: codes[0], "fixed-point": lambda codes: codes[0] + 1}
    assert check_layer("n", "Conv", [CODES], ways, lambda codes: codes[0]).requantize == "float"
    other = check_layer("n", "Conv", [CODES], ways, lambda codes: codes[0] + 1)
    assert (other.requantize, other.equal, other.largest) == ("fixed-point", 1, 0)


def test_float_results_are_compared_in_steps_of_their_range() -> None:
    scores = np.linspace(0, 255, 200, dtype=np.float32).reshape(4, 50)
    ways: dict[str, RunCodes] = {"float": lambda _: scores}
    assert check_layer("n", "Gemm", [CODES], ways, lambda _: scores + np.float32(1e-4)).equal == 1
    assert check_layer("n", "Gemm", [CODES], ways, lambda _: scores + np.float32(2)).largest == 2
    assert check_layer("n", "Gemm", [CODES], ways, lambda _: np.full_like(scores, np.nan)).equal == 0


def test_shapes_that_differ_are_no_agreement() -> None:
    with pytest.raises(MeasurementError, match=r"n: the runtime gives \[2, 50\], the reference \[4, 50\]"):
        check_layer("n", "Conv", [CODES], {"float": lambda codes: codes[0]}, lambda codes: codes[0][:2])


def test_scores() -> None:
    expected = np.array([[0, 1, 255], [3, 2, 1]], np.float32)
    found = expected + np.array([[0.4, 0, 0], [0, 1.5, 0]], np.float32)
    check = check_scores(expected, found)
    assert (check.images, check.scores, check.step) == (2, 6, 1)
    assert (check.within_half_step, check.same_top1, check.largest) == (5 / 6, 0.5, 1.5)
    assert check_scores(expected, found, step=0.5).within_half_step == 4 / 6
    nothing = check_scores(expected, np.full_like(expected, np.nan))
    assert nothing.within_half_step == 0 and np.isfinite(nothing.largest)
    with pytest.raises(BadInput, match="no images"):
        check_scores(expected[:0], found[:0])


@pytest.mark.slow
@pytest.mark.parametrize("recipe", [(8, 8), (4, 4), (2, 4)])
def test_resnet20_agrees(recipe: tuple[int, int], shared: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino")
    model, images = resnet20(shared, tmp_path, *recipe)
    export_onnx(model, tmp_path / "m.onnx")
    for runtime in ("onnxruntime", "openvino"):
        found = verify_artifact(model, artifact(tmp_path / "m.onnx"), runtime, images)
        assert len(found.layers) == 20
        assert found.equal is not None and found.equal >= 0.999, found.layers
        assert found.largest is not None and found.largest <= 1
        if runtime == "onnxruntime":
            assert found.scores.within_half_step == 1


def resnet20(
    shared: Path, folder: Path, weights: int, activations: int
) -> tuple[QuantizedModel, npt.NDArray[np.float32]]:
    """The engine's ResNet-20 by nearest rounding, and eight test images."""
    from lowbit.core.preprocess import Preprocess
    from lowbit.data.datasets import open_dataset
    from lowbit.data.preprocess import to_input
    from lowbit.graph.clean import clean
    from lowbit.graph.load import load_graph
    from lowbit.quant.engine import quantize
    from lowbit.quant.plan.placement import make_plan
    from lowbit.quant.plan.scheme import Scheme
    from lowbit.quant.prepare import prepare
    from lowbit.quant.ranges.observe import Images

    preprocess = Preprocess("cifar", mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    pictures = open_dataset(str(shared / "data" / "cifar10")).test.pictures(range(72))
    x = to_input(np.stack([picture.pixels(preprocess) for picture in pictures]), preprocess)
    onnx.save(clean(load_graph(shared / "models" / "cifar10-resnet20.onnx")), folder / "clean.onnx")
    graph = prepare(folder / "clean.onnx")
    plan = make_plan(graph, "", Scheme(weights, activations, rounding="nearest", reduce_range=REDUCED))
    return quantize(graph, plan, Images(64, lambda size: (x[at : at + size] for at in range(0, 64, size)))), x[64:]


def test_one_score_has_no_best_one() -> None:
    expected = np.array([[0.1], [0.9]], np.float32)
    check = check_scores(expected, 1 - expected)
    assert check.same_top1 is None, "argmax over one number would be the same whatever it is"
    found = Verified("onnxruntime", (), (), check)
    assert verified_text(found).endswith("end to end 0 % of scores within half a step, one score for each of 2 images")

"""`lowbit quantize` through a real process: files, plans, and how it says that something is wrong."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import lowbit
from lowbit.core.codec import save_json
from lowbit.core.progress import BuildProgress, LayerProgress
from lowbit.core.training import TrainingPoint, TrainingProgress
from lowbit.measure.host import facts, int8_sums_saturate
from lowbit.study.execute.placed import PlacedJob
from lowbit.study.watch import BuildWatch
from lowbit.worker.jobs import BuildJob
from lowbit.worker.stored_jobs import load_job
from tests import models
from tests.e2e.command import environment, make_project
from tests.e2e.command import lowbit as command


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_project(tmp_path_factory.mktemp("project"))


def quantize(project: Path, *arguments: str, model: str = "tiny.onnx") -> Any:
    words = ("quantize", model, "--data", "data.npz", "--preprocess", "unit", "--threads", "1", "--cache", "cache")
    return command(*words, *arguments, cwd=project)


def names(project: Path, stem: str) -> set[str]:
    return {path.name for path in project.glob(f"{stem}.*")}


def test_an_onnx_file_with_its_plan_and_manifest_beside_it(quantized_project: Path) -> None:
    folder = quantized_project
    assert names(folder, "out") == {"out.onnx", "out.onnx.plan.json", "out.onnx.manifest.json"}
    model = onnx.load(folder / "out.onnx")
    onnx.checker.check_model(model)
    stored = {each.name: len(each.raw_data) for each in model.graph.initializer}
    assert stored["Conv_2:w"] == 8 * 8 * 9 // 2  # 4 bits
    assert stored["Conv_0:w"] == 8 * 3 * 9  # the first layer: 8 bits
    manifest = json.loads((folder / "out.onnx.manifest.json").read_text())
    assert (manifest["main"], manifest["files"]) == ("out.onnx", ["out.onnx"])
    assert manifest["size_bytes"] == (folder / "out.onnx").stat().st_size
    assert manifest["calibration_samples"] == 96  # fewer than the 1,024 asked for: all there are
    assert manifest["build_s"] >= 0
    plan = json.loads((folder / "out.onnx.plan.json").read_text())
    assert all(tensor["limits"] for tensor in plan["tensors"])
    for said in ("out.onnx", "w4a8", "in float", "nothing", "verified", "onnxruntime", "openvino", "integer reference"):
        assert said in (folder / "said" / "out.onnx.txt").read_text(), said


@pytest.mark.slow
def test_every_format_says_its_widths_and_the_same_bytes_come_without_labels(
    project: Path, quantized_project: Path
) -> None:
    np.savez(project / "pictures.npz", x=np.load(project / "data.npz")["x"])
    for name, files in (("out.onnx", 1), ("out4.xml", 2), ("lite.tflite", 1)):
        done = quantize(project, "--recipe", "w4a8", "-o", f"twice/{name}", "--json", "--data", "pictures.npz")
        assert done.returncode == 0, done.stderr
        said = json.loads(done.stdout)
        assert len(said["files"]) == files
        for file in said["files"]:
            assert (project / file).read_bytes() == (quantized_project / Path(file).name).read_bytes()
        manifest = said["manifest"]
        assert (manifest["recipe"]["weight_bits"], manifest["recipe"]["activation_bits"]) == (4, 8)
        assert [each["runtime"] for each in manifest["verified"]] == manifest["made_for"]


def test_a_dry_run_prints_the_plan_and_an_edited_one_is_carried_out(project: Path, quantized_project: Path) -> None:
    before = {path.name for path in project.iterdir()}
    shown = quantize(project, "--recipe", "w4a4", "--dry-run", "-o", "never.onnx", "--layer", "Conv_2=w2a4")
    assert shown.returncode == 0, shown.stderr
    for said in (
        "Conv_2",
        "2 bits, asymmetric",
        "named by Conv_2",
        "first or last layer",
        "calibration images",
        "min-max",
    ):
        assert said in shown.stdout, said
    assert {path.name for path in project.iterdir()} <= before | {"cache"}  # nothing was written
    printed = quantize(project, "--recipe", "w4a8", "--dry-run", "--json", "-o", "plan.json")
    assert printed.returncode == 0, printed.stderr
    plan = json.loads(printed.stdout)
    assert plan == json.loads((project / "plan.json").read_text())

    same = quantize(project, "--plan", "plan.json", "-o", "planned.onnx")
    assert same.returncode == 0, same.stderr
    assert (project / "planned.onnx").read_bytes() == (quantized_project / "out.onnx").read_bytes()  # made by --recipe

    layer = next(layer for layer in plan["layers"] if layer["node"] == "Conv_2")
    layer["format"]["bits"] = 6
    (project / "plan.json").write_text(json.dumps(plan))
    edited = quantize(project, "--plan", "plan.json", "-o", "planned.onnx")
    assert edited.returncode == 0, edited.stderr
    sizes = {each.name: len(each.raw_data) for each in onnx.load(project / "planned.onnx").graph.initializer}
    assert sum(size for name, size in sizes.items() if name.startswith("Conv_2:w")) == 8 * 8 * 9 * 6 // 8
    manifest = json.loads((project / "planned.onnx.manifest.json").read_text())
    assert manifest["recipe"]["options"] == {"plan": "plan.json"}
    carried = json.loads((project / "planned.onnx.plan.json").read_text())
    assert [entry["format"]["bits"] for entry in carried["layers"]] == [8, 6, 8]
    again = quantize(
        project, "--plan", "planned.onnx.plan.json", "-o", "again.onnx"
    )  # with its ranges, it is a plan too
    assert again.returncode == 0, again.stderr
    assert (project / "again.onnx").read_bytes() == (project / "planned.onnx").read_bytes()


def test_options_reach_the_engine(project: Path) -> None:
    words = ("--rounding", "nearest", "--range", "mse", "--symmetric", "--ends", "4", "--dry-run", "--json")
    plan = json.loads(quantize(project, "--recipe", "w2a4", *words).stdout)
    assert {layer["rounding"] for layer in plan["layers"]} == {"nearest"}
    assert {tensor["range"] for tensor in plan["tensors"]} == {"mse"}
    assert [layer["format"]["bits"] for layer in plan["layers"]] == [4, 2, 4]
    assert all(layer["format"]["symmetric"] for layer in plan["layers"])
    for option, reduced in (("--reduce-range", True), ("--full-range", False)):
        plan = json.loads(quantize(project, "--recipe", "w8a8", option, "--dry-run", "--json").stdout)
        assert {layer["format"]["reduced"] for layer in plan["layers"]} == {reduced}


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "w1a8"], ["1 bits", "2 to 8"]),
        (["--recipe", "w9a8"], ["9 bits", "2 to 8"]),
        (["--recipe", "w4a12"], ["12 bits", "2 to 8, or 16"]),
        (["--recipe", "int8"], ["'int8'", "wNaM"]),
        ([], ["--recipe is missing", "w4a8"]),
        (["--recipe", "w4a8", "-o", "out.bin"], ["out.bin", ".onnx, .xml, .tflite"]),
        (["--recipe", "w4a8", "-o", "cache"], ["cache", ".onnx"]),
        (["--recipe", "w4a8", "--layer", "Conv_2"], ["'Conv_2'", "PATTERN=wNaM"]),
        (["--recipe", "w4a8", "--layer", "conv_*=w8a8"], ["'conv_*'", "Conv_0, Conv_2, Gemm_7"]),
        (["--recipe", "w4a8", "--layer", "Conv_2=w1a8"], ["1 bits"]),
        (["--recipe", "w4a8", "--ends", "9"], ["9 bits", "2 to 8"]),
        (["--recipe", "w4a8", "--group-size", "3"], ["group size 3", "'Gemm_7' has", "does not divide"]),
        (["--plan", "missing.json"], ["missing.json", "cannot be read"]),
        (["--plan", "data.npz"], ["data.npz", "no plan as lowbit writes it"]),
        (["--recipe", "w4a8", "--data", "nowhere"], ["nowhere"]),
        (["--recipe", "w4a8", "--data", "few.npz"], ["few.npz", "at least"]),
        (["--recipe", "w4a8", "--calibration-samples", "1"], ["--calibration-samples 1", "at least 2"]),
        (["--recipe", "w4a16", "-o", "out.tflite"], ["w4a16-tflite", "16"]),
    ],
)
def test_bad_options_end_with_one_clear_message(project: Path, arguments: list[str], words: list[str]) -> None:
    np.savez(project / "few.npz", x=np.zeros((1, 8, 8, 3), np.uint8), y=np.arange(1))
    (project / "out.onnx").write_text("what lay there")
    arguments = arguments if "-o" in arguments else [*arguments, "-o", "out.onnx"]
    check_refused(quantize(project, *arguments), words)
    assert (project / "out.onnx").read_text() == "what lay there"
    assert names(project, "out") == {"out.onnx"}


def check_refused(done: subprocess.CompletedProcess[str], words: list[str]) -> None:
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    message = done.stderr.splitlines()[-1]
    assert message.startswith("lowbit: ")
    for word in words:
        assert word in message, message


def test_plans_that_do_not_fit_are_refused(project: Path) -> None:
    assert quantize(project, "--recipe", "w4a8", "--dry-run", "-o", "fit.json").returncode == 0
    models.tiny_model(project / "other.onnx", seed=1)
    other = quantize(project, "--plan", "fit.json", "-o", "no.onnx", model="other.onnx")
    check_refused(other, ["fit.json", "another model"])
    plan = json.loads((project / "fit.json").read_text())
    check_refused(quantize(project, "--plan", "fit.json", "--recipe", "w2a8", "-o", "no.onnx"), ["w2a8", "w4a8"])
    check_refused(quantize(project, "--plan", "fit.json", "--ends", "4", "-o", "no.onnx"), ["ends", "fit.json"])
    plan["layers"][1]["format"]["bits"] = 9
    (project / "nine.json").write_text(json.dumps(plan))
    check_refused(quantize(project, "--plan", "nine.json", "-o", "no.onnx"), ["nine.json", "9 bits"])
    plan["layers"] = plan["layers"][:1]
    (project / "short.json").write_text(json.dumps(plan))
    check_refused(quantize(project, "--plan", "short.json", "-o", "no.onnx"), ["short.json", "Conv_2"])
    assert names(project, "no") == set()


def test_a_model_whose_weights_are_not_finite_is_refused(project: Path) -> None:
    model = onnx.load(project / "tiny.onnx")
    weight = next(each for each in model.graph.initializer if each.name == "w2")
    array = numpy_helper.to_array(weight).copy()
    array[0, 0, 0, 0] = np.nan
    weight.CopyFrom(numpy_helper.from_array(array, "w2"))
    onnx.save(model, project / "nan.onnx")
    done = quantize(project, "--recipe", "w4a8", "-o", "no.onnx", model="nan.onnx")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert names(project, "no") == set()


def test_an_operator_that_nobody_knows_is_named(project: Path) -> None:
    numbers = {"row": [-1, 192, 1], "step": 64, "length": 64}
    nodes = [
        helper.make_node("Reshape", ["input", "row"], ["signal"]),
        helper.make_node("STFT", ["signal", "step", "", "length"], ["spectrum"], "spectrum"),
        helper.make_node("Flatten", ["spectrum"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("input", 1, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("logits", 1, ["batch", 198])],
        [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in numbers.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), project / "spectrum.onnx"
    )
    done = quantize(project, "--recipe", "w4a8", "-o", "no.onnx", model="spectrum.onnx")
    assert done.returncode == 2, done.stdout + done.stderr
    assert "STFT" in done.stderr and "Traceback" not in done.stderr


def test_the_terminal_shows_the_layer_at_work(quantized_project: Path) -> None:
    watch = BuildWatch()
    given = (quantized_project / "cache" / "logs").rglob("*.job.json")
    path = next(path for path in given if '"kind": "build"' in path.read_text())
    job = load_job(path, quantized_project / "cache")
    assert isinstance(job, BuildJob)
    placed = PlacedJob("w4a8", job, path, path.parent)
    assert watch(placed) == "3 layers rounded, writing"  # as the engine left it
    save_json(job.progress, BuildProgress(LayerProgress(0, 3, "Conv_0")))
    assert watch(placed) == "layer 1/3 Conv_0"
    save_json(job.progress, BuildProgress(LayerProgress(1, 3, "Conv_2")))
    assert watch(placed).startswith("layer 2/3 Conv_2, ") and watch(placed).endswith(" s left")
    at = TrainingProgress(640, 45_000, 0.5236, 239.6, TrainingPoint(3.2, 320, 0.49, 0.912, 0.875))
    save_json(job.progress, BuildProgress(training=at))
    wanted = "640 of 45,000 pictures, loss 0.524; held out: 0.490, as float 91.2 %, right 87.5 %; 240 s left"
    assert watch(placed) == wanted
    job.progress.unlink()
    assert watch(placed) == ""


def test_from_python(project: Path) -> None:
    stages: set[str] = set()
    made = lowbit.quantize(
        str(project / "tiny.onnx"), str(project / "data.npz"), project / "python.onnx",
        recipe="w4a8", preprocess="unit", layers={"Conv_2": "w6a8"}, threads=1, calibration_samples=16,
        progress=lambda event: stages.add(event.stage),
    )  # fmt: skip
    assert {"data", "model", "quantize"} <= stages
    assert made.path.is_file() and made.plan_path.is_file() and made.manifest_path.is_file()
    assert [layer.format.bits for layer in made.plan.layers if layer.format] == [8, 6, 8]
    assert made.manifest.calibration_samples == 16
    assert {each.runtime for each in made.manifest.verified} == {"onnxruntime", "openvino"}
    with pytest.raises(lowbit.BadInput, match="1 bits"):
        lowbit.quantize(
            str(project / "tiny.onnx"), str(project / "data.npz"), "x.onnx", recipe="w1a8", preprocess="unit"
        )


def test_the_parent_imports_no_vendor() -> None:
    vendors = ("torch", "onnxruntime", "openvino", "tensorflow", "ai_edge_litert", "litert_torch")
    code = (
        "import lowbit.study.quantize, lowbit.study.inspection, lowbit.study.api, sys;"
        f"print([v for v in {vendors!r} if v in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_half_precision_file_with_channels_last_and_free_sizes(project: Path) -> None:
    """What a TensorFlow user brings: the file that comes out says in its manifest what it does otherwise."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Transpose", ["image"], ["x"], perm=[0, 3, 1, 2]),
        helper.make_node("Conv", ["x", "w"], ["c"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "fc", "b"], ["scores"]),
    ]
    shapes = {"w": (8, 3, 3, 3), "fc": (8, 4), "b": (1, 4)}
    half = onnx.TensorProto.FLOAT16
    graph = helper.make_graph(
        nodes,
        "keras",
        [helper.make_tensor_value_info("image", half, ["n", "h", "w", 3])],
        [helper.make_tensor_value_info("scores", half, ["n", 4])],
        [numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float16), name) for name, shape in shapes.items()],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), project / "keras.onnx"
    )
    words = ("--recipe", "w8a8", "-o", "keras-w8.onnx")
    refused = quantize(project, *words, model="keras.onnx")
    assert refused.returncode == 2
    assert "--input-size 8x8" in refused.stderr
    done = quantize(project, *words, "--input-size", "8", model="keras.onnx")
    assert done.returncode == 0, done.stderr
    notes = json.loads((project / "keras-w8.onnx.manifest.json").read_text())["notes"]
    for said in ("float16", "[N, H, W, C]", "fixed at 8 × 8"):
        assert any(said in note for note in notes), notes
    written = onnx.load(project / "keras-w8.onnx")
    assert "Transpose" not in {node.op_type for node in written.graph.node}


def test_two_formats_of_one_name_keep_their_own_plans_and_manifests(quantized_project: Path) -> None:
    words = ("--recipe", "w4a8", "--cache", "cache", "--data", "data.npz", "--preprocess", "unit", "--threads", "1")
    for name in ("both.onnx", "both.tflite"):
        assert command("quantize", "tiny.onnx", "-o", name, *words, cwd=quantized_project).returncode == 0
    for name, recipe in (("both.onnx", "w4a8"), ("both.tflite", "w4a8-tflite")):
        manifest = json.loads((quantized_project / f"{name}.manifest.json").read_text())
        assert (manifest["main"], manifest["recipe"]["name"]) == (name, recipe)
        looked = command("inspect", name, cwd=quantized_project)
        assert looked.returncode == 0 and recipe in looked.stdout, looked.stderr
        assert "no manifest" not in looked.stdout


@pytest.mark.slow
def test_a_dry_run_decodes_two_pictures_and_takes_a_network_with_random_weights(project: Path) -> None:
    words = ("--data", "data.npz", "--preprocess", "unit,resize=32,crop=32", "--recipe", "w4a8", "--cache", "dry")
    done = command("quantize", "torchvision:squeezenet1_1", *words, "--dry-run", cwd=project)
    assert done.returncode == 0, done.stderr
    (images,) = (project / "dry" / "cache").glob("samples-*/calibration/images.npy")
    assert len(np.load(images, mmap_mode="r")) == 2


@pytest.mark.skipif(not int8_sums_saturate(facts()), reason="needs a processor without int8 dot products")
def test_a_file_that_this_processor_computes_wrongly_is_told_loudly(quantized_project: Path) -> None:
    done = quantize(quantized_project, "--recipe", "w8a8", "--full-range", "-o", "wide.onnx")
    assert done.returncode == 3
    assert "wide.onnx should not be shipped: onnxruntime: Conv Conv_" in done.stderr
    manifest = json.loads((quantized_project / "wide.onnx.manifest.json").read_text())
    assert min(layer["equal"] for layer in manifest["verified"][0]["layers"]) < 0.99

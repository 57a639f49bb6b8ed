"""Every kind of model becomes a float graph that scores as its source does."""

import os
import pickle
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from lowbit.core import discover
from lowbit.core.errors import BadInput, LowbitError
from lowbit.core.model import GRAPH, FloatModel
from lowbit.data.datasets import open_dataset
from lowbit.data.preprocess import to_input
from lowbit.sources import torch_digits
from lowbit.sources._edge import Predict, versions
from lowbit.sources.check import check_against_source
from lowbit.sources.find import every, find
from lowbit.sources.torch_zoo import random_network
from tests.runtime.sourcing import checked, load, opened, request, varied


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# --- which kind -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "kind"),
    [
        ("model.onnx", "onnx"),
        ("/a:b/model.ONNX", "onnx"),
        ("digits-cnn", "digits-cnn"),
        ("net.py:make", "python"),
        ("/some/where/net.py:make", "python"),
        ("package.module:make", "python"),
        ("torchvision:resnet18", "torchvision"),
        ("torchvision.models:resnet18", "python"),
        ("some/m.keras", "keras-file"),
        ("m.H5", "keras-file"),
        ("keras:MobileNetV2", "keras"),
        ("keras.applications:MobileNetV2", "python"),
        ("timm:resnet18", "timm"),
        ("timm:resnet18.a1_in1k", "timm"),
        ("timm.models:resnet18", "python"),
        ("hf:somebody/net", "hugging-face"),
        ("hf:net", "hugging-face"),
        ("model.pt2", "exported-program"),
        ("model.pt", "torchscript"),
        ("model.PTH", "torchscript"),
    ],
)
def test_exactly_one_source_claims_a_model(spec: str, kind: str) -> None:
    assert [source.INFO.name for source in every() if source.claims(spec)] == [kind]
    assert find(spec).INFO.name == kind


@pytest.mark.parametrize("spec", ["", "digits", "model.weights.h5", "net.py", "net.py:", "https://host/x", "a b:c"])
def test_what_is_no_model_is_told_the_forms(spec: str) -> None:
    with pytest.raises(BadInput, match=r"x\.onnx.*torchvision:NAME"):
        find(spec)


def test_choosing_and_digesting_imports_no_vendor(tmp_path: Path, tiny_model: FloatModel) -> None:
    (tmp_path / "net.py").write_text("import torch\n")
    (tmp_path / "saved").mkdir()
    for name in ("m.keras", "m.h5", "saved/saved_model.pb"):
        (tmp_path / name).write_bytes(b"not looked into")
    torch.jit.save(torch.jit.script(torch.nn.ReLU()), tmp_path / "net.pt")
    specs = ["digits-cnn", "torchvision:resnet18", "timm:resnet18", str(tiny_model.path), f"{tmp_path}/net.py:f"]
    if discover.versions(("tensorflow",)):
        specs += ["keras:MobileNetV2", f"{tmp_path}/m.keras", f"{tmp_path}/m.h5", f"{tmp_path}/saved"]
    code = (
        "import sys\nfrom lowbit.sources.find import find\n"
        f"for spec in {[*specs, str(tmp_path / 'net.pt')]!r}:\n"
        "    assert find(spec).fingerprint(spec, None)\n"
        "vendors = {'torch', 'torchvision', 'timm', 'transformers', 'onnxruntime', 'sklearn', 'tensorflow', 'keras'}\n"
        "print(sorted(vendors & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- ONNX -------------------------------------------------------------------------------------------------------------


def test_an_onnx_file(tmp_path: Path, tiny_model: FloatModel) -> None:
    model, scores = checked(request(str(tiny_model.path), tmp_path, (3, 8, 8)))
    assert (model.name, model.input_shape, model.outputs) == ("tiny", (3, 8, 8), 4)
    assert (model.input_name, model.output_name, model.probabilities) == ("input", "logits", False)
    assert scores.shape == (16, 4)
    assert model.path == tmp_path / "float.onnx"


def test_an_onnx_file_with_a_fixed_batch(tmp_path: Path, tiny_model: FloatModel) -> None:
    fixed = onnx.load(tiny_model.path)
    for value in (fixed.graph.input[0], fixed.graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_value = 1
    onnx.save(fixed, tmp_path / "fixed.onnx")
    checked(request(str(tmp_path / "fixed.onnx"), tmp_path / "out", (3, 8, 8)))


def test_images_of_another_size_are_refused(tmp_path: Path, tiny_model: FloatModel) -> None:
    with pytest.raises(BadInput, match=r"takes images of 3 × 8 × 8, but preprocessing 'unit' makes 3 × 16 × 16"):
        load(request(str(tiny_model.path), tmp_path, (3, 16, 16)))


def test_weights_for_an_onnx_file_are_refused(tmp_path: Path, tiny_model: FloatModel) -> None:
    with pytest.raises(BadInput, match="brings its own weights"):
        find("x.onnx").fingerprint(str(tiny_model.path), tmp_path / "w.safetensors")


def test_an_onnx_files_fingerprint_follows_its_external_data(tmp_path: Path, tiny_model: FloatModel) -> None:
    path, data = tmp_path / "model.onnx", tmp_path / "data.bin"
    onnx.save(onnx.load(tiny_model.path), path, save_as_external_data=True, location=data.name, size_threshold=0)
    before = find("x.onnx").fingerprint(str(path), None)
    changed = bytearray(data.read_bytes())
    changed[100] ^= 1
    data.write_bytes(changed)
    assert find("x.onnx").fingerprint(str(path), None) != before


# --- the user's own code ----------------------------------------------------------------------------------------------

NET = """
import torch
from torch import nn
from blocks import width

def make():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.ReLU(), nn.Dropout(0.5),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, 5),
    )

ready = make()

def half():
    return make().half()

def needs(width):
    return make()

def wrong():
    return 3

class Two(nn.Module):
    def forward(self, x):
        return x, x

class Branches(nn.Module):
    def forward(self, x):
        y = x.mean((2, 3))
        return y if y.sum() > 0 else -y
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's file that imports its neighbour."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "blocks", raising=False)
    (tmp_path / "blocks.py").write_text("width = 6\n")
    (tmp_path / "net.py").write_text(NET)
    return tmp_path / "net.py"


def state(seed: int = 2) -> dict[str, torch.Tensor]:
    torch.manual_seed(seed)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 6, 3),
        torch.nn.BatchNorm2d(6),
        torch.nn.ReLU(),
        torch.nn.Dropout(),
        torch.nn.AdaptiveAvgPool2d(1),
        torch.nn.Flatten(),
        torch.nn.Linear(6, 5),
    )
    return layers.state_dict()


def test_a_function_in_a_file(net: Path, tmp_path: Path) -> None:
    model, scores = checked(request(f"{net}:make", tmp_path / "out", (3, 8, 8)))
    assert (model.name, model.outputs, scores.shape, model.random_weights) == ("make", 5, (16, 5), False)
    kinds = [node.op_type for node in onnx.load(model.path).graph.node]
    assert "BatchNormalization" not in kinds and "Dropout" not in kinds


@pytest.mark.parametrize("suffix", [".safetensors", ".pt", ".pth"])
def test_weights_fill_the_module(net: Path, tmp_path: Path, suffix: str) -> None:
    """Half precision is cast: the scores are those of the same weights in a module of our own."""
    halves = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in state().items()}
    weights = tmp_path / f"w{suffix}"
    if suffix == ".safetensors":
        save_file(halves, weights)
    else:
        torch.save(halves, weights)
    asked = request(f"{net}:make", tmp_path / "out", (3, 8, 8), weights=weights)
    _, scores = checked(asked)
    x = torch.from_numpy(to_input(asked.calibration.images[:16], asked.preprocess))
    w = {name: tensor.float() for name, tensor in halves.items()}
    y = torch.nn.functional.conv2d(x, w["0.weight"], w["0.bias"])
    y = torch.nn.functional.batch_norm(y, w["1.running_mean"], w["1.running_var"], w["1.weight"], w["1.bias"])
    expected = y.relu().mean((2, 3)) @ w["6.weight"].T + w["6.bias"]
    np.testing.assert_allclose(scores, expected.numpy(), atol=1e-4)


@pytest.mark.parametrize("name", ["ready", "half"])
def test_a_module_itself_and_one_in_half_precision(net: Path, tmp_path: Path, name: str) -> None:
    model, _ = checked(request(f"{net}:{name}", tmp_path / "out", (3, 8, 8)))
    assert onnx.load(model.path).graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT


def test_a_dotted_name(net: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "net", raising=False)
    assert find("net:make").fingerprint("net:make", None)
    model, _ = checked(request("net:make", tmp_path / "out", (3, 8, 8)))
    assert model.outputs == 5


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", r"has no 'missing'; it has make, ready, half, needs, wrong"),
        ("needs", r"raised TypeError.*expected a callable that needs none"),
        ("wrong", "returned a int, expected an nn.Module"),
        ("width", "is a int, expected a callable"),
        ("Two", "returns tuple, expected one tensor"),
        ("Branches", "torch cannot export it to ONNX"),
    ],
)
def test_code_that_makes_no_classifier(net: Path, tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        load(request(f"{net}:{name}", tmp_path / "out", (3, 8, 8)))


@pytest.mark.parametrize("body", ["def make(:", "import no_such_package", "raise SystemExit(3)", "1 / 0"])
def test_code_that_cannot_be_imported(tmp_path: Path, body: str) -> None:
    path = tmp_path / "broken.py"
    path.write_text(body)
    with pytest.raises(BadInput, match=r"importing .*broken\.py raised"):
        load(request(f"{path}:make", tmp_path / "out", (3, 8, 8)))


@pytest.mark.parametrize("spec", ["nowhere.py:make", "no_such_package.module:make"])
def test_code_that_is_not_there(spec: str) -> None:
    with pytest.raises(BadInput, match="no such"):
        find(spec).fingerprint(spec, None)


def test_the_fingerprint_follows_the_code_its_neighbours_and_the_weights(net: Path, tmp_path: Path) -> None:
    spec, weights = f"{net}:make", tmp_path / "w.pt"
    torch.save(state(), weights)
    seen = [find(spec).fingerprint(spec, None), find(spec).fingerprint(spec, weights)]
    (net.parent / "blocks.py").write_text("width = 7\n")
    seen.append(find(spec).fingerprint(spec, None))
    net.write_text(NET + "\n# changed\n")
    seen.append(find(spec).fingerprint(spec, None))
    torch.save(state(seed=3), weights)
    seen.append(find(spec).fingerprint(spec, weights))
    assert len(set(seen)) == 5
    (net.parent / "stranger.py").write_text("not imported by it")
    assert find(spec).fingerprint(spec, weights) == seen[-1]


INNER = """
from pathlib import Path
import torch
from torch import nn

def make():
    net = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))
    net.load_state_dict(torch.load(Path(__file__).with_name("inner.pt")))
    return net
"""


def exported(spec: str, out: Path) -> bytes:
    return load(request(spec, out, (3, 8, 8))).model.path.read_bytes()


def exported_elsewhere(spec: str, out: Path) -> bytes:
    """The same in a process of its own, as in a study, where sets have another order."""
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.runtime.test_sources import exported\n"
        "exported(sys.argv[1], Path(sys.argv[2]))"
    )
    environment = os.environ | {"PYTHONHASHSEED": "1"}
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code, spec, str(out)], cwd=root, env=environment, check=True)
    return (out / GRAPH).read_bytes()


@pytest.mark.slow
def test_weights_that_the_code_reads_itself_are_seen_in_the_graph_alone(tmp_path: Path) -> None:
    """What `stable=False` stands on: the same module gives the same bytes, other weights give others."""
    spec, inner = f"{tmp_path / 'net.py'}:make", tmp_path / "inner.pt"
    (tmp_path / "net.py").write_text(INNER)
    weights = {name.replace("6.", "4."): tensor for name, tensor in state().items() if not name.startswith("1.")}
    torch.save(weights, inner)
    before = find(spec).fingerprint(spec, None)
    first = exported(spec, tmp_path / "first")
    assert exported_elsewhere(spec, tmp_path / "again") == first
    torch.save({**weights, "4.bias": weights["4.bias"] + 1}, inner)
    assert exported(spec, tmp_path / "other") != first
    assert find(spec).fingerprint(spec, None) == before
    assert [source.INFO.name for source in every() if not source.INFO.stable] == ["python"]


@pytest.mark.parametrize(
    ("kind", "said", "extra"),
    [("torchvision", "torchvision:NAME cannot", "torch"), ("keras-file", "x.keras or x.h5 cannot", "tensorflow")],
)
def test_a_missing_package_is_named_with_its_remedy(kind: str, said: str, extra: str) -> None:
    (info,) = (source.INFO for source in every() if source.INFO.name == kind)
    with pytest.raises(BadInput) as error:
        versions(replace(info, packages=("torch", "lowbit-no-such-package")))
    assert said in str(error.value)
    assert f"lowbit-no-such-package is not installed: pip install 'lowbit[{extra}]'" in str(error.value)


def test_torch_is_imported_by_the_users_code_first_and_gets_threads_and_seed_then(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("import torch, torchvision\n\ndef make():\n    return torch.nn.Linear(2, 2)\n")
    code = (
        "import sys\nfrom lowbit.sources._frameworks import prepared\n"
        "from lowbit.sources._user_module import make_model\nfrom lowbit.sources.python import _is_module\n"
        "with prepared(threads=1, seed=7):\n"
        "    before = 'torch' in sys.modules\n"
        "    make_model(sys.argv[1], _is_module)\n"
        "torch = sys.modules['torch']\n"
        "print(before, torch.get_num_threads(), torch.initial_seed(), 'tensorflow' in sys.modules)"
    )
    words = [sys.executable, "-c", code, f"{tmp_path / 'net.py'}:make"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "1", "7", "False"]


@pytest.mark.parametrize(("missing", "extra"), [("torch.nn", "torch"), ("tf_keras", "tensorflow")])
def test_a_framework_that_the_users_code_lacks_is_named_with_its_remedy(
    tmp_path: Path, missing: str, extra: str
) -> None:
    path = tmp_path / "net.py"
    path.write_text(f"raise ModuleNotFoundError('No module named {missing}', name={missing!r})\n")
    with pytest.raises(BadInput, match=rf"importing .*net\.py raised .*; pip install 'lowbit\[{extra}\]'"):
        load(request(f"{path}:make", tmp_path / "out", (3, 8, 8)))


# --- weights that do not fit ------------------------------------------------------------------------------------------


class Malicious:
    """Pickled, it asks whoever reads it to create a file."""

    def __init__(self, trace: Path) -> None:
        self.trace = trace

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (self.trace,)  # type: ignore[return-value]


def test_a_pickle_that_brings_code_is_refused_and_not_run(net: Path, tmp_path: Path) -> None:
    trace, weights = tmp_path / "trace", tmp_path / "w.pt"
    torch.save({"0.weight": Malicious(trace)}, weights)
    torch.load(weights, weights_only=False)
    assert trace.exists(), "read carelessly, it runs"
    trace.unlink()
    with pytest.raises(BadInput, match=r"running code.*safetensors"):
        load(request(f"{net}:make", tmp_path / "out", (3, 8, 8), weights=weights))
    assert not trace.exists()


def test_a_plain_pickle_with_code_is_refused_and_not_run(net: Path, tmp_path: Path) -> None:
    trace, weights = tmp_path / "trace", tmp_path / "w.pth"
    weights.write_bytes(pickle.dumps(Malicious(trace)))
    with pytest.raises(BadInput, match=r"safetensors"):
        load(request(f"{net}:make", tmp_path / "out", (3, 8, 8), weights=weights))
    assert not trace.exists()


def _without(name: str) -> dict[str, torch.Tensor]:
    return {key: tensor for key, tensor in state().items() if key != name}


def _nan() -> dict[str, torch.Tensor]:
    return {**state(), "6.bias": torch.full((5,), float("nan"))}


WRONG_WEIGHTS = [
    (_without("6.bias"), r"the file lacks 6\.bias;"),
    ({**state(), "7.weight": torch.zeros(1)}, r"has 7\.weight too many"),
    ({f"module.{key}": value for key, value in state().items()}, r"has module\.0\.weight.*and 5 more too many"),
    ({**state(), "6.bias": torch.zeros(9)}, r"'6\.bias' has shape \[9\], the model expects \[5\]"),
    (_nan(), r"'6\.bias' holds NaN"),
    ({"epoch": 3, "state_dict": state()}, r"found epoch, state_dict as something else"),
    ([1, 2], "holds a list, expected a state dict"),
]


@pytest.mark.parametrize(("content", "message"), WRONG_WEIGHTS, ids=[message for _, message in WRONG_WEIGHTS])
def test_weights_that_do_not_fit(net: Path, tmp_path: Path, content: object, message: str) -> None:
    torch.save(content, tmp_path / "w.pt")
    with pytest.raises(BadInput, match=message):
        load(request(f"{net}:make", tmp_path / "out", (3, 8, 8), weights=tmp_path / "w.pt"))


@pytest.mark.parametrize("name", ["w.pt", "w.safetensors"])
@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut short"])
def test_files_that_are_no_weights(net: Path, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=name.replace(".", r"\.")):
        load(request(f"{net}:make", tmp_path / "out", (3, 8, 8), weights=tmp_path / name))


def test_missing_weights(net: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such file"):
        find(f"{net}:make").fingerprint(f"{net}:make", tmp_path / "nowhere.pt")


# --- torchvision ------------------------------------------------------------------------------------------------------


def test_an_unknown_network_is_told_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"did you mean .*resnet18"):
        load(request("torchvision:resnet-18", tmp_path, (3, 32, 32)))


def test_an_image_size_that_a_network_cannot_take(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cannot take images of 3 × 32 × 32"):
        load(request("torchvision:alexnet", tmp_path, (3, 32, 32)))


def test_weights_of_another_network(tmp_path: Path) -> None:
    torch.save(state(), tmp_path / "w.pt")
    with pytest.raises(BadInput, match=r"lacks 'fc\.weight', the classifier of torchvision's resnet18"):
        load(request("torchvision:resnet18", tmp_path, (3, 32, 32), weights=tmp_path / "w.pt"))


def test_the_shared_resnet18_reaches_its_accuracy(tmp_path: Path, shared: Path) -> None:
    """86.88 % on all 10,000 test images; a thousand of them here, which Wilson's interval makes 84.6 … 88.8."""
    weights = shared / "models" / "cifar10-resnet18.safetensors"
    asked = request("torchvision:resnet18", tmp_path, (3, 32, 32), preprocess="cifar10", weights=weights)
    model, _ = checked(asked)
    assert (model.outputs, model.random_weights) == (10, False)
    test = open_dataset(str(shared / "data" / "cifar10")).test
    images = to_input(
        np.stack([picture.pixels(asked.preprocess) for picture in test.pictures(range(1000))]), asked.preprocess
    )
    predict = opened(model)
    scores = np.concatenate([predict(part) for part in np.array_split(images, 10)])
    assert 0.846 < (scores.argmax(1) == test.labels[:1000]).mean() < 0.888


@pytest.mark.parametrize("name", ["squeezenet1_1", "resnet18"])
def test_random_networks_tell_images_apart(tmp_path: Path, name: str) -> None:
    asked = request(f"torchvision:{name}", tmp_path, (3, 64, 64), preprocess="imagenet", outputs=10)
    model, scores = checked(asked)
    assert (model.outputs, model.random_weights, model.name) == (10, True, name)
    assert varied(scores)


def test_random_weights_follow_the_seed(tmp_path: Path) -> None:
    first, again, other = (
        random_network(
            "mobilenet_v3_small", request("torchvision:mobilenet_v3_small", tmp_path, (3, 32, 32), seed=seed)
        )
        .state_dict()
        .values()
        for seed in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "alexnet",
        "vgg11",
        "resnet50",
        "densenet121",
        "squeezenet1_1",
        "shufflenet_v2_x1_0",
        "mobilenet_v3_large",
        "efficientnet_b0",
        "regnet_y_400mf",
        "convnext_tiny",
        "vit_b_16",
        "swin_t",
    ],
)
def test_random_networks_at_full_size(tmp_path: Path, name: str) -> None:
    asked = request(f"torchvision:{name}", tmp_path, (3, 224, 224), preprocess="imagenet", outputs=10, count=24)
    model, scores = checked(asked)
    assert varied(scores)
    kinds = {node.op_type for node in onnx.load(model.path).graph.node}
    assert not kinds & {"ScatterND", "Range", "Where", "Identity", "Dropout", "Constant"}  # ViT's Shape is the batch


# --- digits-cnn -------------------------------------------------------------------------------------------------------


def test_digits_cnn_reaches_what_it_should(tmp_path: Path) -> None:
    """At least 98.4 % on the 450 test images, the figure of the article it comes from, with its 32,810 parameters."""
    asked = request("digits-cnn", tmp_path, (1, 8, 8), preprocess="unit,channels=grey")
    model, _ = checked(asked)
    test = open_dataset("digits").test
    images = to_input(
        np.stack([picture.pixels(asked.preprocess) for picture in test.pictures(range(450))]), asked.preprocess
    )
    assert (opened(model)(images).argmax(1) == test.labels).mean() >= 0.984
    graph = onnx.load(model.path).graph
    assert sum(int(np.prod(tensor.dims)) for tensor in graph.initializer if tensor.data_type == 1) == 32_810


def test_digits_cnn_is_trained_the_same_every_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever torch drew before and however many threads it was given."""
    monkeypatch.setattr(torch_digits, "EPOCHS", 1)
    first = torch_digits.trained().state_dict()
    torch.rand(3)
    torch.set_num_threads(2)
    second = torch_digits.trained().state_dict()
    assert torch.get_num_threads() == 2, "training gives the threads back"
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["0.weight"], torch_digits.trained(seed=1).state_dict()["0.weight"])


def test_digits_cnn_takes_digits_only(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="takes grey images of 8 × 8"):
        load(request("digits-cnn", tmp_path, (3, 32, 32)))


# --- float against source ---------------------------------------------------------------------------------------------


def scores_of(rows: Sequence[Sequence[float]]) -> Predict:
    return lambda _images: np.array(rows, np.float32)


def test_check_returns_the_largest_difference() -> None:
    ours, theirs = scores_of([[1.0, 2.0], [3.0, 1.0]]), scores_of([[1.0, 2.0005], [3.0, 1.0]])
    assert check_against_source(ours, theirs, np.zeros((2, 3, 8, 8), np.float32)) == pytest.approx(5e-4, rel=1e-3)


def test_check_lets_a_tie_change_places() -> None:
    ours, theirs = scores_of([[1.00001, 1.0]]), scores_of([[1.0, 1.00001]])
    assert check_against_source(ours, theirs, np.zeros((1, 3, 8, 8), np.float32)) == pytest.approx(1e-5, rel=0.1)


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        ([[1.0, 2.0]], [[1.0, 2.1]], r"differ from its source's by up to 0\.1"),
        ([[1.0, 1.0005]], [[1.0003, 1.0]], "another class than its source for 1 of 1"),
        ([[np.nan, 1.0]], [[0.0, 1.0]], "the float graph gives NaN"),
        ([[0.0, 1.0]], [[np.inf, 1.0]], "the model gives NaN"),
        ([[0.0, 1.0, 2.0]], [[0.0, 1.0]], r"scores \[1, 3\], its source \[1, 2\]"),
    ],
)
def test_check_refuses_another_function(ours: list[list[float]], theirs: list[list[float]], message: str) -> None:
    with pytest.raises(LowbitError, match=message):
        check_against_source(scores_of(ours), scores_of(theirs), np.zeros((1, 3, 8, 8), np.float32))

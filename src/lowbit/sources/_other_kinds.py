"""Kinds of models that lowbit does not read, and what to do instead: one line each."""

from pathlib import Path

from lowbit.sources._keras_names import NETWORKS
from lowbit.sources._torch_files import look_into

_TORCH_EXPORT = "torch.onnx.export(module.eval(), (example,), 'model.onnx', dynamo=True)"
_WEIGHTS = (
    "holds weights without the network they belong to; give the code that makes the network as file.py:name (or "
    "torchvision:NAME), and this file with --weights"
)
_KERAS_WEIGHTS = _WEIGHTS.replace("torchvision:NAME", "keras:NAME")
_TENSORFLOW = "python -m tf2onnx.convert"
_LITERT = "is a LiteRT model for large language models; expected a classifier's float .tflite"
_GIVEN = "where it is quantized: `lowbit compare FLOAT.onnx --given FILE`, with the float model that it was made from"

_BY_SUFFIX = {
    ".weights.h5": _KERAS_WEIGHTS,
    ".pb": f"is a TensorFlow graph; {_TENSORFLOW} --graphdef FILE --inputs A --outputs B --output model.onnx",
    ".litertlm": _LITERT,
    ".safetensors": _WEIGHTS,
    ".xml": f"is an OpenVINO IR; export the network that it was made from to ONNX, in float32; {_GIVEN}",
    ".mlmodel": "is a Core ML model; export the network that it was made from to ONNX, in float32",
    ".engine": "is made by TensorRT for one GPU; give the ONNX file that it was built from",
    ".ort": "is in ONNX Runtime's own form; give the .onnx file that it was made from",
    ".pdmodel": "is a Paddle model; paddle2onnx --model_dir FOLDER --model_filename FILE --save_file model.onnx",
    ".pkl": "is a pickle, which may run any code when it is read; give file.py:name, and weights with --weights",
    ".py": "is Python code; say which callable in it makes the network: FILE:name",
}
_LIKE = {
    ".mlpackage": ".mlmodel", ".trt": ".engine", ".plan": ".engine", ".joblib": ".pkl", ".pickle": ".pkl",
}  # fmt: skip
_OF_TORCH = (".pt", ".pth", ".ckpt", ".bin")


def what_to_do(spec: str) -> str:
    """What `spec` seems to be and how it becomes a model that lowbit reads; empty where nothing is known of it."""
    path = Path(spec)
    if path.is_dir():
        return _of_folder(path)
    if spec in NETWORKS:
        return f"a network of Keras Applications is written keras:{spec}"
    if spec.isidentifier():
        return f"a network of torchvision is written torchvision:{spec}, one of timm timm:{spec}"
    suffix = ".weights.h5" if path.name.lower().endswith(".weights.h5") else path.suffix.lower()
    if suffix in _OF_TORCH:
        return f"it {_of_torch(path)}"
    line = _BY_SUFFIX.get(_LIKE.get(suffix, suffix), "")
    if not line and spec.count("/") == 1 and not path.exists() and not path.parent.exists():
        return f"a model of Hugging Face is written hf:{spec}"
    return f"it {line.replace('FILE', spec)}" if line else ""


def _of_torch(path: Path) -> str:
    """By what lies in the file; nothing of it is unpickled."""
    if not path.is_file():
        return _WEIGHTS
    found = look_into(path)
    if found.kind == "exported":
        return "is an exported program; give it the ending .pt2"
    if found.kind == "objects":
        return (
            f"is a pickle of {_some(found.classes)}, which may run any code when it is read; give the code that makes "
            f"the network as file.py:name and its state dict with --weights, or export it: {_TORCH_EXPORT}"
        )
    if found.kind in ("cut-short", "unknown"):
        return f"is no file of torch, or was cut short ({path.stat().st_size:,} bytes); copy it again"
    return _WEIGHTS


def _of_folder(path: Path) -> str:
    there = {entry.name for entry in path.iterdir()}
    if path.suffix == ".mlpackage":
        return f"it {_BY_SUFFIX['.mlmodel']}"
    graphs = sorted(name for name in there if name.lower().endswith(".onnx"))
    if graphs:
        return f"it is a folder; give the file in it: {path / graphs[0]}"
    if any(name.lower().endswith((".safetensors", ".bin")) for name in there):
        return "it is a folder of weights; expected the config.json beside them that says which network they are of"
    return "it is a folder; give the file of the model itself"


def _some(classes: tuple[str, ...], most: int = 3) -> str:
    """The first few names: of a whole module the first is its own class, as torch writes it."""
    shown = ", ".join(classes[:most])
    return shown if len(classes) <= most else f"{shown} and {len(classes) - most} more"

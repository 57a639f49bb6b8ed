"""Kinds of models that lowbit does not read, and what to do instead: one line each."""

from pathlib import Path

from lowbit.sources._keras_names import NETWORKS

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
    ".pt": f"{_WEIGHTS}; of a whole module or a TorchScript file: {_TORCH_EXPORT}",
    ".safetensors": _WEIGHTS,
    ".pt2": "is an exported program; torch.onnx.export(torch.export.load('FILE'), f='model.onnx', dynamo=True)",
    ".xml": f"is an OpenVINO IR; export the network that it was made from to ONNX, in float32; {_GIVEN}",
    ".mlmodel": "is a Core ML model; export the network that it was made from to ONNX, in float32",
    ".engine": "is made by TensorRT for one GPU; give the ONNX file that it was built from",
    ".ort": "is in ONNX Runtime's own form; give the .onnx file that it was made from",
    ".pdmodel": "is a Paddle model; paddle2onnx --model_dir FOLDER --model_filename FILE --save_file model.onnx",
    ".pkl": "is a pickle, which may run any code when it is read; give file.py:name, and weights with --weights",
    ".py": "is Python code; say which callable in it makes the network: FILE:name",
}
_LIKE = {
    ".pth": ".pt", ".ckpt": ".pt", ".bin": ".safetensors", ".mlpackage": ".mlmodel",
    ".trt": ".engine", ".plan": ".engine", ".joblib": ".pkl", ".pickle": ".pkl",
}  # fmt: skip


def what_to_do(spec: str) -> str:
    """What `spec` seems to be and how it becomes a model that lowbit reads; empty where nothing is known of it."""
    path = Path(spec)
    if path.is_dir():
        return _of_folder(path)
    if spec in NETWORKS:
        return f"a network of Keras Applications is written keras:{spec}"
    if spec.isidentifier():
        return f"a network of torchvision is written torchvision:{spec}"
    suffix = ".weights.h5" if path.name.lower().endswith(".weights.h5") else path.suffix.lower()
    line = _BY_SUFFIX.get(_LIKE.get(suffix, suffix), "")
    return f"it {line.replace('FILE', spec)}" if line else ""


def _of_folder(path: Path) -> str:
    there = {entry.name for entry in path.iterdir()}
    if path.suffix == ".mlpackage":
        return f"it {_BY_SUFFIX['.mlmodel']}"
    graphs = sorted(name for name in there if name.lower().endswith(".onnx"))
    if graphs:
        return f"it is a folder; give the file in it: {path / graphs[0]}"
    if "config.json" in there:
        return f"it is Hugging Face's; optimum-cli export onnx --model {path} FOLDER, then FOLDER/model.onnx"
    return "it is a folder; give the file of the model itself"

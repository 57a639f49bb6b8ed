"""`file.py:name` or `package.module:name`: the user's own code that makes an `nn.Module` or a Keras model."""

import re
import sys
from pathlib import Path
from typing import Any

from lowbit.core import digest, discover
from lowbit.core.errors import BadInput
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, digest_weights

INFO = SourceInfo(
    name="python",
    form="file.py:name or package.module:name",
    packages=(),  # the user's code decides whether torch or TensorFlow is needed
    extra=None,
    default_preprocess=None,
    stable=False,
)

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_OTHER_KINDS = ("hf", "keras", "timm", "torchvision")  # before a colon they are kinds of their own
_FRAMEWORKS = ("torch", "safetensors", "tensorflow", "keras", "tf-keras")


def claims(spec: str) -> bool:
    """A .py file or a dotted name, a colon, a name; `torchvision:NAME` and the like are kinds of their own."""
    module, _, name = spec.rpartition(":")
    dotted = _DOTTED.fullmatch(module) is not None and module not in _OTHER_KINDS
    return (module.endswith(".py") or dotted) and name.isidentifier()


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the user's code, of the weights and of the frameworks; not of files or other packages that it uses."""
    from lowbit.sources._user_code import files_of

    code = digest.of_files(files_of(spec.rpartition(":")[0]))
    return digest.of_value([spec.rpartition(":")[2], code, digest_weights(weights), discover.versions(_FRAMEWORKS)])


def load(request: SourceRequest) -> Loaded:
    """Run the user's code, fill what it makes, export it. Without weights it is taken as the code leaves it."""
    from lowbit.sources._frameworks import prepared
    from lowbit.sources._keras_model import is_keras_model
    from lowbit.sources._user_module import make_model

    with prepared(request.threads, request.seed):
        model: Any = make_model(request.spec, lambda value: is_keras_model(value) or _is_module(value))
    name = request.spec.rpartition(":")[2]
    source_digest = fingerprint(request.spec, request.weights)
    if is_keras_model(model):  # asked first: a Keras that runs on torch makes models that are modules too
        return _load_keras(model, request, name, source_digest)
    from lowbit.sources.torch_export import load_module
    from lowbit.sources.torch_weights import put_weights, read_weights

    if request.weights is not None:
        put_weights(model, read_weights(request.weights), f"--weights {request.weights}")
    return load_module(model, request, name=name, source_digest=source_digest)


def _is_module(value: object) -> bool:
    """Whether `value` is an `nn.Module`; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(value, torch.nn.Module)


def _load_keras(model: Any, request: SourceRequest, name: str, source_digest: str) -> Loaded:
    from lowbit.sources._keras_model import build, load_keras
    from lowbit.sources._keras_weights import put_weights

    keras = sys.modules.get("keras")
    if keras is not None and isinstance(model, keras.Model) and keras.backend.backend() != "tensorflow":
        raise BadInput(
            f"{request.spec}: its Keras runs on {keras.backend.backend()}, expected TensorFlow, through which Keras "
            "models are converted; set KERAS_BACKEND=tensorflow"
        )
    if request.weights is not None:
        build(model, request.sample_shape, request.spec)
        put_weights(model, request.weights)
    return load_keras(model, request, name=name, source_digest=source_digest)

"""`file.py:name` or `package.module:name`: the user's own code that makes an `nn.Module`."""

import re
from pathlib import Path

from lowbit.core import digest
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, digest_weights, versions

INFO = SourceInfo(
    name="python",
    form="file.py:name or package.module:name",
    packages=("torch", "safetensors"),
    extra="torch",
    default_preprocess=None,
    stable=False,
)

_DOTTED = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_OTHER_KINDS = ("hf", "timm", "torchvision")  # what stands before the colon of a model that is no module of the user's


def claims(spec: str) -> bool:
    """A .py file or a dotted name, a colon, a name; `torchvision:NAME` and the like are kinds of their own."""
    module, _, name = spec.rpartition(":")
    dotted = _DOTTED.fullmatch(module) is not None and module not in _OTHER_KINDS
    return (module.endswith(".py") or dotted) and name.isidentifier()


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the user's code, of the weights and of the packages; not of files or other packages that it uses."""
    from lowbit.sources._user_code import files_of

    code = digest.of_files(files_of(spec.rpartition(":")[0]))
    return digest.of_value([spec.rpartition(":")[2], code, digest_weights(weights), versions(INFO)])


def load(request: SourceRequest) -> Loaded:
    """Run the user's code, fill the module, export it. Without weights it is taken as the code leaves it."""
    import torch

    from lowbit.sources.torch_export import load_module
    from lowbit.sources.torch_user import make_module
    from lowbit.sources.torch_weights import put_weights, read_weights

    torch.set_num_threads(request.threads)
    torch.manual_seed(request.seed)
    module = make_module(request.spec)
    if request.weights is not None:
        put_weights(module, read_weights(request.weights), f"--weights {request.weights}")
    source_digest = fingerprint(request.spec, request.weights)
    return load_module(module, request, name=request.spec.rpartition(":")[2], source_digest=source_digest)

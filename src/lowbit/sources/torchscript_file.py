"""`x.pt`: a network that `torch.jit.save` wrote, traced or scripted. Other files of that ending are told apart."""

from pathlib import Path

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, refuse_weights, versions
from lowbit.sources._torch_files import look_into

INFO = SourceInfo(
    name="torchscript",
    form="x.pt of TorchScript",
    packages=("torch",),
    extra="torch",
    default_preprocess=None,
    stable=True,
)

_ENDINGS = (".pt", ".pth", ".torchscript")


def claims(spec: str) -> bool:
    """A path that ends in .pt, .pth or .torchscript, unless a file lies there that holds something else."""
    path = Path(spec)
    if path.suffix.lower() not in _ENDINGS:
        return False
    return not path.is_file() or look_into(path).kind in ("torchscript", "cut-short")


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the file and of the packages that read it; BadInput where it is missing or cut short."""
    refuse_weights(INFO, weights)
    path = Path(spec)
    if not path.is_file():
        raise BadInput(
            f"{spec}: {'a folder' if path.is_dir() else 'no such file'}; expected a file of torch.jit.save (weights "
            "alone belong behind --weights)"
        )
    if look_into(path).kind != "torchscript":
        raise BadInput(
            f"{spec}: was cut short ({path.stat().st_size:,} bytes, a zip file without its end); copy it again"
        )
    return digest.of_value([digest.of_files([path]), versions(INFO)])


def load(request: SourceRequest) -> Loaded:
    """Read the network, export it to ONNX, free its batch size; the source is the network itself."""
    import torch

    from lowbit.sources.torch_script import load_script

    torch.set_num_threads(request.threads)
    return load_script(request, fingerprint(request.spec, request.weights))

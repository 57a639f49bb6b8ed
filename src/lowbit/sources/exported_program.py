"""`x.pt2`: a network that `torch.export.save` wrote, read so that nothing in the file can run code."""

from pathlib import Path

from lowbit.core import digest
from lowbit.core.errors import BadInput
from lowbit.sources._edge import Loaded, SourceInfo, SourceRequest, refuse_weights, versions
from lowbit.sources._torch_files import look_into

INFO = SourceInfo(
    name="exported-program",
    form="x.pt2",
    packages=("torch",),
    extra="torch",
    default_preprocess=None,
    stable=True,
)


def claims(spec: str) -> bool:
    """A path that ends in .pt2."""
    return spec.lower().endswith(".pt2")


def fingerprint(spec: str, weights: Path | None) -> str:
    """Digest of the file and of the packages that read it; BadInput where it is no exported program."""
    refuse_weights(INFO, weights)
    path = Path(spec)
    if not path.is_file():
        raise BadInput(f"{spec}: {'a folder' if path.is_dir() else 'no such file'}; expected the path of a .pt2 file")
    kind = look_into(path).kind
    if kind == "torchscript":
        raise BadInput(f"{spec}: is a TorchScript file, not an exported program; give it the ending .pt")
    if kind != "exported":
        found = "was cut short" if kind == "cut-short" else "is no file of torch.export.save"
        raise BadInput(
            f"{spec}: {found} ({path.stat().st_size:,} bytes); expected an exported program: copy the file again, or "
            "save it with torch.export.save(torch.export.export(module.eval(), (example,)), 'x.pt2')"
        )
    return digest.of_value([digest.of_files([path]), versions(INFO)])


def load(request: SourceRequest) -> Loaded:
    """Read the program, export it to ONNX, free its batch size; the source is the program itself."""
    import torch

    from lowbit.sources.torch_program import load_program

    torch.set_num_threads(request.threads)
    return load_program(request, fingerprint(request.spec, request.weights))

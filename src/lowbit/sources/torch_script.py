"""A TorchScript file becomes the float graph, by the exporter that torch keeps for TorchScript (`dynamo=False`)."""

import tempfile
from contextlib import suppress
from pathlib import Path

import onnx
import torch
from torch import nn

from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said, said
from lowbit.graph.check import check_graph
from lowbit.sources._edge import Loaded, SourceRequest
from lowbit.sources._exported import from_graph
from lowbit.sources.torch_export import OPSET, check_module, predict_with, quiet


def load_script(request: SourceRequest, source_digest: str) -> Loaded:
    """Export the network, in float32 and evaluation mode, and write the float graph; the source is the network itself.

    A trace may have its batch size built in: then the graph is exported with it and freed afterwards.
    """
    path = Path(request.spec)
    with quiet():
        module = _read(path)
        graph = _export(module, request, free=_takes_any_number(module, request))
    run = predict_with(module)
    return from_graph(graph, request, lambda _: (run, ()), name=path.stem, source_digest=source_digest)


def _read(path: Path) -> nn.Module:
    try:
        module: nn.Module = torch.jit.load(str(path), map_location="cpu")  # type: ignore[no-untyped-call]
        return module.float().eval()
    except Exception as error:  # a damaged file makes torch raise nearly anything
        raise BadInput(
            f"{path}: torch cannot read it as TorchScript: {kind_and_said(error)}; save it again with torch.jit.save"
        ) from error


def _takes_any_number(module: nn.Module, request: SourceRequest) -> bool:
    """Whether two images at once give two rows of scores; False where only one does. BadInput where none does."""
    try:
        check_module(module, request)
    except BadInput:
        with suppress(Exception), torch.inference_mode():
            scores = module(torch.zeros(1, *request.sample_shape))
            if isinstance(scores, torch.Tensor) and scores.ndim == 2 and len(scores) == 1:
                return False
        raise
    return True


def _export(module: nn.Module, request: SourceRequest, *, free: bool) -> onnx.ModelProto:
    with tempfile.TemporaryDirectory(prefix="lowbit-") as folder:
        written = Path(folder) / "exported.onnx"
        try:
            torch.onnx.export(
                module,
                (torch.zeros(2 if free else 1, *request.sample_shape),),
                written,
                dynamo=False,
                opset_version=OPSET,
                input_names=["input"],
                output_names=["logits"],
                dynamic_axes={"input": {0: "batch"}, "logits": {0: "batch"}} if free else None,
            )
        except Exception as error:  # the exporter raises whatever its own steps raise
            raise BadInput(
                f"{request.spec}: torch cannot export it to ONNX: {said(error)}; export the network that it was made "
                "from (torch.onnx.export(module.eval(), (example,), 'model.onnx', dynamo=True)), in float32"
            ) from error
        return check_graph(onnx.load(written), request.spec)

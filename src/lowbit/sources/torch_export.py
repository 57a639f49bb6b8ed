"""An `nn.Module` becomes the float graph, by torch's own exporter."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import onnx
import torch
from torch import Tensor, nn

from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said
from lowbit.graph.check import check_graph
from lowbit.sources._edge import Loaded, Predict, SourceRequest
from lowbit.sources._float import write_float

OPSET = 20


def load_module(
    module: nn.Module,
    request: SourceRequest,
    *,
    name: str,
    source_digest: str,
    random_weights: bool = False,
    notes: tuple[str, ...] = (),
    class_names: tuple[str, ...] = (),
) -> Loaded:
    """Export `module`, in float32 and evaluation mode, and write the float graph; the source is the module itself."""
    module = module.float().eval().requires_grad_(requires_grad=False)
    _plain_pools(module)
    check_module(module, request)
    model = write_float(
        export(module, request),
        request,
        name=name,
        source_digest=source_digest,
        random_weights=random_weights,
        notes=notes,
        class_names=class_names,
    )
    return Loaded(model, predict_with(module))


def export(module: nn.Module, request: SourceRequest) -> onnx.ModelProto:
    """The module as an ONNX graph with a free batch size; BadInput, with torch's words, when torch cannot export it."""
    example = torch.zeros(2, *request.sample_shape)  # 2: an axis of 1 would be taken for a fixed one
    try:
        with quiet():
            program = torch.onnx.export(
                module,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                dynamic_shapes=({0: torch.export.Dim("batch", min=1)},),
                input_names=["input"],
                output_names=["logits"],
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as error:
        raise BadInput(
            f"{request.spec}: torch cannot export it to ONNX with a free batch size: {kind_and_said(error)}; "
            "write its forward without data-dependent control flow, or export it yourself and give the .onnx file"
        ) from error
    assert program is not None  # with dynamo=True a program always comes back
    return check_graph(program.model_proto, request.spec)


@contextmanager
def quiet() -> Iterator[None]:
    """Without the warnings, and the messages below errors, that torch's exporters write about every network."""
    levels = {name: logging.getLogger(name).level for name in ("torch", "onnxscript", "torch.onnx")}
    for logger in levels:
        logging.getLogger(logger).setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in levels.items():
            logging.getLogger(logger).setLevel(level)


def predict_with(module: nn.Module) -> Predict:
    """The module as a function of arrays."""

    def predict(images: Floats) -> Floats:
        with torch.inference_mode():
            scores: Floats = module(torch.from_numpy(np.ascontiguousarray(images))).numpy()
        return scores

    return predict


def check_module(module: nn.Module, request: SourceRequest) -> None:
    """BadInput unless two images of the data's size give two rows of float scores."""
    try:
        with torch.inference_mode():
            scores = module(torch.zeros(2, *request.sample_shape))
    except Exception as error:  # the user's own forward may raise anything
        shape = " × ".join(str(side) for side in request.sample_shape)
        raise BadInput(
            f"{request.spec}: cannot take images of {shape} (channels × height × width): {kind_and_said(error)}; "
            "set resize, crop and channels of --preprocess to what the model expects"
        ) from error
    if not isinstance(scores, torch.Tensor):
        raise BadInput(
            f"{request.spec}: returns {type(scores).__name__}, expected one tensor of class scores [N, classes]; "
            "wrap it in a module that returns the scores only"
        )
    if scores.ndim != 2 or len(scores) != 2 or not scores.is_floating_point():
        raise BadInput(
            f"{request.spec}: two images give {scores.dtype} of shape {list(scores.shape)}, expected float "
            "[2, classes]; end it with Flatten, or give a classifier"
        )


class GlobalMean(nn.Module):
    """AdaptiveAvgPool2d(1), [N, C, H, W] → [N, C, 1, 1], without its eye to memory layout."""

    def forward(self, x: Tensor) -> Tensor:
        """The mean over both sides."""
        return x.mean((2, 3), keepdim=True)


def _plain_pools(module: nn.Module) -> None:
    """Exchange global average pools: torch exports one that is fed channels last (Swin) as index arithmetic."""
    for parent in list(module.modules()):
        for name, child in parent.named_children():
            if isinstance(child, nn.AdaptiveAvgPool2d) and child.output_size in (1, (1, 1)):
                setattr(parent, name, GlobalMean())

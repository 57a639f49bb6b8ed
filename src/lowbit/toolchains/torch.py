"""The torch toolchain: float ONNX → torch modules → FX or dynamic quantization → TorchScript that unpickles no code.

Quantization by torch.ao is deprecated in favour of torchao's; this file stays thin, and silences the warnings locally.
"""

import warnings
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any
from zipfile import ZipFile, ZipInfo

from lowbit.core.adapter import BuildRequest, Built, ToolchainInfo
from lowbit.core.errors import UnsupportedError
from lowbit.core.recipe import Recipe
from lowbit.core.refusal import vendor_call
from lowbit.toolchains._edge import Calibration, metadata

INFO = ToolchainInfo(
    name="torch",
    packages=("torch", "onnx-ir", "numpy"),
    extra="torch",
    makes="torchscript",
    made_for=("torch",),
    recipes=(
        Recipe("fp32", 32, 32, "float"),
        Recipe(
            "bf16",
            32,
            16,
            "float",
            runtime_options={"precision": "bf16"},
            note="the fp32 file; the session computes convolutions and matrix products in bfloat16",
        ),
        Recipe("int8-dynamic", 8, 8, "dynamic"),
        Recipe(
            "fp16-dynamic",
            16,
            32,
            "float",
            note="only Linear layers hold half-precision weights; everything computes in float",
            on_request=True,
        ),
        Recipe("int8-static", 8, 8, "integer", {"qconfig": "x86"}),
    ),
    refuses={
        "fp16": "torch's CPU kernels gain nothing from half precision; fp16-dynamic stores the weights of Linear so",
        "int8-mixed": "int8-static is that already: symmetric weights, asymmetric activations",
        "int16x8": "torch has no 16-bit integer activations",
        "int8-weight-only": "torch's FX quantization has no weight-only scheme for convolutions",
    },
)

_CALIBRATION_BATCH = 64
_DEBUG = ".debug_pkl"  # records of source lines: paths of the machine that built the file, and different every time


def build(request: BuildRequest) -> Built:
    """Import, quantize, trace and save. Raises UnsupportedError in torch's own words where a step refuses."""
    import torch

    from lowbit.torchgraph.importer import import_graph

    torch.set_num_threads(request.threads)
    module = import_graph(request.model.path).requires_grad_(False)
    example = torch.zeros(2, *request.model.input_shape)
    calibration = Calibration(request, _CALIBRATION_BATCH)
    notes: tuple[str, ...] = ()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if request.recipe.claim == "dynamic":
            module, notes = _dynamic(module, torch.qint8)
        elif request.recipe.weight_bits == 16:
            module, _ = _dynamic(module, torch.float16)
        elif request.recipe.claim == "integer":
            module = _static(module, example, calibration, request)
        main = request.out / "model.pt"
        _save(module, example, main, request)
    return Built(main=main, calibration_s=calibration.seconds or None, notes=notes)


def _dynamic(module: Any, kind: Any) -> tuple[Any, tuple[str, ...]]:
    """Linear layers with weights of the type `kind`, and a note of which layers stay float.

    With qint8 their inputs are quantized at every call; with float16 they compute in float.
    """
    import torch

    if not any(isinstance(part, torch.nn.Linear) for part in module.modules()):
        raise UnsupportedError("torch quantizes only Linear layers dynamically, and this model has none")
    ao: Any = torch.ao.quantization  # carries no types
    quantized = ao.quantize_dynamic(module, {torch.nn.Linear}, dtype=kind)
    floats = Counter(type(part).__name__ for part in quantized.modules() if list(part.parameters(recurse=False)))
    stays = ", ".join(f"{count} {name}" for name, count in sorted(floats.items()))
    return quantized, (f"stays float: {stays} (torch quantizes only Linear dynamically)",) if stays else ()


def _static(module: Any, example: Any, calibration: Calibration, request: BuildRequest) -> Any:
    """FX quantization: histogram observers see every calibration image once, then layers are replaced.

    A Softmax or Sigmoid that ends the graph stays in float: 8 bits of a probability know nothing between 0 and 1/256.
    """
    import onnx
    import torch
    from torch.ao.quantization import get_default_qconfig_mapping
    from torch.ao.quantization.quantize_fx import convert_fx, prepare_fx

    from lowbit.graph.scores import closing_nodes

    backend = request.recipe.options["qconfig"]
    if backend not in torch.backends.quantized.supported_engines:
        raise UnsupportedError(f"this build of torch has no quantized engine {backend!r}")
    torch.backends.quantized.engine = backend
    mapping = get_default_qconfig_mapping(backend)
    for name in closing_nodes(onnx.load(request.model.path)):
        mapping.set_module_name(name, None)  # modules bear the names of the graph's nodes
    refused = partial(
        vendor_call, "torch's FX quantization refuses the model", request.model.path, errors=(RuntimeError,)
    )
    with refused():
        observed = prepare_fx(module, mapping, (example,))
    with torch.inference_mode():
        for batch in calibration:
            images = torch.from_numpy(batch)
            with refused():
                observed(images)
    with refused():
        return convert_fx(observed)


def _save(module: Any, example: Any, path: Path, request: BuildRequest) -> None:
    """Trace `module` and save it as TorchScript: the batch stays free, weights become constants of the one graph.

    A frozen graph is saved as a function, since classes get running numbers and the same build would differ twice.
    """
    import torch

    jit: Any = torch.jit  # carries no types
    refused = vendor_call("torch.jit.trace refuses the model", request.model.path, errors=(RuntimeError,))
    with torch.no_grad(), refused:
        frozen = jit.freeze(jit.trace(module, example, check_trace=False))
    graph = frozen.inlined_graph.copy()
    graph.eraseInput(0)  # self: after freezing nobody asks for it
    function: Any = torch._C._create_function_from_graph("forward", graph)
    function.save(str(path))
    _tidy(path, metadata(request.preprocess))


def _tidy(path: Path, entries: dict[str, str]) -> None:
    """Rewrite the archive without debug records, and with `entries` as extra files (`torch.jit.load` reads them)."""
    with ZipFile(path) as archive:
        records = [(record, archive.read(record)) for record in archive.infolist()]
    root = records[0][0].filename.partition("/")[0]
    with ZipFile(path, "w") as archive:
        for record, content in records:
            if not record.filename.endswith((_DEBUG, "serialization_id")):
                record.extra = b""
                archive.writestr(record, content)
        for key, text in entries.items():
            archive.writestr(ZipInfo(f"{root}/extra/{key}"), text)  # ZipInfo's date is fixed

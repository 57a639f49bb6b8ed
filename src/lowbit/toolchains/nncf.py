"""NNCF, Intel's compression tool, on OpenVINO's graph: OpenVINO IR files."""

import os
from typing import Any

from lowbit.core.adapter import BuildRequest, Built, ToolchainInfo
from lowbit.core.recipe import Recipe
from lowbit.core.refusal import vendor_call
from lowbit.toolchains._edge import Calibration, metadata

INFO = ToolchainInfo(
    name="nncf",
    packages=("openvino", "nncf", "numpy"),
    extra="openvino",
    makes="openvino-ir",
    made_for=("openvino",),
    recipes=(
        Recipe("fp32", 32, 32, "float"),
        Recipe("fp16", 16, 32, "float", note="storage only: OpenVINO unpacks fp16 weights and computes in fp32"),
        Recipe("bf16", 32, 16, "float", runtime_options={"precision": "bf16"}, note="the fp32 file, run in bf16"),
        Recipe("int8-static", 8, 8, "integer", options={"preset": "performance"}),
        Recipe("int8-mixed", 8, 8, "integer", options={"preset": "mixed"}),
        Recipe("int8-weight-only", 8, 32, "weight-only", options={"mode": "int8_asym"}),
    ),
    refuses={
        "int8-dynamic": "NNCF fixes activation ranges at calibration; it has no dynamic quantization of convolutions",
        "int16x8": "NNCF quantizes activations to 8 bits only, and OpenVINO has no 16-bit integer kernels",
    },
)

_REFUSED = "NNCF cannot quantize the model"


def build(request: BuildRequest) -> Built:
    """Write `model.xml` and `model.bin`."""
    os.environ.setdefault("NNCF_CI", "1")  # NNCF's own switch: its telemetry becomes a stub
    import openvino as ov

    from lowbit.formats.openvino.tidy import fold_constants, number_by_place

    recipe = request.recipe
    calibration = Calibration(request, 1)
    with vendor_call("OpenVINO cannot read the model", request.model.path):
        model = ov.Core().read_model(request.model.path)
    given = {node.get_friendly_name() for node in model.get_ops() if node.get_friendly_name() != node.get_name()}
    fold_constants(model)
    number_by_place(model, given)  # NNCF makes names out of names
    if "preset" in recipe.options:
        model = _quantize(model, request, calibration)
    elif "mode" in recipe.options:
        model = _compress(model, request)
    number_by_place(model, given)
    for key, value in metadata(request.preprocess).items():
        model.set_rt_info(value, key.split("."))
    main = request.out / "model.xml"
    ov.save_model(model, main, compress_to_fp16=recipe.weight_bits == 16)
    return Built(main, calibration_s=calibration.seconds or None)


def _quantize(model: Any, request: BuildRequest, calibration: Calibration) -> Any:
    """Static quantization; `performance` is symmetric throughout, `mixed` has asymmetric activations."""
    import nncf

    data, preset = nncf.Dataset(calibration), nncf.QuantizationPreset(request.recipe.options["preset"])
    with vendor_call(_REFUSED, request.model.path):
        return nncf.quantize(model, data, preset=preset, subset_size=len(request.calibration))


def _compress(model: Any, request: BuildRequest) -> Any:
    """8-bit weights on disk with a scale and zero point per channel, for convolutions and matrix products alike."""
    import nncf

    mode = nncf.CompressWeightsMode(request.recipe.options["mode"])
    with vendor_call(_REFUSED, request.model.path):
        return nncf.compress_weights(model, mode=mode)

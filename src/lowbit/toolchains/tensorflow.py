"""The TensorFlow toolchain: float ONNX → a Keras twin → `.tflite` by TensorFlow's own converter, which quantizes.

The converter calibrates with TFLite's reference of the float file: it runs without XNNPACK and looks at every tensor of
every image, which takes several times as long as running the file.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lowbit.core.adapter import BuildRequest, Built, ToolchainInfo
from lowbit.core.errors import UnsupportedError
from lowbit.core.recipe import Recipe
from lowbit.core.refusal import vendor_call
from lowbit.formats.litert.metadata import with_metadata
from lowbit.toolchains._edge import Calibration, metadata
from lowbit.toolchains._tflite import check_file

if TYPE_CHECKING:
    from lowbit.toolchains._tensorflow_twin import Twin

_MOST_OF_THE_TRAINED = 512  # images of all that the control was trained on, to calibrate it: more only widen its ranges
_TRAINING = ("tensorflow-model-optimization", "keras")  # of the control too: it is trained from the same model
_EPOCHS = 3  # where --epochs does not say otherwise

INFO = ToolchainInfo(
    name="tensorflow",
    packages=("tensorflow", "tf-keras", "onnx-ir", "onnxruntime", "numpy"),
    extra="tensorflow",
    makes="tflite",
    made_for=("litert", "openvino"),
    recipes=(
        Recipe("fp32", 32, 32, "float"),
        Recipe(
            "fp16",
            16,
            32,
            "float",
            {"types": "float16"},
            note="storage only: on a CPU LiteRT casts the weights back to fp32 and computes in fp32",
        ),
        Recipe("int8-dynamic", 8, 8, "dynamic", {"types": "int8"}, made_for=("litert",)),
        Recipe("int8-static", 8, 8, "integer", {"types": "int8", "calibrate": True}),
        Recipe(
            "int8-integer-only",
            8,
            8,
            "integer",
            {"types": "int8", "calibrate": True, "operators": "int8", "border": "int8"},
            note="takes and gives int8: pictures must be quantized before they are fed (lowbit does it)",
        ),
        Recipe(
            "int8-integer-only-uint8",
            8,
            8,
            "integer",
            {"types": "int8", "calibrate": True, "operators": "int8", "border": "uint8"},
            note="takes and gives uint8: pictures must be quantized before they are fed (lowbit does it)",
            on_request=True,
        ),
        Recipe(
            "int16x8",
            8,
            16,
            "integer",
            {"types": "int8", "calibrate": True, "operators": "int16x8"},
            note="XNNPACK has no 16-bit integer kernels: LiteRT's own ones are many times slower",
            made_for=("litert",),
            slow_in=("litert",),
        ),
        Recipe(
            "int8-qat",
            8,
            8,
            "integer",
            {"types": "int8", "trained": True},
            on_request=True,
            packages=_TRAINING,
            epochs=_EPOCHS,
            control="int8-qat-control",
        ),
        Recipe(
            "int8-qat-control",
            8,
            8,
            "integer",
            {"types": "int8", "calibrate": True, "most": _MOST_OF_THE_TRAINED},
            on_request=True,
            packages=_TRAINING,
            epochs=_EPOCHS,
        ),
    ),
    refuses={
        "bf16": "LiteRT's CPU kernels compute float in 32 bits: a file of bfloat16 would be storage only, as fp16 is",
        "int8-mixed": "int8-static is that already: symmetric weights, asymmetric activations",
        "int8-weight-only": "the converter has none: its weights of 8 bits are int8-dynamic, whose kernels are hybrid",
        "int8-keras": "Keras' own quantize('int8') covers Dense, EinsumDense and Embedding, not convolutions, and its "
        "int8 products are no operators of TFLite",
    },
    families=("int8-integer-only-uint8", "int8-qat"),
)


def build(request: BuildRequest) -> Built:
    """Make the twin for the batch size, hold it against the float graph, convert it, and look at the file.

    Raises UnsupportedError for an operator that the twin lacks, and in the converter's words where it refuses.
    """
    from lowbit.toolchains._tensorflow_twin import begin, make_twin

    begin(request.threads)
    recipe, notes = request.recipe, []
    twin = make_twin(request, request.batch_size)
    twin.check(request)
    weights = twin.kernels()
    if recipe.epochs is not None:
        from lowbit.toolchains._tensorflow_training import train

        twin, told = train(request)
        notes += told
    calibration = Calibration(request, request.batch_size, recipe.options.get("most"))
    content = _convert(request, twin, calibration)
    main = request.out / "model.tflite"
    main.write_bytes(with_metadata(content, metadata(request.preprocess)))
    check_file(main, recipe, weights)
    if request.model.probabilities and recipe.claim == "integer":
        notes.append(_GRID)
    return Built(
        main=main,
        calibration_s=calibration.seconds or None,
        notes=tuple(notes),
        calibration_samples=calibration.count,
    )


_GRID = "its Softmax or Sigmoid is quantized too: scores lie on a grid of 1/256, and small ones may tie"


def _convert(request: BuildRequest, twin: "Twin", calibration: Calibration) -> bytes:
    """The twin as a .tflite file. The graph is frozen before: with variables the converter may write a file without.

    Calibration images are read batch by batch inside the converter's call; the last batch is filled up with its last
    image, which changes no range.
    """
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    options = request.recipe.options
    with vendor_call("TensorFlow cannot freeze the model", request.model.path):
        frozen = convert_variables_to_constants_v2(twin.function)
        converter: Any = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
    if options:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if options.get("types") == "float16":
        converter.target_spec.supported_types = [tf.float16]
    if options.get("operators") == "int8":
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    if options.get("operators") == "int16x8":
        converter.target_spec.supported_ops = [
            tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
            tf.lite.OpsSet.TFLITE_BUILTINS,
        ]
    if border := options.get("border"):
        converter.inference_input_type = converter.inference_output_type = tf.as_dtype(border)
    if options.get("calibrate"):
        converter.representative_dataset = lambda: ([twin.fed(batch)] for batch in calibration)
    with vendor_call("TensorFlow's converter refuses the model", request.model.path), _lacking():
        return bytes(converter.convert())


@contextmanager
def _lacking() -> Iterator[None]:
    """An error that names operators, as one sentence: the converter's own message quotes the code that called it."""
    from tensorflow.lite.python.convert_phase import ConverterError

    try:
        yield
    except ConverterError as error:
        names = sorted({str(each.operator.name) for each in error.errors} - {""})
        if not names:
            raise
        raise UnsupportedError(
            f"TFLite has no operator for {', '.join(names)}, says TensorFlow's converter",
            "export the model without it, or leave out the toolchain tensorflow",
        ) from error

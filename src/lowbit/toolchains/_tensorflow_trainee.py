"""What is trained: the user's own Keras model where that can be, the Keras twin of the float graph otherwise.

The float graph, and so its twin, has every BatchNormalization folded into a convolution. Training goes further with
them: they hold each channel at one scale while its weights move.
"""

import os
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowbit.core.adapter import BuildRequest
from lowbit.core.errors import LowbitError, UnsupportedError
from lowbit.core.refusal import vendor_call
from lowbit.toolchains._tensorflow_twin import Twin, make_twin, traced

_CHECKED = 32  # images in a batch while the user's own model is held against the float graph


@dataclass(frozen=True, slots=True)
class Trainee:
    """A model that can be made again and again with the weights that it begins with.

    - name: what it is, in words for the user
    - make: the model for batches of so many images
    - aware: a copy of a model with fake quantizers, and in words the layers that have none
    """

    name: str
    make: Callable[[int], Twin]
    aware: Callable[[Any], tuple[Any, str]]


def trainee(request: BuildRequest) -> Trainee:
    """What is trained for quantization, and as its control: the same for both.

    The user's own model is it where Keras 2 has it, its scores are the float graph's, and
    tensorflow-model-optimization wraps all of it. Where it is not, the name says why.
    """
    name = "the Keras twin of the float graph"
    if request.model.keras_file is not None:
        try:
            return _own(request, request.model.keras_file)
        except LowbitError as error:
            reason = error.reason if isinstance(error, UnsupportedError) else str(error)
            name = f"{name}, since the model itself cannot be: {reason}"
    return Trainee(name, lambda size: make_twin(request, size), lambda model: _by_layer(model, request.model.path))


def _own(request: BuildRequest, path: Path) -> Trainee:
    """The user's own model. Raises LowbitError where it cannot be trained, or is another function."""

    def make(size: int) -> Twin:
        model = _loaded(path)
        with vendor_call(f"Keras 2 cannot run the model on {size} images", path):
            return traced(model, request.model.input_shape, size)

    def aware(model: Any) -> tuple[Any, str]:
        import tensorflow_model_optimization as tfmot

        with vendor_call("tensorflow-model-optimization refuses the model", path):
            return tfmot.quantization.keras.quantize_model(model), ""

    student = make(_CHECKED)
    student.check(request)
    aware(student.model)
    return Trainee("the model itself, its BatchNormalizations not folded", make, aware)


def _loaded(path: Path) -> Any:
    """The model in a Keras file as a model of tf_keras, which is Keras 2; carried over where Keras 3 has saved it."""
    import tf_keras

    try:
        with vendor_call("Keras 2 cannot read it", path):
            return tf_keras.models.load_model(path, compile=False)
    except UnsupportedError:  # it reads nothing that Keras 3 has saved
        return _carried_over(path)


def _carried_over(path: Path) -> Any:
    """The model in a file of Keras 3 as a model of tf_keras."""
    os.environ["KERAS_BACKEND"] = "tensorflow"
    import keras

    from lowbit.toolchains._tensorflow_keras_3 import as_keras_2

    with vendor_call("neither Keras 2 nor Keras 3 can read it", path):
        model = keras.models.load_model(path, compile=False)
    with vendor_call("Keras 2 does not have all that is in it", path):
        return as_keras_2(model)


def _by_layer(model: Any, path: Path) -> tuple[Any, str]:
    """The twin with fake quantizers in all layers that tensorflow-model-optimization knows.

    It knows a BatchNormalization only behind a convolution, where the float graph has it folded.
    """
    import tensorflow_model_optimization as tfmot
    import tf_keras

    from lowbit.kerasgraph.operation import Operation

    keras = tfmot.quantization.keras
    registry = keras.default_8bit.Default8BitQuantizeRegistry()
    left: Counter[str] = Counter()

    def annotated(layer: Any) -> Any:
        if registry.supports(layer):
            return keras.quantize_annotate_layer(layer)
        if not isinstance(layer, tf_keras.layers.InputLayer):
            left[type(layer).__name__] += 1
        return layer

    with (
        vendor_call("tensorflow-model-optimization refuses the model", path),
        keras.quantize_scope({"Operation": Operation}),
    ):
        marked = tf_keras.models.clone_model(model, clone_function=annotated)
        marked.set_weights(model.get_weights())
        quantized = keras.quantize_apply(marked)
    return quantized, ", ".join(f"{count} {name}" for name, count in sorted(left.items()))

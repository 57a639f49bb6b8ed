"""A Keras model in memory, of Keras 3 or tf_keras, becomes the float graph."""

import sys
from typing import Any

from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said
from lowbit.sources._edge import Loaded, SourceRequest
from lowbit.sources._tensorflow import Function, load_function

_HALVES = ("float16", "bfloat16")


def is_keras_model(value: object) -> bool:
    """Whether `value` is a model of a Keras that is loaded; imports none."""
    loaded = [sys.modules[name] for name in ("keras", "tf_keras") if name in sys.modules]
    kinds = tuple(module.Model for module in loaded if hasattr(module, "Model"))
    return isinstance(value, kinds)


def load_keras(
    model: Any,
    request: SourceRequest,
    *,
    name: str,
    source_digest: str,
    random_weights: bool = False,
) -> Loaded:
    """Write the float graph of `model`; the source is the model itself. BadInput when it has not exactly one input."""
    build(model, request.sample_shape, request.spec)
    notes = _in_float32(model)
    return load_function(
        keras_function(model, request.spec),
        request,
        name=name,
        source_digest=source_digest,
        random_weights=random_weights,
        notes=notes,
    )


def build(model: Any, sample_shape: tuple[int, int, int], where: str) -> None:
    """Let a model that makes its weights with its first images see one of (C, H, W); BadInput where it cannot."""
    import tensorflow as tf

    if model.built:
        return
    channels, height, width = sample_shape
    try:
        model(tf.zeros((1, height, width, channels)), training=False)
    except Exception as error:  # a model of the user's own may raise anything
        raise BadInput(
            f"{where}: cannot take images of {height} × {width} × {channels}: {kind_and_said(error)}; "
            "set resize, crop and channels of --preprocess to what the model expects"
        ) from error


def keras_function(model: Any, spec: str) -> Function:
    """The model in inference mode."""
    import tensorflow as tf

    def call(images: Any) -> Any:
        return model(images, training=False)

    inputs = tf.nest.flatten(getattr(model, "inputs", None) or [])
    if len(inputs) > 1:
        raise BadInput(
            f"{spec}: has {len(inputs)} inputs ({', '.join(value.name for value in inputs)}), expected one image "
            "[N, H, W, C]; give the classifier with the image as its only input"
        )
    if not inputs:  # its code takes what it is given
        return Function(call, None)
    (value,) = inputs
    shape = tf.TensorShape(value.shape)
    return Function(call, None if shape.rank is None else tuple(shape.as_list()), tf.as_dtype(value.dtype).name)


def _in_float32(model: Any) -> tuple[str, ...]:
    """Let every layer compute in float32 with the weights that it has; a note where one did not.

    Networks that were trained in mixed precision hold their weights in float32 and round every tensor to 16 bits.
    """
    changed: set[str] = set()
    for layer in model._flatten_layers():
        if layer.compute_dtype not in _HALVES:
            continue
        changed.add(layer.compute_dtype)
        if hasattr(layer, "_set_dtype_policy"):  # tf_keras has no public way
            layer._set_dtype_policy("float32")
        else:
            layer.dtype_policy = "float32"
    if not changed:
        return ()
    kinds = " and ".join(sorted(changed))
    return (f"the model computes in {kinds}: the float graph, and what it is compared with, in float32",)

"""Keras Applications, their heads sized to the weights or to the data, and random ones that tell images apart."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput, LowbitError
from lowbit.core.text import kind_and_said
from lowbit.data.preprocess import to_input
from lowbit.sources._edge import SourceRequest
from lowbit.sources._keras_names import network
from lowbit.sources._keras_weights import put_weights, shapes_in

IMAGENET_CLASSES = 1000
SEEN = 64  # calibration images a random network sees: ample for means and variances, bearable on a CPU
_BATCH = 16


def trained_network(name: str, weights: Path, request: SourceRequest) -> Any:
    """Keras' `name` with the user's weights, its head as large as theirs. BadInput when they do not fit."""
    outputs = _outputs(_build(name, request, IMAGENET_CLASSES), name, weights)
    model = _build(name, request, outputs)
    put_weights(model, weights)
    return model


def random_network(name: str, request: SourceRequest) -> Any:
    """Keras' `name` with seeded random weights whose scores differ from image to image.

    As Keras draws them, images can hardly be told apart. So BatchNormalization takes its statistics from calibration
    images, and the head is shifted and scaled so that every score has mean 0 and standard deviation 1 over them.
    LowbitError when images still cannot be told apart.
    """
    model = _build(name, request, request.outputs or IMAGENET_CLASSES)
    if request.structure_only:
        return model
    images = to_input(request.calibration.images[:SEEN], request.preprocess).transpose(0, 2, 3, 1)
    batches = np.array_split(images, -(-len(images) // _BATCH))
    _measure_norms(model, batches)
    _standardize(model, batches)
    _check_varied(_scores(model, batches), request)
    return model


def _build(name: str, request: SourceRequest, outputs: int) -> Any:
    """The network, giving logits, for images of the data's size."""
    import keras

    network(name)
    channels, height, width = request.sample_shape
    try:
        return getattr(keras.applications, name)(
            weights=None, input_shape=(height, width, channels), classes=outputs, classifier_activation=None
        )
    except ValueError as error:
        raise BadInput(
            f"{request.spec}: cannot take images of {channels} × {height} × {width} (channels × height × width): "
            f"{kind_and_said(error)}; set resize, crop and channels of --preprocess to what the network expects"
        ) from error


def _outputs(model: Any, name: str, weights: Path) -> int:
    """How many classes the head in `weights` has: what differs from the same network for ImageNet's 1,000."""
    there = shapes_in(weights)
    here = Counter(tuple(value.shape) for value in model.weights if "float" in str(value.dtype))
    others = {shape[-1] for shape in there - here}
    if len(others) > 1 or {shape[-1] for shape in here - there} - {IMAGENET_CLASSES}:
        raise BadInput(
            f"--weights {weights}: its arrays have other shapes than those of {name}; give weights of keras:{name}, as "
            "model.save_weights('x.weights.h5') or model.save('x.keras') writes them"
        )
    return others.pop() if others else IMAGENET_CLASSES


def _measure_norms(model: Any, batches: Sequence[Floats]) -> None:
    """One pass in which BatchNormalization alone is in training mode: its statistics become the images'."""
    import keras

    norms = [layer for layer in model._flatten_layers() if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.call = _in_training(norm.call)
    for number, batch in enumerate(batches):
        for norm in norms:
            norm.momentum = number / (number + 1)  # a plain average over the batches
        model(batch, training=False)
    for norm, momentum in zip(norms, momenta, strict=True):
        del norm.call
        norm.momentum = momentum


def _in_training(call: Any) -> Any:
    """A layer's `call` that does not hear that the network is not being trained."""

    def trained(inputs: Any, training: bool | None = None, mask: Any = None) -> Any:  # noqa: ARG001 - Keras passes it
        return call(inputs, training=True, mask=mask)

    return trained


def _standardize(model: Any, batches: Sequence[Floats]) -> None:
    """Scale and shift the head, the last layer with a kernel, whose outputs are the scores."""
    head = [layer for layer in model.layers if hasattr(layer, "kernel")][-1]
    scores = _scores(model, batches).astype(np.float64)
    mean, deviation = scores.mean(0), scores.std(0)
    scale = 1 / np.where(deviation > 0, deviation, 1.0)
    head.kernel.assign((head.kernel.numpy() * scale).astype(np.float32))
    head.bias.assign(((head.bias.numpy() - mean) * scale).astype(np.float32))


def _scores(model: Any, batches: Sequence[Floats]) -> Floats:
    scores: Floats = np.concatenate([model(batch, training=False).numpy() for batch in batches])
    return scores


def _check_varied(scores: Floats, request: SourceRequest) -> None:
    classes = len(set(scores.argmax(1).tolist()))
    if classes < 2 or not bool(np.isfinite(scores).all()):
        raise LowbitError(
            f"{request.spec}: with random weights all of {len(scores)} calibration images get one class, or "
            "scores that are not finite; nothing can be compared: give --weights, another --seed, or images that differ"
        )

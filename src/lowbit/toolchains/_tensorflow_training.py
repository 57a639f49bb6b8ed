"""Fine-tuning with Keras' means: quantization-aware by tensorflow-model-optimization, or float, as its control.

What quantization-aware training gains may be what fine-tuning gains. So both are trained alike: the same pictures in
the same order, optimizer and number of epochs. The control is quantized after training.
"""

import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import BuildRequest, Floats
from lowbit.core.errors import UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.refusal import vendor_call
from lowbit.data.preprocess import to_input
from lowbit.toolchains._edge import right_outputs
from lowbit.toolchains._tensorflow_trainee import trainee
from lowbit.toolchains._tensorflow_twin import Twin, traced

_BATCH = 32
_RATE = 1e-4  # Adam's, falling to 0 along half a cosine
_DECAY = 0.999  # of tensorflow-model-optimization's moving averages of ranges
_PASSES = 8  # over as many batches, to begin the ranges


def train(request: BuildRequest) -> tuple[Twin, list[str]]:
    """What is made of the model by training on the labelled calibration pictures, and sentences for the user.

    Raises BadInput where the labels are none of the model's outputs, and UnsupportedError where
    tensorflow-model-optimization refuses the model.
    """
    import tf_keras

    epochs, count = request.recipe.epochs or 0, len(request.calibration)
    targets, what = _targets(request), trainee(request)
    size = min(_BATCH, count)
    tf_keras.utils.set_random_seed(request.seed)
    student, shipped = what.make(size), what.make(request.batch_size).model
    model = student.model
    passes = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    notes = [f"trained for {passes} on the {count:,} labelled calibration images: {what.name}"]
    if request.recipe.options.get("trained"):
        model, left = what.aware(model)
        shipped, _ = what.aware(shipped)
        if left:
            notes.append(f"not trained for quantization, and left in float: {left}")
        some = itertools.islice(_batches(request, targets, size, 0), _PASSES)
        begin_ranges(model, [student.fed(images) for images, _ in some])
    _fit(request, model, student, targets, size, epochs)
    shipped.set_weights(model.get_weights())
    return traced(shipped, request.model.input_shape, request.batch_size), notes


def _targets(request: BuildRequest) -> npt.NDArray[np.int64]:
    """The output that is right, for each calibration picture."""
    if request.model.outputs < 2:
        raise UnsupportedError("training needs an output for each class, and this model has one output for two")
    return right_outputs(request.calibration, request.classes, request.model.outputs)


def _batches(
    request: BuildRequest, targets: npt.NDArray[np.int64], size: int, epoch: int
) -> Iterator[tuple[Floats, npt.NDArray[np.int64]]]:
    """All pictures [size, C, H, W] and targets once, in an order of the epoch; what fills no batch is left out."""
    order = np.random.default_rng((request.seed, epoch)).permutation(len(targets))
    for start in range(0, len(order) - size + 1, size):
        chosen = np.sort(order[start : start + size])
        yield to_input(request.calibration.images[chosen], request.preprocess), targets[chosen]


def loss_of(model: FloatModel) -> Any:
    """The cross-entropy of the right outputs.

    Behind a Softmax Keras computes it from what the Softmax reads: from rounded probabilities no gradient would reach
    a picture whose right output has a probability near 0.
    """
    import tf_keras

    return tf_keras.losses.SparseCategoricalCrossentropy(from_logits=not model.probabilities)


def _fit(
    request: BuildRequest, model: Any, student: Twin, targets: npt.NDArray[np.int64], size: int, epochs: int
) -> None:
    """Train `model` in place."""
    import tf_keras

    steps = max(1, epochs * (len(targets) // size))
    rate = tf_keras.optimizers.schedules.CosineDecay(_RATE, steps)
    with vendor_call("Keras cannot train the model", request.model.path):
        model.compile(tf_keras.optimizers.Adam(rate), loss_of(request.model))
    for epoch in range(epochs):
        for images, answers in _batches(request, targets, size, epoch):
            with vendor_call("Keras cannot train the model", request.model.path):
                model.train_on_batch(student.fed(images), answers)


def begin_ranges(model: Any, batches: Sequence[Floats]) -> None:
    """Let the ranges of activations begin at those of real pictures.

    tensorflow-model-optimization begins at −6 to 6 and moves by a thousandth of the way in each step, so that a short
    training would end far from them. What a batch had is where one such step points to. Layers are reached one after
    the other, since each reads what the one before it was limited to.

    Ranges of weights, which are taken anew in each step, and that of the input, which takes in all that it sees, are
    right without this: they stay where they are when the same pictures come again, and moving averages move.
    """
    import tensorflow as tf

    step = tf.function(lambda images: model(images, training=True))
    first = tf.constant(batches[0])
    numbers = [each for each in model.non_trainable_weights if each.shape.rank == 0 and each.dtype.is_floating]
    step(first)
    seen = [each.numpy() for each in numbers]
    step(first)
    limits = [each for each, old in zip(numbers, seen, strict=True) if each.numpy() != old]
    for number in range(_PASSES):
        before = [each.numpy() for each in limits]
        step(tf.constant(batches[number % len(batches)]))
        for limit, old in zip(limits, before, strict=True):
            limit.assign(old + (limit.numpy() - old) / (1 - _DECAY))

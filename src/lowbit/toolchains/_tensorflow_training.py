"""Fine-tuning with Keras' means: quantization-aware by tensorflow-model-optimization, or float, as its control.

What quantization-aware training gains may be what fine-tuning gains. So both are trained alike: the same pictures in
the same order, optimizer and number of epochs. The control is quantized after training.
"""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from lowbit.core.adapter import BuildRequest, Floats
from lowbit.core.errors import BadInput, UnsupportedError
from lowbit.core.refusal import vendor_call
from lowbit.data.preprocess import to_input
from lowbit.toolchains._tensorflow_twin import Twin, make_twin, traced

_BATCH = 32
_RATE = 1e-4  # Adam's, falling to 0 along half a cosine
_DECAY = 0.999  # of tensorflow-model-optimization's moving averages of ranges
_PASSES = 8  # over as many batches, to begin the ranges


def train(request: BuildRequest, twin: Twin) -> tuple[Twin, list[str]]:
    """The twin after training on the labelled calibration pictures, and sentences for the user.

    Raises BadInput where the labels are none of the model's outputs, and UnsupportedError where
    tensorflow-model-optimization refuses the model.
    """
    import tf_keras

    epochs, count = request.recipe.epochs or 0, len(request.calibration)
    targets = _targets(request)
    aware = bool(request.recipe.options.get("trained"))
    size = min(_BATCH, count)
    tf_keras.utils.set_random_seed(request.seed)
    student = make_twin(request, size)
    passes = f"{epochs} epoch{'s' if epochs > 1 else ''}"
    notes = [f"trained for {passes} on the {count:,} labelled calibration images"]
    model, shipped = student.model, _again(request, twin)
    if aware:
        model, left = _aware(request, model)
        shipped, _ = _aware(request, shipped)
        if left:
            notes.append(f"not trained for quantization, and left in float: {left}")
        some = itertools.islice(_batches(request, targets, size, 0), _PASSES)
        _begin_ranges(model, [student.fed(images) for images, _ in some])
    _fit(request, model, student, targets, size, epochs)
    shipped.set_weights(model.get_weights())
    return traced(shipped, request.model.input_shape, twin.batch_size), notes


def _again(request: BuildRequest, twin: Twin) -> Any:
    """Another model of the float graph for the twin's batch size: it gets the trained weights and is converted."""
    from lowbit.kerasgraph.importer import import_graph

    return import_graph(request.model.path, twin.batch_size)


def _targets(request: BuildRequest) -> npt.NDArray[np.int64]:
    """The output that is right, for each calibration picture."""
    outputs = request.classes or tuple(range(len(request.calibration.class_names)))
    if request.model.outputs < 2:
        raise UnsupportedError("training needs an output for each class, and this model has one output for two")
    found = np.asarray(outputs, np.int64)[request.calibration.labels]
    if found.size and int(found.max()) >= request.model.outputs:
        raise BadInput(
            f"training needs labels that are outputs of the model: the data has {len(outputs)} classes, the model "
            f"{request.model.outputs} outputs; say with --labels which output a class is"
        )
    return found


def _batches(
    request: BuildRequest, targets: npt.NDArray[np.int64], size: int, epoch: int
) -> Iterator[tuple[Floats, npt.NDArray[np.int64]]]:
    """All pictures [size, C, H, W] and targets once, in an order of the epoch; what fills no batch is left out."""
    order = np.random.default_rng((request.seed, epoch)).permutation(len(targets))
    for start in range(0, len(order) - size + 1, size):
        chosen = np.sort(order[start : start + size])
        yield to_input(request.calibration.images[chosen], request.preprocess), targets[chosen]


def _fit(
    request: BuildRequest, model: Any, student: Twin, targets: npt.NDArray[np.int64], size: int, epochs: int
) -> None:
    """Train `model` in place."""
    import tf_keras

    steps = max(1, epochs * (len(targets) // size))
    rate = tf_keras.optimizers.schedules.CosineDecay(_RATE, steps)
    loss = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=not request.model.probabilities)
    with vendor_call("Keras cannot train the model", request.model.path):
        model.compile(tf_keras.optimizers.Adam(rate), loss)
    for epoch in range(epochs):
        for images, answers in _batches(request, targets, size, epoch):
            with vendor_call("Keras cannot train the model", request.model.path):
                model.train_on_batch(student.fed(images), answers)


def _aware(request: BuildRequest, model: Any) -> tuple[Any, str]:
    """The model with fake quantizers, and in words the layers that have none.

    As a whole, or by layer where tensorflow-model-optimization does not know some: it knows a BatchNormalization only
    behind a convolution, where the float graph has it folded.
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
        vendor_call("tensorflow-model-optimization refuses the model", request.model.path),
        keras.quantize_scope({"Operation": Operation}),
    ):
        marked = tf_keras.models.clone_model(model, clone_function=annotated)
        marked.set_weights(model.get_weights())
        quantized = keras.quantize_apply(marked)
    return quantized, ", ".join(f"{count} {name}" for name, count in sorted(left.items()))


def _begin_ranges(model: Any, batches: Sequence[Floats]) -> None:
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

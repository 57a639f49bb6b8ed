"""The Keras twin of a float graph: made for one batch size, traced as one function, held against the float graph."""

import contextlib
import math
import zlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from lowbit.core.adapter import BuildRequest, Floats
from lowbit.core.errors import LowbitError
from lowbit.data.cache import batches

TOLERANCE = 1e-4  # of the largest score, or of 1 where that is smaller
_IMAGES = 32  # real images that the twin is held against the float graph on


@dataclass(frozen=True, slots=True, eq=False)
class Twin:
    """A Keras model of the same function as the float graph.

    - model: the tf_keras model
    - function: the model at inference as a concrete function of one batch
    - batch_size: images in that batch
    - channels_last: whether it takes [N, H, W, C]
    """

    model: Any
    function: Any
    batch_size: int
    channels_last: bool

    def fed(self, images: Floats) -> Floats:
        """Images [<= batch_size, C, H, W] as the model takes them; a short batch repeats its last image."""
        missing = self.batch_size - len(images)
        if missing:
            images = np.concatenate([images, np.repeat(images[-1:], missing, axis=0)])
        return np.ascontiguousarray(images.transpose(0, 2, 3, 1) if self.channels_last else images)

    def predict(self, images: Floats) -> Floats:
        """Scores [N, outputs] of images [N, C, H, W]; N at most the batch size."""
        import tensorflow as tf

        result = self.function(tf.constant(self.fed(images)))
        scores = result[0] if isinstance(result, list | tuple) else result
        return np.asarray(scores, np.float32)[: len(images)]

    def kernels(self) -> int:
        """How many numbers all different kernels hold; biases and what is normalized do not count."""
        kernels = [weight for weight in self.model.get_weights() if weight.ndim > 1]
        return sum({(weight.shape, zlib.crc32(weight)): weight.size for weight in kernels}.values())

    def check(self, request: BuildRequest) -> None:
        """Raises LowbitError where the twin's scores differ from the float graph's on real images."""
        float_predict = _float_graph(request)
        most, largest = 0.0, 1.0
        for count, images in enumerate(batches(request.calibration, request.preprocess, self.batch_size)):
            if count * self.batch_size >= _IMAGES:
                break
            theirs = float_predict(images)
            ours = self.predict(images)
            if ours.shape != theirs.shape:
                raise LowbitError(
                    f"the Keras twin gives scores {list(ours.shape)}, the float graph {list(theirs.shape)}"
                )
            difference = float(np.abs(ours - theirs).max(initial=0.0))
            most = difference if math.isnan(difference) else max(most, difference)
            largest = max(largest, float(np.abs(theirs).max(initial=0.0)))
        if not most <= TOLERANCE * largest:
            raise LowbitError(
                f"the Keras twin's scores differ from the float graph's by up to {most:.3g} on real images (largest "
                f"score {largest:.3g}, expected at most {TOLERANCE * largest:.1g}): the twin is another function"
            )


def make_twin(request: BuildRequest, batch_size: int) -> Twin:
    """The twin of the float graph for batches of `batch_size` images."""
    from lowbit.kerasgraph.importer import import_graph

    return traced(import_graph(request.model.path, batch_size), request.model.input_shape, batch_size)


def traced(model: Any, input_shape: tuple[int, int, int], batch_size: int) -> Twin:
    """A Keras model with its function at inference."""
    import tensorflow as tf

    shape = tuple(int(size) for size in model.inputs[0].shape[1:])
    wanted = tf.TensorSpec((batch_size, *shape), tf.float32, name="images")
    function = tf.function(lambda x: model(x, training=False)).get_concrete_function(wanted)
    return Twin(model, function, batch_size, channels_last=shape != input_shape)


def begin(threads: int) -> None:
    """Let TensorFlow use as many threads, and number its layers from 0.

    It takes no other number of threads once it has computed something.
    """
    import tensorflow as tf
    import tf_keras

    tf_keras.backend.clear_session()  # layers of an earlier build would make names, and so files, differ
    with contextlib.suppress(RuntimeError):
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(1)


def _float_graph(request: BuildRequest) -> Any:
    """The float graph in ONNX Runtime: images [N, C, H, W] → scores."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = request.threads
    options.log_severity_level = 3
    path = str(request.model.path)
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(None, {request.model.input_name: images})[0]

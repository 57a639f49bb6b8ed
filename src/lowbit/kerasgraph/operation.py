"""The layer for what Keras has no layer for: a function of tensors, with its constants."""

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras

_FUNCTIONS: list[Callable[..., Any]] = []  # a layer's configuration holds only a place in it: it can be copied


class Operation(tf_keras.layers.Layer):  # type: ignore[misc]
    """A function of one tensor or several.

    It is found by its place in a list of this process, since tensorflow-model-optimization copies layers by their
    configuration. So a model with such layers is built anew, and never stored.
    """

    def __init__(self, place: int, **kwargs: Any) -> None:
        super().__init__(autocast=False, **kwargs)
        self.place = place

    def call(self, inputs: Any) -> Any:
        """The function of `inputs`, a tensor or a list of tensors."""
        return _FUNCTIONS[self.place](*(inputs if isinstance(inputs, list | tuple) else [inputs]))

    def get_config(self) -> dict[str, Any]:
        """All that is needed to make it again in this process."""
        return {**super().get_config(), "place": self.place}


def operation(function: Callable[..., Any], name: str) -> Operation:
    """The layer that computes `function`."""
    _FUNCTIONS.append(tf.autograph.experimental.do_not_convert(function))  # its branches are Python's, not the graph's
    return Operation(len(_FUNCTIONS) - 1, name=name)

"""A model of Keras 3 as one of Keras 2: tensorflow-model-optimization knows layers of Keras 2 only.

Both call their layers by the same names and arguments. What Keras 2 lacks is refused. Whether both are the same
function is for the caller to see.
"""

import inspect
from collections.abc import Mapping
from typing import Any

from lowbit.core.errors import UnsupportedError

_TENSOR = "__keras_tensor__"  # in a node's arguments: what another layer gave


def as_keras_2(model: Any) -> Any:
    """A tf_keras model of the same layers with the same weights. UnsupportedError for what Keras 2 does not have."""
    import tf_keras

    made: dict[str, Any] = {}
    given: dict[str, Any] = {}
    config = _functional(model).get_config()
    for entry in config["layers"]:
        name, kind, nodes = entry["name"], entry["class_name"], entry["inbound_nodes"]
        if kind == "InputLayer":
            shape = entry["config"]["batch_shape"]
            given[name] = tf_keras.Input(shape[1:], batch_size=shape[0], name=name, dtype=entry["config"]["dtype"])
            continue
        if len(nodes) != 1:
            raise UnsupportedError(f"its layer {name!r} is called {len(nodes)} times, and Keras 2 gets it called once")
        made[name] = _layer(kind, entry["config"])
        given[name] = made[name](_inputs(nodes[0], given, name))
    ends = [given[name] for name in _names(config["output_layers"])]
    starts = [given[name] for name in _names(config["input_layers"])]
    result = tf_keras.Model(starts if len(starts) > 1 else starts[0], ends if len(ends) > 1 else ends[0])
    for name, layer in made.items():
        layer.set_weights(model.get_layer(name).get_weights())
    return result


def _functional(model: Any) -> Any:
    """The model as a graph of layers; a Sequential holds one."""
    import keras

    if isinstance(model, keras.Sequential):
        model = keras.Model(model.inputs, model.outputs)
    if not isinstance(model.get_config().get("layers"), list):
        raise UnsupportedError("it is no graph of layers: its own code calls them")
    return model


def _names(ends: Any) -> list[str]:
    """Names of the layers in `input_layers` or `output_layers`: one [name, node, place], or a list of them."""
    return [ends[0]] if isinstance(ends[0], str) else [end[0] for end in ends]


def _layer(kind: str, config: Mapping[str, Any]) -> Any:
    """Keras 2's layer of the same name, with the arguments that it knows."""
    import tf_keras

    cls = getattr(tf_keras.layers, kind, None)
    if cls is None:
        raise UnsupportedError(f"Keras 2 has no layer {kind}")
    known = {*inspect.signature(cls.__init__).parameters, "name", "trainable"} - {"dtype"}
    return cls.from_config({key: value for key, value in config.items() if key in known})


def _inputs(node: Mapping[str, Any], given: Mapping[str, Any], name: str) -> Any:
    """What the layer `name` reads: one tensor, or a list of them."""
    others = [key for key, value in node["kwargs"].items() if value not in (None, False)]
    if len(node["args"]) != 1 or others:
        raise UnsupportedError(f"its layer {name!r} takes more than one argument")

    def tensor(value: Any) -> Any:
        if not isinstance(value, dict) or value.get("class_name") != _TENSOR:
            raise UnsupportedError(f"its layer {name!r} reads a constant")
        return given[value["config"]["keras_history"][0]]

    (argument,) = node["args"]
    return [tensor(each) for each in argument] if isinstance(argument, list | tuple) else tensor(argument)

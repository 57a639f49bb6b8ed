"""What a Keras file says of itself before it is loaded: who wrote it, its layers, and whether they hold code."""

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lowbit.core.errors import BadInput
from lowbit.core.text import said
from lowbit.sources._edge import SAY_TRUST

_CODE = ("Lambda", "__lambda__", "ClassMethod")
_NAMING = ("TFOpLambda", "SlicingOpLambda")  # Keras 2: a layer that calls a function of TensorFlow by its name
_HARMLESS = re.compile(
    r"(compat\.v1\.)?((__operators__|math|nn|image|linalg|signal)\.\w+|(reshape|concat|transpose|cast|shape|strided_slice|"
    r"slice|stack|unstack|split|expand_dims|squeeze|pad|identity|ones_like|zeros_like|tile|gather|clip_by_value|where|"
    r"convert_to_tensor|broadcast_to|reverse|add|subtract|multiply|divide|maximum|minimum|abs|exp|square|sqrt|tanh|"
    r"sigmoid|reduce_(mean|sum|max|min|prod)|tensordot|matmul|einsum|stop_gradient|ensure_shape))"
)
_OWN = ("keras", "builtins", "tensorflow", "tf_keras")  # packages whose classes Keras' files name
_SHOWN = 3  # layers that a message lists


@dataclass(frozen=True, slots=True)
class Stranger:
    """A class or function that is no part of Keras.

    - name: its name in Python
    - registered: the name under which Keras looks for it
    - module: where Python finds it; None where the file does not say
    """

    name: str
    registered: str
    module: str | None

    def __str__(self) -> str:
        return f"{self.name} of {self.module}" if self.module is not None else self.name


@dataclass(frozen=True, slots=True)
class KerasFile:
    """What is written in a Keras file besides weights.

    - version: of the Keras that wrote it; empty where the file does not say
    - code: names of layers whose code is in the file, or that call functions which may do anything
    - strangers: what the file does not hold and Keras does not have
    """

    path: Path
    version: str
    code: tuple[str, ...]
    strangers: tuple[Stranger, ...]

    @property
    def needs_trust(self) -> bool:
        """Whether reading the model runs code that is no part of Keras."""
        return bool(self.code or self.strangers)


def read_keras_file(path: Path) -> KerasFile:
    """Read the description of the network in `path`, a .keras or HDF5 file, without Keras.

    BadInput where the file is cut short, is something else, or holds weights only.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "no such file"
        raise BadInput(f"{path}: {found}; expected the path of a Keras model, .keras or .h5")
    try:
        version, network = _of_zip(path) if path.suffix.lower() == ".keras" else _of_hdf5(path)
    except (OSError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise BadInput(
            f"{path}: no Keras model, or cut short ({path.stat().st_size:,} bytes; {said(error)}); save it again with "
            "model.save('x.keras'), or copy the file again"
        ) from error
    nodes = list(_nodes(network))
    code = [_name(node) for node in nodes if _holds_code(node)]  # a Lambda layer, then its lambda
    code = [name for name in code if name != "__lambda__"] or code
    strangers = [_stranger(node) for node in nodes if _is_strange(node)]
    return KerasFile(path, version, tuple(dict.fromkeys(code)), tuple(dict.fromkeys(strangers)))


def refuse_code(file: KerasFile) -> None:
    """BadInput where reading the file would run code that is no part of Keras."""
    if file.code:
        raise BadInput(
            f"{file.path}: brings code of its own along ({_some(file.code)}), which would be run; {SAY_TRUST} "
            "where you know who made it, or write the layer with keras.ops and save the model again"
        )
    if file.strangers:
        raise BadInput(
            f"{file.path}: has classes that are no part of Keras ({_some(file.strangers)}), and a file does not hold "
            f"their code; give file.py:name, a function that imports them and returns the model, or {SAY_TRUST} where "
            "Python can import them from an installed package or from beside the file"
        )


def _of_zip(path: Path) -> tuple[str, Any]:
    with zipfile.ZipFile(path) as archive:
        version = json.loads(archive.read("metadata.json")).get("keras_version", "")
        network = json.loads(archive.read("config.json"))
    if not isinstance(network, dict):
        raise ValueError("config.json holds no layers")
    return str(version), {key: value for key, value in network.items() if key != "compile_config"}


def _of_hdf5(path: Path) -> tuple[str, Any]:
    import h5py

    with h5py.File(path, "r") as file:
        network, version = file.attrs.get("model_config"), file.attrs.get("keras_version", "")
        weights = network is None and len(file) > 0
    if weights:
        raise BadInput(
            f"{path}: holds weights without the network they belong to; give the code that makes the network as "
            "file.py:name (or keras:NAME), and this file with --weights"
        )
    return _text(version), json.loads(_text(network))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _nodes(value: Any) -> Iterator[dict[str, Any]]:
    """Every object that is written down in `value`: layers, initializers, functions."""
    if isinstance(value, dict):
        if isinstance(value.get("class_name"), str):
            yield value
        for each in value.values():
            yield from _nodes(each)
    elif isinstance(value, list):
        for each in value:
            yield from _nodes(each)


def _holds_code(node: dict[str, Any]) -> bool:
    kind, config = node["class_name"], node.get("config")
    if kind in _NAMING:
        function = config.get("function") if isinstance(config, dict) else None
        return not isinstance(function, str) or _HARMLESS.fullmatch(function) is None
    return kind in _CODE


def _is_strange(node: dict[str, Any]) -> bool:
    """Whether a class is somebody's own: of another package, or registered under a name with a package before it."""
    module, found = node.get("module"), _stranger(node)
    if isinstance(module, str) and module.partition(".")[0] not in _OWN:
        return True
    if "module" in node and module is None and node.get("registered_name"):  # of the script that saved the model
        return True
    return ">" in found.registered and not found.registered.startswith("keras>")


def _name(node: dict[str, Any]) -> str:
    config = node.get("config")
    name = config.get("name") if isinstance(config, dict) else None
    return f"{node['class_name']} {name!r}" if isinstance(name, str) else str(node["class_name"])


def _stranger(node: dict[str, Any]) -> Stranger:
    module, config = node.get("module"), node.get("config")
    name = config if node["class_name"] == "function" and isinstance(config, str) else str(node["class_name"])
    registered = str(node.get("registered_name") or name)
    known = module if isinstance(module, str) and module not in ("builtins", "__main__") else None
    return Stranger(name.rpartition(">")[2], registered, known)


def _some(names: Sequence[object]) -> str:
    shown = ", ".join(map(str, names[:_SHOWN]))
    return shown if len(names) <= _SHOWN else f"{shown} and {len(names) - _SHOWN} more"

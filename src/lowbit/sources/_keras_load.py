"""A Keras file becomes a model in memory: by Keras 3, or by tf_keras where Keras 3 cannot read an older file."""

import importlib
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said
from lowbit.sources._keras_config import KerasFile, read_keras_file, refuse_code
from lowbit.sources._user_module import searched_first

_KERAS_3 = Version("3")


def load_file(path: Path, *, trust: bool) -> Any:
    """The model in `path`. BadInput where it cannot be read, or where that would run code and `trust` is not given.

    With `trust`, code in the file is run, and classes that it names are imported, also from the folder of the file.
    """
    file = read_keras_file(path)
    if trust:
        return _loaded(file, _found(file), trust=True)
    refuse_code(file)
    return _loaded(file, {}, trust=False)


def _found(file: KerasFile) -> dict[str, Any]:
    """The classes that are no part of Keras, under the names by which Keras looks for them."""
    found = {}
    with searched_first(file.path.resolve().parent):
        for each in file.strangers:
            if each.module is None:
                continue  # it may be registered by a module that is imported for another one
            try:
                found[each.registered] = getattr(importlib.import_module(each.module), each.name)
            except Exception as error:  # somebody else's code may raise anything
                raise BadInput(
                    f"{file.path}: importing {each} raised {kind_and_said(error)}; install its package, put it beside "
                    "the file, or give file.py:name, a function that imports it and returns the model"
                ) from error
    return found


def _loaded(file: KerasFile, others: dict[str, Any], *, trust: bool) -> Any:
    import keras

    try:
        return keras.models.load_model(file.path, custom_objects=others, compile=False, safe_mode=not trust)
    except Exception as error:  # Keras raises whatever its layers raise
        written, here = _version(file.version), _version(metadata.version("keras"))
        if written is not None and written < _KERAS_3:
            return _loaded_by_keras_2(file, others, error)
        if written is not None and here is not None and written > here:
            raise BadInput(
                f"{file.path}: was saved by Keras {written}, which is newer than the {here} that is installed and "
                f"cannot read it ({kind_and_said(error)}); pip install -U keras"
            ) from error
        raise BadInput(_refusal(file, f"Keras {here}", error)) from error


def _loaded_by_keras_2(file: KerasFile, others: dict[str, Any], first: Exception) -> Any:
    """Keras 2 as it was: Keras 3 lacks some of its layers (operators of TensorFlow between layers) and arguments."""
    import tf_keras

    try:
        return tf_keras.models.load_model(file.path, custom_objects=others, compile=False)
    except Exception as error:  # as above
        told = _refusal(file, "Keras 3", first)
        raise BadInput(f"{told} (nor can tf_keras: {kind_and_said(error)})") from error


def _refusal(file: KerasFile, reader: str, error: Exception) -> str:
    written = f", saved by Keras {file.version}," if file.version else ""
    return (
        f"{file.path}{written} cannot be read by {reader}: {kind_and_said(error)}; where it has layers of your own, "
        "give file.py:name, a function that returns the loaded model"
    )


def _version(text: str) -> Version | None:
    try:
        return Version(text)
    except InvalidVersion:
        return None

"""What is trained: a user's Keras model as it is, with its BatchNormalizations, and the twin where that cannot be."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lowbit.core.adapter import BuildRequest
from lowbit.core.samples import Samples
from lowbit.data.declare import parse
from lowbit.data.preprocess import to_input
from lowbit.sources._edge import SourceRequest
from lowbit.toolchains import tensorflow as toolchain
from lowbit.toolchains._tensorflow_trainee import Trainee, trainee
from lowbit.toolchains._tensorflow_training import begin_ranges, loss_of
from lowbit.toolchains._tensorflow_twin import make_twin
from tests.runtime.sourcing import load, pictures

tf_keras: Any = pytest.importorskip("tf_keras")
pytest.importorskip("tensorflow_model_optimization")

RAW = parse("raw")
RECIPES = {recipe.name: replace(recipe, epochs=1) for recipe in toolchain.INFO.recipes if recipe.epochs is not None}
OWN = "trained for 1 epoch on the 64 labelled calibration images: the model itself, its BatchNormalizations not folded"


def labelled() -> Samples:
    return replace(pictures(64, (3, 8, 8)), labels=np.arange(64) % 4, class_names=tuple("abcd"))


def network(kit: Any, *, scaled: bool = False) -> Any:
    """Of `kit`, keras or tf_keras: a residual network with BatchNormalization, on pixels from 0 to 255."""
    layers = kit.layers
    kit.utils.set_random_seed(1)
    image = kit.Input((8, 8, 3), name="image")
    x = layers.Rescaling(1 / 255)(image) if scaled else image
    statistics = {
        "moving_mean_initializer": kit.initializers.RandomNormal(stddev=1.0),
        "moving_variance_initializer": kit.initializers.RandomUniform(500.0, 900.0),
    }
    weights = {"kernel_initializer": kit.initializers.RandomNormal(stddev=0.2), "kernel_regularizer": "l2"}
    x = layers.BatchNormalization(**statistics)(layers.Conv2D(8, 3, padding="same", **weights)(x))
    x = layers.Activation("relu")(x)
    y = layers.BatchNormalization()(layers.Conv2D(8, 3, padding="same", **weights)(x))
    x = layers.Dropout(0.2)(layers.Activation("relu")(layers.add([x, y])))
    x = layers.Flatten()(layers.AveragePooling2D(8)(x))
    draw = kit.initializers.RandomNormal(stddev=0.02)
    return kit.Model(image, layers.Dense(4, activation="softmax", kernel_initializer=draw)(x))


def asked(path: Path, tmp_path: Path, recipe: str = "int8-qat") -> BuildRequest:
    samples = labelled()
    for name in ("model", recipe):
        (tmp_path / name).mkdir(exist_ok=True)
    source = SourceRequest(str(path), None, (3, 8, 8), 4, samples, RAW, tmp_path / "model")
    model = replace(load(source).model, probabilities=True)
    return BuildRequest(model, RECIPES[recipe], samples, RAW, tmp_path / recipe, tmp_path, 2, 1, 0)


def norms(model: Any) -> int:
    return sum(type(layer).__name__ == "BatchNormalization" for layer in model.layers)


def saved(kit: Any, path: Path, **how: Any) -> Path:
    network(kit, **how).save(path)
    return path


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> BuildRequest:
    """A network that Keras 2 has saved."""
    folder = tmp_path_factory.mktemp("own")
    return asked(saved(tf_keras, folder / "net.h5"), folder)


@pytest.fixture(scope="module", params=["own", "twin"])
def what(request: pytest.FixtureRequest, own: BuildRequest) -> Trainee:
    return trainee(own if request.param == "own" else replace(own, model=replace(own.model, keras_file=None)))


def test_a_model_of_keras_2_is_trained_as_it_is(own: BuildRequest) -> None:
    student, twin = trainee(own).make(2), make_twin(own, 2)
    assert (norms(student.model), norms(twin.model)) == (2, 0)
    assert len(student.model.losses) == 2  # its regularizers
    images = to_input(own.calibration.images[:2], RAW)
    np.testing.assert_allclose(student.predict(images), twin.predict(images), atol=1e-5)


@pytest.mark.parametrize("suffix", [pytest.param(".h5", marks=pytest.mark.slow), ".keras"])
def test_a_model_of_keras_3_is_carried_over(tmp_path: Path, suffix: str) -> None:
    import keras

    model = network(keras)
    model.save(tmp_path / f"net{suffix}")
    request = asked(tmp_path / f"net{suffix}", tmp_path)
    student = trainee(request).make(2)
    assert isinstance(student.model, tf_keras.Model)
    assert norms(student.model) == 2
    assert len(student.model.losses) == 2
    images = to_input(request.calibration.images[:2], RAW)
    expected = model(images.transpose(0, 2, 3, 1), training=False).numpy()
    np.testing.assert_allclose(student.predict(images), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_both_recipes_train_the_same_model_and_say_so(own: BuildRequest, tmp_path: Path, name: str) -> None:
    built = toolchain.build(replace(own, recipe=RECIPES[name], out=tmp_path))
    assert built.notes[0] == OWN


@pytest.mark.slow
def test_what_cannot_be_wrapped_is_trained_as_its_twin(tmp_path: Path) -> None:
    found = trainee(asked(saved(tf_keras, tmp_path / "net.h5", scaled=True), tmp_path))
    assert found.name.startswith(
        "the Keras twin of the float graph, since the model itself cannot be: tensorflow-model"
    )
    assert "Rescaling" in found.name
    assert norms(found.make(2).model) == 0


def test_a_file_that_is_another_function_is_not_trained(own: BuildRequest, tmp_path: Path) -> None:
    model = network(tf_keras)
    model.layers[-1].set_weights([10 * each for each in model.layers[-1].get_weights()])
    model.save(tmp_path / "net.h5")
    found = trainee(replace(own, model=replace(own.model, keras_file=tmp_path / "net.h5")))
    assert "scores differ from the float graph's" in found.name
    assert norms(found.make(2).model) == 0


@pytest.mark.parametrize("aware", [False, True])
def test_a_picture_that_the_model_is_sure_is_something_else_counts_in_full(
    own: BuildRequest, what: Trainee, aware: bool
) -> None:
    """A loss that is computed from the probabilities ends at −log(1e-7) = 16.1, and no gradient goes through it."""
    student = what.make(8)
    images = student.fed(to_input(own.calibration.images[:8], RAW))
    model = student.model
    dense = [layer for layer in model.layers if layer.weights][-1]
    dense.set_weights([2_000 * each for each in dense.get_weights()])
    if aware:
        model, _ = what.aware(model)
        begin_ranges(model, [images])
    model.compile(tf_keras.optimizers.Adam(0.0), loss_of(own.model))
    losses = [model.train_on_batch(images, np.full(8, label)) for label in range(4)]
    assert max(losses) > 20

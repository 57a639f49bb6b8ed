"""The classifier of `digits-tflite.yaml` in Keras, trained as its document trains it."""

from typing import Any

import numpy as np

from lowbit.studies.digits_data import BATCH, EPOCHS, training_digits


def build() -> Any:
    """The trained Keras model: images [N, 8, 8, 1] in 0…16 → probabilities [N, 10]; 32,810 parameters."""
    import keras

    keras.utils.set_random_seed(0)
    layers = keras.layers
    image = keras.Input((8, 8, 1))
    x = layers.Conv2D(64, 3, activation="relu")(image)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.Conv2D(32, 3, activation="relu")(x)
    x = layers.Dense(32, activation="relu")(layers.Flatten()(x))
    model = keras.Model(image, layers.Dense(10, activation="softmax")(x))
    model.compile(loss="sparse_categorical_crossentropy", optimizer="adam")
    images, labels = training_digits()
    model.fit(np.expand_dims(images, -1), labels, batch_size=BATCH, epochs=EPOCHS, verbose=0)
    return model

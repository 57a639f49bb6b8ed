"""Models of Keras and TensorFlow become float graphs that score as they do, and what cannot is told in one line."""

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from lowbit.core.errors import BadInput
from lowbit.data.datasets import open_dataset
from lowbit.data.declare import parse
from lowbit.data.preprocess import to_input
from lowbit.sources._edge import SourceRequest
from lowbit.sources.find import find
from tests.runtime.sourcing import checked, load, opened, request, varied

pytest.importorskip("tensorflow")
ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def tf() -> Any:
    from lowbit.sources._tensorflow import start

    return start(threads=1, seed=0)


@pytest.fixture(scope="session")
def keras(tf: Any) -> Any:
    import keras

    return keras


def network(kit: Any, shape: tuple[int | None, ...] = (8, 8, 3), dtype: str = "float32") -> Any:
    """Of `kit`, keras or tf_keras: what a MobileNet is made of, with Rescaling inside and a Softmax behind."""
    layers = kit.layers
    kit.utils.set_random_seed(3)
    image = kit.Input(shape, dtype=dtype, name="image")
    x = layers.Rescaling(1 / 255, offset=-0.5)(image)
    x = layers.Conv2D(8, 3, strides=2, padding="same", use_bias=False)(x)
    x = layers.BatchNormalization(
        moving_mean_initializer=kit.initializers.RandomNormal(stddev=0.1),
        moving_variance_initializer=kit.initializers.RandomUniform(0.2, 0.5),
    )(x)
    x = layers.ReLU(max_value=6)(x)
    x = layers.Add()([x, layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)])
    x = layers.Dropout(0.5)(layers.GlobalAveragePooling2D()(x))
    return kit.Model(image, layers.Dense(4, activation="softmax", kernel_initializer="random_normal")(x))


def asked_for(spec: object, out: Path, *, shape: tuple[int, int, int] = (3, 8, 8), **more: Any) -> SourceRequest:
    return request(str(spec), out, shape, preprocess=more.pop("preprocess", "raw"), **more)


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_a_file_of_keras_3(keras: Any, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"net{suffix}"
    model = network(keras)
    model.save(path)
    asked = asked_for(path, tmp_path / "out")
    found, scores = checked(asked)
    assert (found.name, found.input_shape, found.outputs) == ("net", (3, 8, 8), 4)
    assert (found.probabilities, found.random_weights) == (True, False)
    assert found.keras_file == path
    expected = model(asked.calibration.images[:16].astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    kinds = [node.op_type for node in onnx.load(found.path).graph.node]
    assert "BatchNormalization" not in kinds and "Pad" not in kinds


def test_a_file_of_keras_2(tf: Any, tmp_path: Path) -> None:
    import tf_keras

    path = tmp_path / "net.h5"
    model = network(tf_keras)
    model.save(path)
    asked = asked_for(path, tmp_path / "out")
    _, scores = checked(asked)
    expected = model(asked.calibration.images[:16].astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_file_of_keras_2_that_keras_3_cannot_read(tf: Any, tmp_path: Path) -> None:
    """Functions of TensorFlow between layers are layers of Keras 2, which Keras 3 does not have."""
    import tf_keras

    image = tf_keras.Input((8, 8, 3))
    pooled = tf.reduce_mean(tf.nn.relu(tf_keras.layers.Conv2D(8, 3)(image / 255.0)), axis=[1, 2])
    tf_keras.Model(image, tf_keras.layers.Dense(4)(pooled)).save(tmp_path / "net.h5")
    found, _ = checked(asked_for(tmp_path / "net.h5", tmp_path / "out"))
    assert found.probabilities is False


def test_mixed_precision_is_made_float32(keras: Any, tmp_path: Path) -> None:
    keras.config.set_dtype_policy("mixed_float16")
    try:
        network(keras).save(tmp_path / "net.keras")
    finally:
        keras.config.set_dtype_policy("float32")
    found, _ = checked(asked_for(tmp_path / "net.keras", tmp_path / "out"))
    assert any("computes in float16" in note for note in found.notes)


@pytest.mark.slow
def test_a_file_gives_the_same_bytes_in_every_process(keras: Any, tmp_path: Path) -> None:
    network(keras).save(tmp_path / "net.keras")
    here = load(asked_for(tmp_path / "net.keras", tmp_path / "here")).model.path.read_bytes()
    code = (
        "import sys\nfrom pathlib import Path\nfrom tests.runtime.test_sources_keras import asked_for, load\n"
        "load(asked_for(sys.argv[1], Path(sys.argv[2])))\n"
        "print(sorted({'torch', 'tf_keras', 'litert_torch'} & set(sys.modules)))"
    )
    words = [sys.executable, "-c", code, str(tmp_path / "net.keras"), str(tmp_path / "there")]
    mine = {
        name: value for name, value in os.environ.items() if name != "TF_USE_LEGACY_KERAS"
    }  # of the toolchain's tests
    environment = mine | {"PYTHONHASHSEED": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=True)
    assert (tmp_path / "there" / "float.onnx").read_bytes() == here
    assert done.stdout.splitlines()[-1] == "[]", "TensorFlow's process loads no torch"


# --- SavedModel -------------------------------------------------------------------------------------------------------


def test_a_saved_model_of_keras(keras: Any, tmp_path: Path) -> None:
    model = network(keras)
    model.export(tmp_path / "saved", verbose=False)
    asked = asked_for(tmp_path / "saved", tmp_path / "out")
    assert find(asked.spec).INFO.name == "saved-model"
    found, scores = checked(asked)
    assert found.name == "saved"
    expected = model(asked.calibration.images[:16].astype(np.float32), training=False).numpy()
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def module(tf: Any, **functions: Callable[[Any], Any]) -> Any:
    """A tf.Module whose functions share one kernel; each is saved as a signature."""
    made = tf.Module()
    made.kernel = tf.Variable(np.random.default_rng(0).normal(0, 0.01, (3, 3, 3, 4)).astype(np.float32))
    return made


def saved(tf: Any, folder: Path, *, signature: str = "serving_default", batch: int | None = None) -> Path:
    """A SavedModel by hand: a convolution, and the mean of what it gives."""
    made = module(tf)

    @tf.function(input_signature=[tf.TensorSpec((batch, 8, 8, 3), tf.float32, name="picture")])
    def classify(picture: Any) -> Any:
        return {"scores": tf.reduce_mean(tf.nn.conv2d(picture, made.kernel, 1, "SAME"), [1, 2])}

    tf.saved_model.save(made, str(folder), signatures={signature: classify})
    return folder


def test_a_saved_model_by_hand_whose_only_signature_has_another_name(tf: Any, tmp_path: Path) -> None:
    checked(asked_for(saved(tf, tmp_path / "saved", signature="classify"), tmp_path / "out"))


def test_a_saved_model_of_one_image_at_a_time(tf: Any, tmp_path: Path) -> None:
    checked(asked_for(saved(tf, tmp_path / "saved", batch=1), tmp_path / "out"))


def test_the_fingerprint_of_a_saved_model_follows_its_variables(tf: Any, tmp_path: Path) -> None:
    folder = saved(tf, tmp_path / "saved")
    source = find(str(folder))
    before = source.fingerprint(str(folder), None)
    [data] = (folder / "variables").glob("*.data-*")
    content = bytearray(data.read_bytes())
    content[3] ^= 1
    data.write_bytes(content)
    assert source.fingerprint(str(folder), None) != before


# --- what goes in -----------------------------------------------------------------------------------------------------


def test_a_model_that_takes_uint8_pixels(keras: Any, tmp_path: Path) -> None:
    network(keras, dtype="uint8").save(tmp_path / "net.keras")
    found, _ = checked(asked_for(tmp_path / "net.keras", tmp_path / "out"))
    assert any("takes uint8 pixels" in note for note in found.notes)
    assert "Cast" not in {node.op_type for node in onnx.load(found.path).graph.node}
    with pytest.raises(BadInput, match=r"takes pixels as uint8.*'unit' makes other numbers.*--preprocess raw"):
        load(asked_for(tmp_path / "net.keras", tmp_path / "out", preprocess="unit"))


def test_grey_images_without_a_channel_axis(keras: Any, tmp_path: Path) -> None:
    layers = [keras.Input((8, 8)), keras.layers.Flatten(), keras.layers.Dense(4)]
    keras.Sequential(layers).save(tmp_path / "net.keras")
    asked = asked_for(tmp_path / "net.keras", tmp_path / "out", shape=(1, 8, 8), preprocess="unit,channels=grey")
    found, _ = checked(asked)
    assert found.input_shape == (1, 8, 8)


def test_a_model_that_leaves_height_and_width_free(keras: Any, tmp_path: Path) -> None:
    network(keras, (None, None, 3)).save(tmp_path / "net.keras")
    asked = asked_for(tmp_path / "net.keras", tmp_path / "out", shape=(3, 12, 8))
    with pytest.raises(BadInput, match=r"float32 \[\?, \?, \?, 3\] leaves height and width free.*--input-size 12x8"):
        load(asked)
    found, _ = checked(replace(asked, input_size=(12, 8)))
    assert found.input_shape == (3, 12, 8)


def test_images_of_another_size_are_refused(keras: Any, tmp_path: Path) -> None:
    network(keras).save(tmp_path / "net.keras")
    with pytest.raises(BadInput, match=r"takes images of 3 × 8 × 8, but preprocessing 'raw' makes 3 × 16 × 16"):
        load(asked_for(tmp_path / "net.keras", tmp_path / "out", shape=(3, 16, 16)))


# --- the user's own code ----------------------------------------------------------------------------------------------

CODE = """
import keras

class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x

class Net(keras.Model):
    def __init__(self):
        super().__init__()
        self.conv, self.dense = keras.layers.Conv2D(4, 3, activation="relu"), keras.layers.Dense(4)

    def call(self, x, training=False):
        return self.dense(keras.ops.mean(self.conv(x / 255.0), axis=(1, 2)))

def build():
    layers = [keras.layers.Rescaling(1 / 255), keras.layers.Conv2D(8, 3), Doubled(), keras.layers.Flatten()]
    return keras.Sequential([keras.Input((8, 8, 3)), *layers, keras.layers.Dense(4)])

ready = build()

def wrong():
    return keras.layers.Dense(3)
"""


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "path", list(sys.path))
    (tmp_path / "net.py").write_text(CODE)
    return tmp_path / "net.py"


@pytest.mark.parametrize("name", ["build", "ready", "Net"])
def test_code_that_makes_a_keras_model(keras: Any, net: Path, tmp_path: Path, name: str) -> None:
    found, _ = checked(asked_for(f"{net}:{name}", tmp_path / "out"))
    assert (found.name, found.outputs) == (name, 4)


def test_random_weights_of_their_code_follow_the_seed(keras: Any, net: Path, tmp_path: Path) -> None:
    first, again, other = (
        load(asked_for(f"{net}:build", tmp_path / f"out{number}", seed=seed)).model.digest
        for number, seed in enumerate((0, 0, 1))
    )
    assert first == again != other


def test_code_that_makes_something_else(keras: Any, net: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"returned a Dense, expected an nn\.Module or a Keras model"):
        load(asked_for(f"{net}:wrong", tmp_path / "out"))
    with pytest.raises(BadInput, match=r"has no 'make'; it has .*build, ready, wrong"):
        load(asked_for(f"{net}:make", tmp_path / "out"))


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("build", ".weights.h5"), ("build", ".h5"), ("build", ".keras"), ("Net", ".weights.h5"), ("Net", ".keras")],
)
def test_weights_fill_what_their_code_makes(keras: Any, net: Path, tmp_path: Path, name: str, suffix: str) -> None:
    space: dict[str, Any] = {}
    exec(CODE, space)
    keras.utils.set_random_seed(9)
    trained = space[name]()
    images = asked_for("", tmp_path).calibration.images[:16].astype(np.float32)
    expected = trained(images, training=False).numpy()
    weights = tmp_path / f"trained{suffix}"
    (trained.save_weights if suffix == ".weights.h5" else trained.save)(weights)
    _, scores = checked(asked_for(f"{net}:{name}", tmp_path / "out", weights=weights))
    np.testing.assert_allclose(scores, expected, atol=1e-4)


# --- Keras Applications -----------------------------------------------------------------------------------------------


def test_every_network_of_keras_applications_is_known(keras: Any) -> None:
    from lowbit.sources._keras_names import NETWORKS

    theirs = {name for name in dir(keras.applications) if name[0].isupper()}
    assert set(NETWORKS) == theirs


def test_each_network_brings_the_numbers_of_its_own_preprocess_input(keras: Any) -> None:
    """What the modules of Keras Applications do to one picture is what our name for it does."""
    from lowbit.sources._keras_names import NETWORKS

    picture = np.random.default_rng(0).integers(0, 256, (1, 4, 4, 3), dtype=np.uint8)
    for place in vars(keras.applications).values():
        for name in set(vars(place)) & set(NETWORKS) if hasattr(place, "preprocess_input") else ():
            expected = np.asarray(place.preprocess_input(picture.astype(np.float32).copy()))
            ours = to_input(picture, parse(NETWORKS[name].numbers)).transpose(0, 2, 3, 1)
            np.testing.assert_allclose(ours, expected, atol=1e-5, err_msg=name)


def test_an_unknown_network_is_told_the_nearest() -> None:
    with pytest.raises(BadInput, match=r"keras:resnet-50: .*did you mean .*ResNet50"):
        find("keras:resnet-50").fingerprint("keras:resnet-50", None)
    assert find("keras:VGG16").INFO.default_for("keras:VGG16") == "keras-caffe,resize=224x224"


def test_an_image_size_that_a_network_cannot_take(keras: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"keras:InceptionV3: cannot take images of 3 × 32 × 32"):
        load(asked_for("keras:InceptionV3", tmp_path, shape=(3, 32, 32)))


@pytest.mark.slow
def test_random_networks_tell_images_apart_and_follow_the_seed(keras: Any, tmp_path: Path) -> None:
    asked = asked_for("keras:MobileNetV3Small", tmp_path / "first", shape=(3, 32, 32), outputs=10)
    found, scores = checked(asked)
    assert (found.outputs, found.random_weights, found.name) == (10, True, "MobileNetV3Small")
    assert found.probabilities is False
    assert varied(scores)
    again, other = (load(replace(asked, out=tmp_path / str(seed), seed=seed)).model.digest for seed in (0, 1))
    assert found.digest == again != other


@pytest.mark.parametrize(
    "suffix",
    [".weights.h5", pytest.param(".h5", marks=pytest.mark.slow), pytest.param(".keras", marks=pytest.mark.slow)],
)
def test_trained_weights_bring_the_size_of_their_head(keras: Any, tmp_path: Path, suffix: str) -> None:
    keras.utils.set_random_seed(5)
    trained = keras.applications.MobileNet(
        weights=None, input_shape=(32, 32, 3), classes=7, alpha=1.0, classifier_activation=None
    )
    weights = tmp_path / f"w{suffix}"
    (trained.save_weights if suffix == ".weights.h5" else trained.save)(weights)
    asked = asked_for("keras:MobileNet", tmp_path / "out", shape=(3, 32, 32), preprocess="keras-tf", weights=weights)
    found, scores = checked(asked)
    assert (found.outputs, found.random_weights) == (7, False)
    images = to_input(asked.calibration.images[:16], asked.preprocess).transpose(0, 2, 3, 1)
    np.testing.assert_allclose(scores, trained(images, training=False).numpy(), atol=1e-5)


def test_weights_of_another_network(keras: Any, tmp_path: Path) -> None:
    network(keras).save_weights(tmp_path / "w.weights.h5")
    with pytest.raises(BadInput, match=r"other shapes than those of MobileNet; give weights of keras:MobileNet"):
        load(asked_for("keras:MobileNet", tmp_path, shape=(3, 32, 32), weights=tmp_path / "w.weights.h5"))


@pytest.mark.parametrize("content", [b"", b"not weights", b"PK\x03\x04 cut short"])
@pytest.mark.parametrize("name", ["w.weights.h5", "w.keras", "w.safetensors"])
def test_files_that_are_no_weights(tf: Any, tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BadInput, match=rf"--weights .*{name}: .*\.weights\.h5, \.h5 or \.keras"):
        load(asked_for("keras:MobileNet", tmp_path, shape=(3, 32, 32), weights=tmp_path / name))


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    "name",
    [
        "MobileNetV2",
        "DenseNet121",
        "VGG19",
        "ResNet50",
        "EfficientNetB0",
        "MobileNetV3Small",
        "InceptionV3",
        "ConvNeXtTiny",
    ],
)
def test_random_networks_at_full_size(keras: Any, tmp_path: Path, name: str) -> None:
    own = parse(str(find("keras:").INFO.default_for(f"keras:{name}")))
    side = 224
    asked = asked_for(
        f"keras:{name}", tmp_path, shape=(3, side, side), preprocess=own.name.split(",")[0], outputs=10, count=24
    )
    found, scores = checked(asked)
    assert varied(scores)
    assert found.outputs == 10
    keras.backend.clear_session()


# --- what cannot be used ----------------------------------------------------------------------------------------------


def lambda_layer(keras: Any, path: Path) -> Path:
    image = keras.Input((8, 8, 3))
    doubled = keras.layers.Lambda(lambda x: 2 * x, output_shape=(8, 8, 3), name="twice")(image)
    keras.Model(image, keras.layers.Dense(4)(keras.layers.Flatten()(doubled))).save(path)
    return path


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
def test_code_in_a_file_is_run_only_with_trust(keras: Any, tmp_path: Path, suffix: str) -> None:
    asked = asked_for(lambda_layer(keras, tmp_path / f"net{suffix}"), tmp_path / "out")
    with pytest.raises(BadInput, match=r"brings code of its own along \(Lambda 'twice'\).*--trust"):
        load(asked)
    found, _ = checked(replace(asked, trust=True))
    assert found.keras_file is None  # nobody reads it again without asking


def test_an_old_lambda_is_not_run_by_keras_2_either(tf: Any, tmp_path: Path) -> None:
    """tf_keras would run it without a question."""
    import tf_keras

    image = tf_keras.Input((8, 8, 3))
    doubled = tf_keras.layers.Lambda(lambda x: 2 * x, name="twice")(image)
    tf_keras.Model(image, tf_keras.layers.Dense(4)(tf_keras.layers.Flatten()(doubled))).save(tmp_path / "net.h5")
    with pytest.raises(BadInput, match=r"\(Lambda 'twice'\).*--trust"):
        load(asked_for(tmp_path / "net.h5", tmp_path / "out"))


def test_a_function_of_tensorflow_that_writes_files_counts_as_code(tf: Any, tmp_path: Path) -> None:
    """A layer that names a function is data only where the function computes."""
    import tf_keras

    image = tf_keras.Input((8, 8, 3))
    tf_keras.Model(image, tf_keras.layers.Dense(4)(tf.reduce_mean(image, [1, 2]))).save(tmp_path / "net.h5")
    content = (tmp_path / "net.h5").read_bytes()
    assert content.count(b'"math.reduce_mean"') == 1
    (tmp_path / "net.h5").write_bytes(content.replace(b'"math.reduce_mean"', b'"io.write_file"   '))
    with pytest.raises(BadInput, match=r"brings code of its own along \(TFOpLambda"):
        load(asked_for(tmp_path / "net.h5", tmp_path / "out"))


OWN_LAYER = """
import keras

@keras.saving.register_keras_serializable("mine")
class Doubled(keras.layers.Layer):
    def call(self, x):
        return 2 * x
"""


def test_a_layer_of_ones_own_is_imported_only_with_trust(
    keras: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "layer_of_mine.py").write_text(OWN_LAYER)
    code = (
        "import sys, keras\nfrom layer_of_mine import Doubled\n"
        "layers = [keras.Input((8, 8, 3)), Doubled(), keras.layers.Flatten(), keras.layers.Dense(4)]\n"
        "keras.Sequential(layers).save('net.keras')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)
    monkeypatch.setattr(sys, "path", list(sys.path))
    asked = asked_for(tmp_path / "net.keras", tmp_path / "out")
    with pytest.raises(BadInput, match=r"no part of Keras \(Doubled of layer_of_mine\).*file\.py:name.*--trust"):
        load(asked)
    checked(replace(asked, trust=True))
    (tmp_path / "layer_of_mine.py").unlink()
    monkeypatch.delitem(sys.modules, "layer_of_mine")
    with pytest.raises(BadInput, match=r"importing Doubled of layer_of_mine raised ModuleNotFoundError"):
        load(replace(asked, trust=True))


def edited(path: Path, member: str, change: Callable[[Any], None]) -> Path:
    """The .keras file with one of its JSON documents changed."""
    with zipfile.ZipFile(path) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    plain = json.loads(content[member])
    change(plain)
    content[member] = json.dumps(plain).encode()
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def test_a_file_of_a_newer_keras_is_told_by_its_version(keras: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.keras"
    network(keras).save(path)
    edited(path, "metadata.json", lambda plain: plain.update(keras_version="99.1.0"))
    checked(asked_for(path, tmp_path / "out"))  # what can be read is read

    def rename(plain: Any) -> None:
        plain["config"]["layers"][-1]["class_name"] = "DenseOfTomorrow"

    edited(path, "config.json", rename)
    with pytest.raises(BadInput, match=rf"saved by Keras 99\.1\.0, which is newer than the {keras.__version__} that"):
        load(asked_for(path, tmp_path / "out"))
    edited(path, "metadata.json", lambda plain: plain.update(keras_version=keras.__version__))
    with pytest.raises(BadInput, match=r"cannot be read by Keras 3.*DenseOfTomorrow.*file\.py:name"):
        load(asked_for(path, tmp_path / "out"))


def test_files_cut_short(keras: Any, tf: Any, tmp_path: Path) -> None:
    for name in ("net.keras", "net.h5"):
        path = tmp_path / name
        network(keras).save(path)
        path.write_bytes(path.read_bytes()[:-2000])
        with pytest.raises(BadInput, match=r"no Keras model, or cut short"):
            load(asked_for(path, tmp_path / "out"))
    folder = saved(tf, tmp_path / "saved")
    [data] = (folder / "variables").glob("*.data-*")
    data.write_bytes(data.read_bytes()[:100])
    with pytest.raises(BadInput, match=r"TensorFlow cannot load this SavedModel.*copy the whole folder"):
        load(asked_for(folder, tmp_path / "out"))
    (folder / "saved_model.pb").write_bytes((folder / "saved_model.pb").read_bytes()[:2001])
    with pytest.raises(BadInput, match=r"no SavedModel, or cut short"):
        load(asked_for(folder, tmp_path / "out"))


def test_weights_alone_are_no_model(keras: Any, tmp_path: Path) -> None:
    network(keras).save_weights(tmp_path / "net.weights.h5")
    path = (tmp_path / "net.weights.h5").rename(tmp_path / "net.h5")
    with pytest.raises(BadInput, match=r"holds weights without the network.*keras:NAME.*--weights"):
        load(asked_for(path, tmp_path / "out"))


def two_inputs(keras: Any) -> Any:
    a, b = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    return keras.Model([a, b], keras.layers.Dense(4)(keras.layers.Flatten()(a + b)))


def two_outputs(keras: Any) -> Any:
    image = keras.Input((8, 8, 3))
    flat = keras.layers.Flatten()(image)
    return keras.Model(image, {"first": keras.layers.Dense(4)(flat), "second": keras.layers.Dense(2)(flat)})


def of_words(keras: Any) -> Any:
    words = keras.Input((12,))
    return keras.Model(words, keras.layers.Dense(4)(words))


def of_positions(keras: Any) -> Any:
    image = keras.Input((8, 8, 3))
    return keras.Model(image, keras.layers.Conv2D(4, 3)(image))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (two_inputs, r"has 2 inputs \(left, right\), expected one image"),
        (two_outputs, r"has 2 outputs \(first, second\), expected one, the class scores"),
        (of_words, r"input float32 \[\?, 12\], expected images"),
        (of_positions, r"expected class scores \[N, classes\]"),
    ],
)
def test_models_that_are_no_classifiers(keras: Any, tmp_path: Path, make: Callable[[Any], Any], message: str) -> None:
    make(keras).save(tmp_path / "net.keras")
    with pytest.raises(BadInput, match=message):
        load(asked_for(tmp_path / "net.keras", tmp_path / "out"))


def test_saved_models_without_a_signature_that_serves(tf: Any, tmp_path: Path) -> None:
    made = module(tf)
    tf.saved_model.save(made, str(tmp_path / "none"))
    with pytest.raises(BadInput, match=r"no signature that could be called.*model\.export\(folder\)"):
        load(asked_for(tmp_path / "none", tmp_path / "out"))

    spec = tf.TensorSpec((None, 8, 8, 3), tf.float32)
    mean = tf.function(lambda picture: {"y": tf.reduce_mean(picture, [1, 2])}, input_signature=[spec])
    both = tf.function(lambda a, b: {"y": tf.reduce_mean(a + b, [1, 2])}, input_signature=[spec, spec])
    tf.saved_model.save(made, str(tmp_path / "two"), signatures={"a": mean, "b": mean})
    with pytest.raises(BadInput, match=r"has the signatures a, b, expected 'serving_default' or only one"):
        load(asked_for(tmp_path / "two", tmp_path / "out"))
    tf.saved_model.save(made, str(tmp_path / "inputs"), signatures={"serving_default": both})
    with pytest.raises(BadInput, match=r"'serving_default' has 2 inputs \(a, b\), expected one image"):
        load(asked_for(tmp_path / "inputs", tmp_path / "out"))


def test_a_saved_model_that_writes_files_counts_as_code(tf: Any, tmp_path: Path) -> None:
    made = module(tf)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32)])
    def classify(picture: Any) -> Any:
        tf.io.write_file(str(tmp_path / "trace"), "was here")
        return {"y": tf.reduce_mean(picture, [1, 2])}

    tf.saved_model.save(made, str(tmp_path / "saved"), signatures={"serving_default": classify})
    with pytest.raises(BadInput, match=r"its operators WriteFile run Python, or read or write files; say --trust"):
        load(asked_for(tmp_path / "saved", tmp_path / "out"))
    assert not (tmp_path / "trace").exists()


def test_an_operator_that_litert_lacks_is_told_in_tensorflows_words(tf: Any, tmp_path: Path) -> None:
    made = module(tf)

    @tf.function(input_signature=[tf.TensorSpec((None, 8, 8, 3), tf.float32)])
    def classify(picture: Any) -> Any:
        shrunk = tf.nn.erosion2d(picture, made.kernel[..., 0], [1, 1, 1, 1], "SAME", "NHWC", [1, 1, 1, 1])
        return {"y": tf.reduce_mean(shrunk, [1, 2])}

    tf.saved_model.save(made, str(tmp_path / "saved"), signatures={"serving_default": classify})
    with pytest.raises(BadInput, match=r"with LiteRT's own operators: it has none for tf\.Dilation2D;"):
        load(asked_for(tmp_path / "saved", tmp_path / "out"))


# --- a real one -------------------------------------------------------------------------------------------------------


def test_the_shared_resnet8_reaches_its_accuracy(keras: Any, tmp_path: Path, shared: Path) -> None:
    """87.2 % on all 10,000 test images; a thousand of them here, which Wilson's interval makes 85.0 … 89.1."""
    asked = asked_for(shared / "models" / "pretrainedResnet.h5", tmp_path, shape=(3, 32, 32))
    found, _ = checked(asked)
    test = open_dataset(str(shared / "data" / "cifar10")).test
    images = to_input(
        np.stack([picture.pixels(asked.preprocess) for picture in test.pictures(range(1000))]), asked.preprocess
    )
    predict = opened(found)
    scores = np.concatenate([predict(part) for part in np.array_split(images, 10)])
    assert 0.85 < (scores.argmax(1) == test.labels[:1000]).mean() < 0.891

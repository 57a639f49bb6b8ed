"""Keras Applications by name, known without Keras: their own size of pictures, and which numbers they expect."""

import difflib
from dataclasses import dataclass

from lowbit.core.errors import BadInput


@dataclass(frozen=True, slots=True)
class Network:
    """A network of Keras Applications.

    - side: of the square pictures that its published weights were trained on
    - numbers: the preprocessing that does what its `preprocess_input` does; `raw` where it prepares pixels itself
    """

    side: int
    numbers: str

    @property
    def preprocess(self) -> str:
        """As `--preprocess` says it: the whole picture, stretched to the network's size."""
        return f"{self.numbers},resize={self.side}x{self.side}"


def _family(numbers: str, side: int, *names: str) -> dict[str, Network]:
    return dict.fromkeys(names, Network(side, numbers))


NETWORKS: dict[str, Network] = {
    **_family("keras-tf", 299, "Xception", "InceptionV3", "InceptionResNetV2"),
    **_family("keras-caffe", 224, "VGG16", "VGG19", "ResNet50", "ResNet101", "ResNet152"),
    **_family("keras-tf", 224, "ResNet50V2", "ResNet101V2", "ResNet152V2", "MobileNet", "MobileNetV2", "NASNetMobile"),
    **_family("keras-tf", 331, "NASNetLarge"),
    **_family("keras-torch", 224, "DenseNet121", "DenseNet169", "DenseNet201"),
    **_family("raw", 224, "MobileNetV3Small", "MobileNetV3Large", "EfficientNetB0", "EfficientNetV2B0"),
    **_family("raw", 224, "ConvNeXtTiny", "ConvNeXtSmall", "ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge"),
    **_family("raw", 240, "EfficientNetB1", "EfficientNetV2B1"),
    **_family("raw", 260, "EfficientNetB2", "EfficientNetV2B2"),
    **_family("raw", 300, "EfficientNetB3", "EfficientNetV2B3"),
    **_family("raw", 380, "EfficientNetB4"),
    **_family("raw", 456, "EfficientNetB5"),
    **_family("raw", 528, "EfficientNetB6"),
    **_family("raw", 600, "EfficientNetB7"),
    **_family("raw", 384, "EfficientNetV2S"),
    **_family("raw", 480, "EfficientNetV2M", "EfficientNetV2L"),
}


def network(name: str) -> Network:
    """The network of this name; BadInput, with the nearest names, where Keras Applications have none."""
    if name in NETWORKS:
        return NETWORKS[name]
    by_small = {each.lower(): each for each in NETWORKS}
    close = difflib.get_close_matches(name.lower(), by_small, n=5, cutoff=0.5)
    near = f"did you mean {', '.join(by_small[each] for each in close)}?" if close else f"it has {', '.join(NETWORKS)}"
    raise BadInput(f"keras:{name}: Keras Applications have no network of this name; {near}")

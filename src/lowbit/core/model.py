"""The float model that every toolchain starts from."""

from dataclasses import dataclass
from pathlib import Path

GRAPH = "float.onnx"  # name of the float graph's file


@dataclass(frozen=True, slots=True)
class LayerMacs:
    """A layer of the float graph that multiplies, and its multiply-accumulates per sample."""

    name: str
    op_type: str
    macs: int


@dataclass(frozen=True, slots=True)
class FloatModel:
    """A float ONNX graph with a free batch size, and where it came from.

    - path, digest: the graph's file and the digest of its contents
    - name: the model's name for users
    - source, source_digest: the model as the user named it, and a digest of its contents
    - input_name, output_name: of the graph
    - input_shape: (C, H, W) of one sample
    - outputs: number of scores per sample; 1 for a model that separates two classes by a threshold
    - probabilities: whether the scores are probabilities (of a Softmax or Sigmoid) rather than logits
    - random_weights: whether the network was never trained, so that no accuracy is printed for it
    - difference: largest absolute difference between the graph's outputs and its source's, on real samples
    - notes: one sentence for each way in which the graph, and so every file made from it, differs from the source, and
      for what was taken from the source beside its numbers: preprocessing, names of the classes
    - layer_macs: the layers that multiply, in the graph's order; executed operators are matched with them
    - class_names: what the model calls its outputs, in their order; empty where it does not say
    - keras_file: the user's file of a Keras model, as the user named it, which can be read without running code of its
      own; None where the source is of another kind. Of all that is made, only what is trained starts from it.
    """

    path: Path
    digest: str
    name: str
    source: str
    source_digest: str
    input_name: str
    output_name: str
    input_shape: tuple[int, int, int]
    outputs: int
    probabilities: bool
    random_weights: bool = False
    difference: float | None = None
    notes: tuple[str, ...] = ()
    layer_macs: tuple[LayerMacs, ...] = ()
    class_names: tuple[str, ...] = ()
    keras_file: Path | None = None

"""The float model: what every toolchain starts from."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class LayerMacs:
    """A layer of the float graph that multiplies, and its multiply–accumulates a sample."""

    name: str
    op_type: str
    macs: int


@dataclass(frozen=True, slots=True)
class FloatModel:
    """One float ONNX graph with a free batch size, and where it came from.

    `input_shape` is (C, H, W) of one sample, `outputs` the number of scores it gives (1 for two classes apart by a
    threshold), `probabilities` whether these are probabilities (of a Softmax or Sigmoid) and no logits. `difference` is
    the largest absolute difference of its outputs from its source's on real samples. `random_weights` marks a network
    nobody trained: no accuracy is printed for it. `notes`: what else the graph, and so every file made from it, does
    otherwise than the source, in a sentence each. `layer_macs` are the layers that multiply, in the graph's order: what
    a runtime executes is held to them.
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

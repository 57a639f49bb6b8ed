"""What can be read from a file itself, whatever its format."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What can be read from a file itself.

    - input_shape: of one sample; 0 for a free size
    - outputs: number of scores per sample; 0 where the file does not say
    - batch_size: None where it is free
    - metadata: the file's own entries, key → text
    - weight_bytes: layer → bytes of its stored weights, for files whose layers our engine named
    - layer_of: an operator's name in the runtime → the layer's name, where they differ
    - results: number of outputs
    - probabilities: whether its scores are probabilities rather than logits; None where its operators do not tell
    - dynamic: whether it takes ranges over a whole call, so that scores depend on the number of images in it
    """

    input_shape: tuple[int, ...]
    outputs: int
    batch_size: int | None
    metadata: dict[str, str]
    weight_bytes: dict[str, int]
    layer_of: dict[str, str] = field(default_factory=dict)
    results: int = 1
    probabilities: bool | None = None
    dynamic: bool = False

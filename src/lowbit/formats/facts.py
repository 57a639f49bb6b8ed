"""What a file's own bytes say of it, whatever its format."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What a file says of itself.

    input_shape: of one sample, 0 for a size that is free; outputs: scores a sample; batch_size: None where it is free;
    metadata: the file's own entries, key → text; weight_bytes: layer → bytes of its stored weights, where our engine
    named them; layer_of: an operator's name in the runtime → the layer, where they differ.
    """

    input_shape: tuple[int, ...]
    outputs: int
    batch_size: int | None
    metadata: dict[str, str]
    weight_bytes: dict[str, int]
    layer_of: dict[str, str] = field(default_factory=dict)

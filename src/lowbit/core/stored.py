"""What a file stores, whatever its format: every tensor with its type and grid, every operator with its operands."""

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor of a file.

    - name: its name, which no other tensor of the file has
    - kind: the type of its numbers, such as float32, int8 or u4
    - shape: its sizes, 0 for a free one; empty where the file does not say
    - bits: bits a number; None for what is no number
    - stored_bytes: bytes of a constant's numbers in the file; 0 for what is computed
    - scales, zero_points: of integers that stand for real numbers, one or one an entry of `axis`; empty for others and
      where the file computes them
    - axis: the axis that several scales belong to
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    bits: int | None
    stored_bytes: int
    scales: tuple[float, ...] = ()
    zero_points: tuple[int, ...] = ()
    axis: int | None = None


@dataclass(frozen=True, slots=True)
class StoredOperator:
    """An operator of a file: its name, its kind in the format's own words, names of the tensors that go in and out."""

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class StoredLayer:
    """An operator that reads constants, which may be unpacked or dequantized on the way.

    - name, kind: of the operator
    - weight: the largest constant that it reads
    - stored_bytes: of all constants that it reads
    """

    name: str
    kind: str
    weight: StoredTensor
    stored_bytes: int


@dataclass(frozen=True, slots=True)
class StoredGraph:
    """The tensors and operators of a file, operators in the order of the file."""

    tensors: tuple[StoredTensor, ...]
    operators: tuple[StoredOperator, ...]

    def layers(self) -> Iterator[StoredLayer]:
        """The operators with constants behind them, which compute something from what is no constant."""
        tensors = {tensor.name: tensor for tensor in self.tensors}
        behind: dict[str, frozenset[str]] = {
            tensor.name: frozenset({tensor.name}) for tensor in self.tensors if tensor.stored_bytes
        }
        for operator in self.operators:
            if operator.inputs and all(name in behind for name in operator.inputs):
                together = frozenset[str]().union(*(behind[name] for name in operator.inputs))
                behind.update(dict.fromkeys(operator.outputs, together))
                continue
            constants = [
                tensors[each] for name in operator.inputs for each in sorted(behind.get(name, ())) if each in tensors
            ]
            if constants:
                weight = max(constants, key=lambda tensor: tensor.stored_bytes)
                yield StoredLayer(operator.name, operator.kind, weight, sum(each.stored_bytes for each in constants))

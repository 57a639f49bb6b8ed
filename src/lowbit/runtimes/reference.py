"""The reference runtime: integer-only arithmetic in NumPy over ONNX files. Slow, exact, and what others must equal."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from lowbit.core.adapter import Floats, OpPrecision, RuntimeInfo, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.refusal import vendor_call

if TYPE_CHECKING:
    from lowbit.reference.graph import IntegerGraph

INFO = RuntimeInfo(name="reference", packages=("onnx",), extra=None, reads=("onnx",), hidden=True)


@dataclass(frozen=True, slots=True, eq=False)
class _Session:
    """A loaded graph. NumPy's BLAS takes its number of threads from the environment."""

    graph: "IntegerGraph" = field(repr=False)
    artifact: Artifact
    options: SessionOptions

    def predict(self, images: Floats) -> Floats:
        from lowbit.reference.op import real

        found = real(self.graph.run({self.graph.inputs[0]: images})[self.graph.outputs[0]])
        return np.array(found, np.float32).reshape(len(images), -1)

    def executed_precision(self) -> list[OpPrecision]:
        """Operators of one run on a batch of random images; those on constants ran once, when the file was loaded."""
        from lowbit.reference.trace import executed

        count = self.artifact.batch_size or self.options.batch_size
        return executed(self.graph, np.random.default_rng(0).random((count, *self.artifact.input_shape), np.float32))


@contextmanager
def open_session(artifact: Artifact, options: SessionOptions) -> Iterator[_Session]:
    """Load the file; raises UnsupportedError where it is no ONNX file, or has another form than the engine writes."""
    import onnx

    from lowbit.reference.graph import load_integer_graph

    with vendor_call("the integer reference cannot load it", artifact.path):
        model = onnx.load(artifact.path)
        onnx.checker.check_model(model)
    yield _Session(load_integer_graph(model), artifact, options)


def warm_up(options: SessionOptions) -> None:  # noqa: ARG001 - NumPy's threads
    """Import what a session needs."""
    import lowbit.reference.graph  # noqa: F401

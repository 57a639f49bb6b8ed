"""The range pass: limits of every tensor that a plan quantizes, from one pass of the float network."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from lowbit.graph.values import constant
from lowbit.quant.finish import constants_of
from lowbit.quant.parallel import in_order
from lowbit.quant.plan import kinds
from lowbit.quant.plan.plan import QuantPlan, TensorPlan
from lowbit.quant.ranges.observers import Observers
from lowbit.quant.simulate import Simulator

LARGEST_TENSOR = 2_500_000  # numbers: what a chunk's largest tensor should have at most, to stay in the cache
LARGEST_CHUNK = 64  # images


@dataclass(frozen=True, slots=True)
class Images:
    """Calibration images: `batches(size)` reads all `count` again, float32 [<= size, C, H, W] at a time."""

    count: int
    batches: Callable[[int], Iterator[npt.NDArray[np.float32]]]

    def chunks(self, size: int) -> Iterator[torch.Tensor]:
        """`batches` as tensors."""
        for batch in self.batches(size):
            yield torch.from_numpy(np.ascontiguousarray(batch))


def observe_ranges(
    runner: Simulator, model: ir.Model, plan: QuantPlan, images: Images, *, workers: int = 1
) -> QuantPlan:
    """The plan with the limits of every tensor whose range is not fixed already; `workers` chunks go side by side.

    Tensors that share a range are observed where they are computed, not again where they are only moved about.
    """
    producers = {str(value.name): node for node in model.graph for value in node.outputs}
    wanted: dict[str, list[TensorPlan]] = {}
    for tensor in plan.tensors:
        producer = producers.get(tensor.tensor)
        moved = tensor.role == "main" and producer is not None and kinds.is_passing(producer)
        if tensor.range != "fixed" and not moved:
            wanted.setdefault(tensor.tensor, []).append(tensor)
    methods = {tensor.group: tensor.range for tensor in plan.tensors if tensor.range != "fixed"}
    pool = SimpleQueue[Observers]()  # one for each chunk that is under way; merging is exact in any order
    for _ in range(workers):
        pool.put(Observers(methods))
    observers = Observers(methods)
    groups = {tensor.tensor: tensor.group for tensor in plan.tensors if tensor.role == "main"}
    for node, value in constants_of(model, plan):
        array = constant(value)
        if node.op_type == "Concat" and array is not None:
            observers.observe(groups[str(node.outputs[0].name)], torch.from_numpy(array.astype(np.float32)))

    def look(chunk: torch.Tensor) -> None:
        found = pool.get()

        def seen(name: str, x: torch.Tensor) -> None:
            for tensor in wanted.get(name, ()):
                found.observe(tensor.group, x)

        try:
            runner.run(runner.start(chunk), 0, len(runner.nodes), seen)
        finally:
            pool.put(found)

    for _ in in_order(look, images.chunks(chunk_size(runner, images)), workers):
        pass
    for _ in range(workers):
        observers.merge(pool.get())

    def limited(tensor: TensorPlan) -> TensorPlan:
        if tensor.range == "fixed":
            return tensor
        return replace(tensor, limits=observers.limits(tensor.group, tensor.format))

    return replace(plan, tensors=tuple(limited(tensor) for tensor in plan.tensors))


def chunk_size(runner: Simulator, images: Images) -> int:
    """Images at a time: few enough that memory stays small however wide they are, and at least five chunks."""
    sizes = [1]
    sample = next(images.chunks(1))
    runner.run(runner.start(sample), 0, len(runner.nodes), lambda _, x: sizes.append(x.numel()))
    return max(1, min(LARGEST_TENSOR // max(sizes), LARGEST_CHUNK, -(-images.count // 5)))

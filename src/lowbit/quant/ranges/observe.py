"""The range pass: calibrates the limits of every quantized tensor in one pass of the float network."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, replace
from queue import SimpleQueue

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import torch

from lowbit.graph.values import constant
from lowbit.quant.parallel import in_order
from lowbit.quant.plan.plan import QuantPlan, RangeMethod, TensorPlan
from lowbit.quant.ranges.coverage import Coverage, coverage
from lowbit.quant.ranges.observers import Observers
from lowbit.quant.ranges.origins import Origins, origins
from lowbit.quant.ranges.outlying import outlying_images
from lowbit.quant.ranges.shared import with_own_ranges
from lowbit.quant.simulate import Simulator

LARGEST_TENSOR = 2_500_000  # numbers: what a chunk's largest tensor should have at most, to stay in the cache
LARGEST_CHUNK = 64  # images


@dataclass(frozen=True, slots=True)
class Observed:
    """What the range pass found.

    - plan: with limits
    - outlying: numbers of images that lie far beyond all others somewhere in the network
    - times: how many times as far as the others, at most
    - coverage: how many of the network's outputs are the highest for some image
    """

    plan: QuantPlan
    outlying: tuple[int, ...]
    times: float
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class Images:
    """Calibration images: `batches(size)` reads all `count` again, float32 [<= size, C, H, W] at a time."""

    count: int
    batches: Callable[[int], Iterator[npt.NDArray[np.float32]]]

    def chunks(self, size: int) -> Iterator[torch.Tensor]:
        """`batches` as tensors."""
        for batch in self.batches(size):
            yield torch.from_numpy(np.ascontiguousarray(batch))

    def without(self, numbers: Collection[int]) -> "Images":
        """These images but for some."""
        return Images(self.count - len(numbers), lambda size: self._kept(frozenset(numbers), size))

    def _kept(self, left_out: frozenset[int], size: int) -> Iterator[npt.NDArray[np.float32]]:
        number, waiting = 0, list[npt.NDArray[np.float32]]()
        for batch in self.batches(size):
            waiting += [image for image, place in zip(batch, range(number, number + len(batch)), strict=True)
                        if place not in left_out]  # fmt: skip
            number += len(batch)
            if len(waiting) >= size:
                yield np.stack(waiting[:size])
                waiting = waiting[size:]
        if waiting:
            yield np.stack(waiting)


def observe_ranges(
    runner: Simulator, model: ir.Model, plan: QuantPlan, images: Images, *, workers: int = 1
) -> Observed:
    """The plan with the limits of every tensor whose range is not fixed. `workers` chunks of images run in parallel.

    Concats that the plan left undecided are decided from the same pass.
    """
    needed = _needed(model, plan)
    pool = SimpleQueue[Observers]()  # one for each chunk that is under way; merging is exact in any order
    for _ in range(workers):
        pool.put(Observers(needed.methods))
    observers = Observers(needed.methods)
    for name in needed.methods:
        array = constant(model.graph.initializers.get(name))
        if array is not None:
            observers.observe(name, torch.from_numpy(array.astype(np.float32)))

    def look(chunk: torch.Tensor) -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        """Tensor → the largest magnitude of each image; and the network's scores."""
        found, largest = pool.get(), dict[str, torch.Tensor]()

        def seen(name: str, x: torch.Tensor) -> None:
            if name in needed.methods:
                largest[name] = found.observe(name, x, len(chunk))

        try:
            return largest, runner.scores(chunk, seen)
        finally:
            pool.put(found)

    looked = list(in_order(look, images.chunks(chunk_size(runner, images)), workers))
    parts = [largest for largest, _ in looked]
    outlying, times = outlying_images({name: torch.cat([part[name] for part in parts]) for name in parts[0]})
    for _ in range(workers):
        observers.merge(pool.get())

    def limits(tensors: Iterable[TensorPlan]) -> tuple[float, float]:
        first, *others = tensors
        names = dict.fromkeys(name for tensor in (first, *others) for name in needed.of(tensor))
        return observers.limits_of(tuple(names), first.format, first.range)

    plan = with_own_ranges(model, plan, limits)
    groups: dict[str, list[TensorPlan]] = {}
    for tensor in plan.tensors:
        if tensor.range != "fixed":
            groups.setdefault(tensor.group, []).append(tensor)
    found = {group: limits(tensors) for group, tensors in groups.items()}
    tensors = (replace(tensor, limits=found.get(tensor.group, tensor.limits)) for tensor in plan.tensors)
    return Observed(replace(plan, tensors=tuple(tensors)), outlying, times, coverage(scores for _, scores in looked))


@dataclass(frozen=True, slots=True)
class _Needed:
    """What must be observed for a plan. methods: value or constant → `min-max` where minimum and maximum are enough."""

    origins: Origins
    methods: dict[str, RangeMethod]

    def of(self, tensor: TensorPlan) -> tuple[str, ...]:
        """The values and constants that determine the tensor's range. A narrower copy is observed where it is read."""
        return self.origins[tensor.tensor] if tensor.role == "main" else (tensor.tensor,)


def _needed(model: ir.Model, plan: QuantPlan) -> _Needed:
    needed = _Needed(origins(model, plan), {})
    for tensor in plan.tensors:
        for name in needed.of(tensor) if tensor.range != "fixed" else ():
            if needed.methods.get(name, "min-max") == "min-max":
                needed.methods[name] = tensor.range
    return needed


def chunk_size(runner: Simulator, images: Images) -> int:
    """Images at a time: few enough that memory stays small however wide they are, and at least five chunks."""
    sizes = [1]
    sample = next(images.chunks(1))
    runner.run(runner.start(sample), 0, len(runner.nodes), lambda _, x: sizes.append(x.numel()))
    return max(1, min(LARGEST_TENSOR // max(sizes), LARGEST_CHUNK, -(-images.count // 5)))

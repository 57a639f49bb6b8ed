"""What a training step costs, found by doing one: memory that it keeps for the backward pass, and time."""

import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch

from lowbit.core.errors import UnsupportedError
from lowbit.quant.simulate import Simulator
from lowbit.training.pictures import Batch
from lowbit.training.student import Student

_BESIDE = 6  # times the parameters: gradients, Adam's two moments, weights as real numbers, and their own step
_PASSING = 1.4  # times what is kept: gradients of activations, and what convolutions work in
_TIMES = 3


@dataclass(frozen=True, slots=True)
class Cost:
    """- at_a_time: pictures that memory allows at a time, at most a batch
    - kept, float_kept: bytes a picture that a step, and a float training step, keeps for the backward pass
    - step_s, float_step_s: seconds of each, for a batch
    """

    at_a_time: int
    kept: int
    float_kept: int
    step_s: float
    float_step_s: float


def cost_of(
    student: Student, teacher: Simulator, batch: Batch, loss: Callable[[Batch], torch.Tensor], allowed: int
) -> Cost:
    """The cost of steps of `batch` by `loss`, where `allowed` bytes may be taken. Nothing is changed.

    Raises UnsupportedError where not even one picture at a time fits.
    """

    def float_loss(some: Batch) -> torch.Tensor:
        return teacher.scores(some.images).square().sum()

    kept = _kept(loss, batch)
    beside = _BESIDE * sum(parameter.numel() * parameter.element_size() for parameter in student.parameters())
    fitting = int((allowed - beside) / max(1.0, kept * _PASSING))
    if fitting < 1:
        needed = (beside + kept * _PASSING) / 1e6
        raise UnsupportedError(
            f"training this network takes {needed:,.0f} MB beside what the process has, one picture at a time; "
            f"{max(0, allowed) / 1e6:,.0f} MB may be taken",
            "a larger --max-memory, or without --epochs the closed form alone",
        )
    at_a_time = min(len(batch.images), fitting)
    step_s = _seconds(loss, batch, at_a_time)
    with _trainable(teacher):
        float_kept = _kept(float_loss, batch)
        float_s = _seconds(float_loss, batch, at_a_time)
    for parameter in student.parameters():
        parameter.grad = None
    return Cost(at_a_time, kept, float_kept, step_s, float_s)


def _kept(loss: Callable[[Batch], torch.Tensor], batch: Batch) -> int:
    """Bytes that one more picture makes the step keep."""
    return max(1, _held_by(loss, batch.first(2)) - _held_by(loss, batch.first(1)))


def _held_by(loss: Callable[[Batch], torch.Tensor], batch: Batch) -> int:
    storages: dict[int, int] = {}

    def pack(x: torch.Tensor) -> torch.Tensor:
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        held = loss(batch)
    del held
    return sum(storages.values())


def _seconds(loss: Callable[[Batch], torch.Tensor], batch: Batch, at_a_time: int) -> float:
    taken = []
    for _ in range(_TIMES):
        start = time.perf_counter()
        for some in batch.parts(at_a_time):
            loss(some).backward()  # type: ignore[no-untyped-call]
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


@contextmanager
def _trainable(runner: Simulator) -> Iterator[None]:
    parameters = list(runner.module.parameters())
    for parameter in parameters:
        parameter.requires_grad_(True)
    try:
        yield
    finally:
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None

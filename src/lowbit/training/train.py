"""Trains a quantized network to say what the float network says: on pictures, with or without labels.

The closed form comes first. Training goes on from its codes, by gradients through rounding, and keeps the best moment
by the held-out pictures' loss: the closed form itself where nothing was better.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from lowbit.core.errors import UnsupportedError
from lowbit.core.files import aside
from lowbit.core.training import Training, TrainingOptions, TrainingPoint, TrainingProgress
from lowbit.quant.engine import float_runner
from lowbit.quant.model import QuantizedModel
from lowbit.quant.simulate import Simulator
from lowbit.training.cost import Cost, cost_of
from lowbit.training.loss import Outputs, answers_of, distance, feature_maps, label_loss, logits_and_outputs, power
from lowbit.training.pictures import Batch, Pictures
from lowbit.training.rates import optimizer, rate
from lowbit.training.student import Student, Targets

_BATCHES = (64, 32, 16, 8)  # the largest with which there are steps enough
_STEPS = 150
_WORSE = 1.05  # times the best held-out loss: from there training goes back to the best moment, at half the rate
_POINTS = 16  # evaluations on the held-out pictures, the end among them
_HELD_AT_A_TIME = 100
_ATTEMPTS = 3  # at a smaller rate, after a loss that is no number
_STATE, _BEST = "state.pt", "best.pt"

Listener = Callable[[TrainingProgress], None]


@dataclass(slots=True)
class _State:
    """What a checkpoint holds beside parameters and optimizer.

    - steps: of the whole training
    - step: how many are done
    - points, best: as in `Training`
    - attempts: how often the loss was no number
    - halved: how often training went back to its best moment, at half the rate
    - seconds: of earlier processes, and of this one until the last point
    """

    steps: int
    step: int = 0
    points: list[TrainingPoint] = field(default_factory=list)
    best: int = 0
    attempts: int = 0
    halved: int = 0
    seconds: float = 0.0


class Trainer:
    """Trains one model.

    - model: what training begins with
    - targets: what its codes were rounded from
    - folder: holds the checkpoints; a training that was killed goes on from them, to the same result
    - allowed: bytes of memory that training may take beside what the process has already
    - probabilities: whether the network's scores are probabilities

    Raises UnsupportedError where memory does not suffice for one picture.
    """

    def __init__(
        self,
        model: QuantizedModel,
        targets: Targets,
        pictures: Pictures,
        options: TrainingOptions,
        *,
        folder: Path,
        allowed: int,
        probabilities: bool = False,
        progress: Listener = lambda _: None,
    ) -> None:
        self._model, self._pictures, self._options, self._folder = model, pictures, options, folder
        self._probabilities, self._progress = probabilities, progress
        self._teacher, self._student = float_runner(model.graph), Student(model, targets)
        with torch.no_grad():
            self._values = feature_maps(self._teacher, next(pictures.held(2)).images)
            pictures.look(lambda images: answers_of(self._outputs(self._teacher, images)[0]))
            self._power, self._float_accuracy = self._of_teacher()
        self._batch = min(_batch(options.epochs * pictures.count), pictures.count)
        self._cost: Cost = cost_of(self._student, self._teacher, pictures.batch(0, self._batch), self._loss, allowed)
        self._optimizer = optimizer(self._student, self._teacher, next(pictures.held(_HELD_AT_A_TIME)).images)
        self._state = _State(self._steps())

    def run(self) -> tuple[QuantizedModel, Training]:
        """The model after training, and how that went.

        Raises UnsupportedError where the loss is no number whatever the rate.
        """
        state = self._state
        self._folder.mkdir(parents=True, exist_ok=True)
        if (self._folder / _STATE).exists():
            state = self._state = self._restored(self._folder / _STATE)
        else:
            self._evaluate()
        begun, points = time.perf_counter() - state.seconds, max(1, state.steps // _POINTS)
        shown = running = 0.0
        while state.step < state.steps:
            loss = self._take_step(state.step)
            if not math.isfinite(loss):
                state = self._state = self._back()
                continue
            state.step += 1
            now = time.perf_counter()
            state.seconds = now - begun
            running = 0.95 * running + 0.05 * loss if running else loss
            if state.step == state.steps or (state.step % points == 0 and state.step + points <= state.steps):
                self._evaluate()
            if now > shown + 1 or state.step == state.steps:
                shown = now
                self._show(running)
        return self._finished()

    def _finished(self) -> tuple[QuantizedModel, Training]:
        state = self._state
        model = self._model
        if state.best:
            self._set(torch.load(self._folder / _BEST))
            model = self._student.result()
        training = Training(
            options=self._options,
            images=self._pictures.count,
            held_out=self._pictures.held_out,
            batch=self._batch,
            at_a_time=self._cost.at_a_time,
            points=tuple(state.points),
            best=state.best,
            float_accuracy=self._float_accuracy,
            step_s=self._cost.step_s,
            float_step_s=self._cost.float_step_s,
            kept_bytes=self._cost.kept * self._cost.at_a_time,
            float_kept_bytes=self._cost.float_kept * self._cost.at_a_time,
        )
        return model, training

    def _steps(self) -> int:
        """Steps of all epochs, or as many as the budget allows: a step takes what the first one took."""
        steps = self._options.epochs * (self._pictures.count // self._batch)
        if self._options.budget_s is None:
            return steps
        looks = self._cost.step_s * (_POINTS + 2) * self._pictures.held_out / self._batch
        return max(1, min(steps, int((self._options.budget_s - looks) / self._cost.step_s)))

    def _take_step(self, step: int) -> float:
        """One step of the optimizer; its loss an image. Nothing is changed where that is no number."""
        batch, total = self._pictures.batch(step, self._batch), 0.0
        self._optimizer.zero_grad(set_to_none=True)
        for some in batch.parts(self._cost.at_a_time):
            loss = self._loss(some) / self._batch
            total += float(loss.detach())
            if not math.isfinite(total):
                return total
            loss.backward()  # type: ignore[no-untyped-call]
        factor = rate(step, self._state.steps) / 2 ** (self._state.attempts + self._state.halved)
        for group in self._optimizer.param_groups:
            group["lr"] = group["base"] * factor
        self._optimizer.step()
        return total

    def _loss(self, batch: Batch) -> torch.Tensor:
        """Sum of the images' losses."""
        with torch.no_grad():
            _, target = self._outputs(self._teacher, batch.images)
        self._student.begin()
        logits, found = self._outputs(self._student, batch.images)
        return self._distance(logits, found, target, batch)

    def _distance(self, logits: torch.Tensor, found: Outputs, target: Outputs, batch: Batch) -> torch.Tensor:
        """Sum of the images' distances to the float network, and to their labels where these are to be read."""
        loss = distance(found, target, self._power)
        if batch.answers is not None and self._options.label_loss:
            loss = loss + self._options.label_loss * label_loss(logits, batch.answers)
        return loss

    def _outputs(self, runner: Simulator, images: torch.Tensor) -> tuple[torch.Tensor, Outputs]:
        return logits_and_outputs(runner, images, self._values, self._probabilities)

    def _of_teacher(self) -> tuple[tuple[float, ...], float | None]:
        """The mean square norm of each of its outputs on the held-out pictures, and the share that it has right."""
        sums, right = [], 0
        for batch in self._pictures.held(_HELD_AT_A_TIME):
            logits, outputs = self._outputs(self._teacher, batch.images)
            sums.append(power(outputs))
            if batch.answers is not None:
                right += int((answers_of(logits) == batch.answers).sum())
        count = self._pictures.held_out
        mean = tuple(float(sum(parts)) / count for parts in zip(*sums, strict=True))
        return mean, right / count if self._pictures.labelled else None

    @torch.no_grad()
    def _evaluate(self) -> None:
        """A point of the curve; the best one so far is kept, and a checkpoint is written."""
        state, count = self._state, self._pictures.held_out
        loss, same, right = 0.0, 0, 0
        self._student.begin()
        for batch in self._pictures.held(min(_HELD_AT_A_TIME, self._cost.at_a_time)):
            wanted, target = self._outputs(self._teacher, batch.images)
            logits, found = self._outputs(self._student, batch.images)
            loss += float(self._distance(logits, found, target, batch))
            answers = answers_of(logits)
            same += int((answers == answers_of(wanted)).sum())
            if batch.answers is not None:
                right += int((answers == batch.answers).sum())
        loss = loss / count if math.isfinite(loss) else math.inf
        accuracy = right / count if self._pictures.labelled else None
        state.points.append(TrainingPoint(state.seconds, state.step * self._batch, loss, same / count, accuracy))
        best = state.points[state.best].loss
        if loss < best or len(state.points) == 1:
            state.best = len(state.points) - 1
            with aside(self._folder / _BEST) as file:
                torch.save([parameter.detach() for parameter in self._student.parameters()], file)
        elif loss > _WORSE * best:
            state.halved += 1
            self._set(torch.load(self._folder / _BEST))
        with aside(self._folder / _STATE) as file:
            torch.save(
                {
                    "state": state,
                    "parameters": [parameter.detach() for parameter in self._student.parameters()],
                    "optimizer": self._optimizer.state_dict(),
                },
                file,
            )

    def _restored(self, path: Path) -> _State:
        held: dict[str, Any] = torch.load(path, weights_only=False)
        self._set(held["parameters"])
        self._optimizer.load_state_dict(held["optimizer"])
        state: _State = held["state"]
        return state

    @torch.no_grad()
    def _set(self, numbers: list[torch.Tensor]) -> None:
        for parameter, values in zip(self._student.parameters(), numbers, strict=True):
            parameter.copy_(values)

    def _back(self) -> _State:
        """The last checkpoint, to go on from at half the rate."""
        attempts = self._state.attempts + 1
        if attempts > _ATTEMPTS:
            at = self._state.step * self._batch
            raise UnsupportedError(
                f"training: after {at:,} images the loss is no number, at an eighth of the rate too",
                "without --epochs the closed form is written; look at the pictures and at the model's outputs",
            )
        state = self._restored(self._folder / _STATE)
        state.attempts = attempts
        return state

    def _show(self, loss: float) -> None:
        state = self._state
        left = state.seconds / state.step * (state.steps - state.step)
        seen, total = state.step * self._batch, state.steps * self._batch
        self._progress(TrainingProgress(seen, total, loss, left, state.points[-1]))


def _batch(images: int) -> int:
    """Pictures a step: few where there are few, since a step moves codes only so far; as many gain as much."""
    return next((size for size in _BATCHES if images // size >= _STEPS), _BATCHES[-1])

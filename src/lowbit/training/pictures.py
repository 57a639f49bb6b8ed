"""Training pictures: drawn in an order of the seed, turned and shifted; and the held-out ones, as they are."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples
from lowbit.core.training import FEWEST_PICTURES
from lowbit.data.cache import let_go
from lowbit.data.preprocess import to_input

_HELD_OUT = 1_000  # pictures, but at most a tenth of all
_SHARE = 10
_SHIFT = 8  # a picture is shifted by up to an eighth of its sides
_LOOKED_AT = 256
_SAME = 0.9  # of the float network's answers must stay, or pictures are not changed in that way

Answers = npt.NDArray[np.int64]
_Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Batch:
    """Images [N, C, H, W], and the output that is right for each, where labels are read."""

    images: torch.Tensor
    answers: torch.Tensor | None

    def first(self, count: int) -> "Batch":
        """The first pictures."""
        return next(self.parts(count))

    def parts(self, size: int) -> Iterator["Batch"]:
        """All pictures, `size` at a time."""
        for start in range(0, len(self.images), size):
            some = slice(start, start + size)
            yield Batch(self.images[some], None if self.answers is None else self.answers[some])


class Pictures:
    """The pictures of a training: the last ones are held out.

    Pictures are mirrored and shifted only where that leaves the float network's answers alone: digits, say, are not
    mirrored.
    """

    def __init__(self, samples: Samples, preprocess: Preprocess, answers: Answers | None, seed: int) -> None:
        """`answers`: the output that is right for each of the samples. BadInput where there are too few pictures."""
        if len(samples) < FEWEST_PICTURES:
            raise BadInput(f"{len(samples)} training pictures: expected at least {FEWEST_PICTURES}; give more data")
        self._samples, self._preprocess, self._answers, self._seed = samples, preprocess, answers, seed
        self.held_out = min(_HELD_OUT, len(samples) // _SHARE)
        self.count = len(samples) - self.held_out
        self.mirrored = self.shifted = False
        self._order: tuple[int, Answers] | None = None  # an epoch, and the order of its pictures

    @property
    def labelled(self) -> bool:
        """Whether the right output of each picture is known."""
        return self._answers is not None

    def look(self, answers_of: Callable[[torch.Tensor], torch.Tensor]) -> None:
        """Find out which changes of a picture leave the float network's answers, `answers_of(images)` [N], alone."""
        numbers = np.arange(self.count, len(self._samples))[:_LOOKED_AT]
        plain = self._taken(numbers)
        answers = answers_of(self._input(plain))

        def same(changed: _Bytes) -> bool:
            return float((answers_of(self._input(changed)) == answers).float().mean()) >= _SAME

        rng = np.random.default_rng((self._seed, 2))
        self.mirrored = same(plain[:, :, ::-1])
        self.shifted = same(_shifted(plain, rng))

    def batch(self, step: int, size: int) -> Batch:
        """The pictures of a step: those of an epoch in its own order, without the last ones that fill no batch."""
        epoch, place = divmod(step, max(1, self.count // size))
        if self._order is None or self._order[0] != epoch:
            self._order = epoch, np.random.default_rng((self._seed, 0, epoch)).permutation(self.count)
        numbers = np.sort(self._order[1][place * size : (place + 1) * size])
        rng, pixels = np.random.default_rng((self._seed, 1, step)), self._taken(numbers)
        if self.mirrored:
            turned = rng.random(len(pixels)) < 0.5
            pixels[turned] = pixels[turned, :, ::-1]
        if self.shifted:
            pixels = _shifted(pixels, rng)
        return Batch(self._input(pixels), self._right(numbers))

    def held(self, size: int) -> Iterator[Batch]:
        """The held-out pictures, `size` at a time."""
        for start in range(self.count, len(self._samples), size):
            numbers = np.arange(start, min(start + size, len(self._samples)))
            yield Batch(self._input(self._taken(numbers)), self._right(numbers))

    def _taken(self, numbers: Answers) -> _Bytes:
        pixels: _Bytes = np.array(self._samples.images[numbers])
        let_go(self._samples.images)
        return pixels

    def _input(self, pixels: _Bytes) -> torch.Tensor:
        return torch.from_numpy(to_input(pixels, self._preprocess))

    def _right(self, numbers: Answers) -> torch.Tensor | None:
        return None if self._answers is None else torch.from_numpy(self._answers[numbers])


def _shifted(pixels: _Bytes, rng: np.random.Generator) -> _Bytes:
    """Each picture [N, H, W, C] moved by up to an eighth of its height and width; its border is mirrored inwards."""
    count, height, width, _ = pixels.shape
    down, right = height // _SHIFT, width // _SHIFT
    wide = np.pad(pixels, ((0, 0), (down, down), (right, right), (0, 0)), mode="reflect")
    tops, lefts = rng.integers(0, 2 * down + 1, count), rng.integers(0, 2 * right + 1, count)
    return np.stack([wide[i, y : y + height, x : x + width] for i, (y, x) in enumerate(zip(tops, lefts, strict=True))])

"""The null runtime: computes scores at almost no cost, so that timing it measures the harness alone.

It reads the null toolchain's JSON. The scores are a fixed random projection of an image's column means: meaningless,
but deterministic and different for each image. A file may ask for one of the faulty behaviours in `BEHAVIOURS`.
"""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lowbit.core.adapter import Floats, OpPrecision, RuntimeInfo, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import LowbitError, UnsupportedError

INFO = RuntimeInfo(name="null", packages=(), extra=None, reads=("null",), hidden=True, threads_change_scores=False)

_INT8_STEP = 1 / 32  # of the projection's weights, which are normal with deviation 1: nearly all lie within 127 steps


@dataclass(frozen=True, slots=True, eq=False)
class NullSession:
    """A fixed random projection of an image's column means.

    - projection: [C * W, outputs]
    - integer: whether it reports integer kernels
    - macs: multiply-accumulates that it reports
    - damage: a function that changes the scores
    """

    projection: Floats
    integer: bool
    macs: int
    damage: Callable[[Floats], Floats]

    def predict(self, images: Floats) -> Floats:
        """Scores [N, outputs] of images [N, C, H, W]."""
        features = images.mean(axis=2).reshape(len(images), -1)
        return self.damage((features @ self.projection).astype(np.float32))

    def executed_precision(self) -> list[OpPrecision]:
        """One matrix product, reported with all multiply-accumulates of the float graph.

        For an int8 file it only pretends to use integers: its weights lie on an 8-bit grid.
        """
        precision = "s8s8" if self.integer else "f32"
        reason = "" if self.integer else "the file is float"
        return [OpPrecision("projection", "MatMul", precision, self.integer, macs=self.macs, reason=reason)]


def warm_up(options: SessionOptions) -> None:
    """Nothing to load."""


@contextmanager
def open_session(artifact: Artifact, options: SessionOptions) -> Iterator[NullSession]:  # noqa: ARG001 - no threads
    """Read the file and behave as it says. Raises UnsupportedError where the null toolchain did not write it."""
    content = _read(artifact.path)
    opening, damage = BEHAVIOURS[content["behaviour"]]
    opening()
    channels, _, width = artifact.input_shape
    projection = np.random.default_rng(0).normal(size=(channels * width, content["outputs"])).astype(np.float32)
    integer = content["weight_bits"] == 8
    if integer:
        projection = np.clip(np.rint(projection / _INT8_STEP), -127, 127).astype(np.float32) * np.float32(_INT8_STEP)
    yield NullSession(projection, integer, content["macs"] or projection.size, damage)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
        well_formed = content["behaviour"] in BEHAVIOURS and min(content["outputs"], content["weight_bits"]) > 0
        well_formed = well_formed and content["macs"] >= 0
    except (ValueError, KeyError, TypeError) as error:
        raise UnsupportedError(f"{path.name} is no file of the null toolchain ({error})", "build it again") from error
    if not well_formed:
        raise UnsupportedError(f"{path.name} asks for what the null runtime has not: {content}", "build it again")
    return dict(content)


def _crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def _hang() -> None:
    while True:
        time.sleep(3600)


def _memory() -> None:
    np.empty(1 << 60, dtype=np.uint8)  # an exabyte: a MemoryError everywhere, without touching a page


def _refuse() -> None:
    raise UnsupportedError("the null runtime was told to refuse this file", "name another recipe")


def _raise(scores: Floats) -> Floats:
    raise LowbitError(f"the null runtime was told to fail, here at a batch of {len(scores)}")


def _nothing() -> None:
    pass


def _same(scores: Floats) -> Floats:
    return scores


# What a file may ask for: what happens at opening, and what becomes of the scores.
BEHAVIOURS: dict[str, tuple[Callable[[], None], Callable[[Floats], Floats]]] = {
    "well": (_nothing, _same),
    "crash": (_crash, _same),
    "hang": (_hang, _same),
    "memory": (_memory, _same),
    "refuse": (_refuse, _same),
    "raise": (_nothing, _raise),
    "nan": (_nothing, lambda scores: np.full_like(scores, np.nan)),
    "constant": (_nothing, lambda scores: np.zeros_like(scores)),
}

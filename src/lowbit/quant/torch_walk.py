"""The walk: statistics of one layer after another, from the float run and the run quantized so far, side by side."""

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from lowbit.quant.rounding.moments import Moments
from lowbit.quant.torch_columns import columns, groups_of, places_of, to_matrix
from lowbit.quant.torch_observe import Images, chunk_size
from lowbit.quant.torch_run import Env, Runner

SAMPLES = 1024  # images at most; more change nothing (docs/engine.md)
COLUMNS = 16_384  # of a layer, over all images
_COLUMNS_AT_A_TIME = 2048
_HELD_OUT = 0.2  # the share of images that ridges are chosen on

_BYTES_A_SECOND = 5e8  # to a file and back
_PRODUCTS_A_SECOND = 2e10


class Walk:
    """Goes through both networks in step, layer by layer; layers behind it must have their final weights.

    Where it stopped, the tensors still needed lie on disk, chunk by chunk, so that memory does not grow with the
    number of images. What costs more to write than to compute again (MobileNetV2's wide tensors) is computed again.
    """

    def __init__(self, floats: Runner, simulated: Runner, images: Images, seed: int, scratch: Path) -> None:
        self.floats, self.simulated = floats, simulated
        self._images, self._seed, self._scratch = images, seed, scratch
        self._count = min(images.count, SAMPLES)
        self._size = chunk_size(floats, images)
        self._at = 0  # both networks' position that the stored tensors belong to
        self._products = 0  # multiply-accumulates of one sample since then
        self._calls = (layer_calls(floats), layer_calls(simulated))

    def layer(self, name: str) -> Any:
        """The torch layer that the ONNX node `name` became."""
        return self.floats.layer(self._calls[0][name])

    def moments(self, name: str) -> tuple[Moments, Moments]:
        """What the layer reads: moments of the images it is fitted on, and of the last fifth, held out."""
        node, twin = (calls[name] for calls in self._calls)
        layer = self.layer(name)
        stop = self.floats.position[node]
        outputs, rows = to_matrix(layer, np.empty(tuple(layer.weight.shape))).shape[1:]
        parts = tuple(_Gathered(Moments(groups_of(layer), rows)) for _ in range(2))
        fitted = self._count - int(self._count * _HELD_OUT)
        generator = torch.Generator().manual_seed(self._seed * 1_000_003 + stop)
        keep, done = False, 0
        for number, (size, env_f, env_q) in enumerate(self._stored()):
            self.floats.run(env_f, self._at, stop)
            self.simulated.run(env_q, self._at, stop)
            f, q = self.floats.reads(node, env_f), self.simulated.reads(twin, env_q)
            places = self._places(layer, f, size, generator)
            parts[int(done >= fitted > 0)].add(columns(layer, f, places), columns(layer, q, places))
            if number == 0:
                keep = self._worth_keeping(env_f, size)
            if keep:
                stored = size, self._indexed(self.floats, env_f), self._indexed(self.simulated, env_q)
                with self._file(number).open("wb") as file:
                    pickle.dump(stored, file, protocol=5)
            done += size
        if keep:
            self._at, self._products = stop, 0
        self._products += places_of(layer, f) * groups_of(layer) * outputs * rows
        return parts[0].moments(), parts[1].moments()

    def _stored(self) -> Iterator[tuple[int, Env, Env]]:
        """Each chunk's number of images, and the environments of both runs where the walk stopped."""
        number = left = 0
        if self._at == 0:
            left = self._count
            for chunk in self._images.chunks(self._size):
                if left <= 0:
                    return
                some = chunk[:left]
                left -= len(some)
                yield len(some), self.floats.start(some), self.simulated.start(some)
            return
        while self._file(number).exists():
            with self._file(number).open("rb") as file:
                size, f, q = pickle.load(file)
            yield size, self._env(self.floats, f), self._env(self.simulated, q)
            number += 1

    def _places(self, layer: nn.Module, x: torch.Tensor, size: int, generator: torch.Generator) -> torch.Tensor:
        """Random output positions [N, P] of x's samples; of a Gemm rows of x, [1, P]."""
        wanted = -(-COLUMNS // self._count)
        places = places_of(layer, x)
        if isinstance(layer, nn.Linear):
            return torch.randperm(len(x), generator=generator)[: wanted * size][None]
        if wanted >= places:
            return torch.arange(places).expand(len(x), -1)
        return torch.randint(places, (len(x), wanted), generator=generator)

    def _worth_keeping(self, env: Env, size: int) -> bool:
        """Whether writing and reading the tensors costs less than computing them again for the layers to come."""
        stored = 2 * sum(x.numel() * 4 for x in env.values() if isinstance(x, torch.Tensor)) / size
        return stored / _BYTES_A_SECOND < 2 * self._products / _PRODUCTS_A_SECOND

    def _indexed(self, runner: Runner, env: Env) -> dict[int, Any]:
        """`env` as something to write: positions instead of nodes, NumPy arrays instead of tensors."""
        return {runner.position[n]: x.numpy() if isinstance(x, torch.Tensor) else x for n, x in env.items()}

    def _env(self, runner: Runner, stored: dict[int, Any]) -> Env:
        return {runner.nodes[i]: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for i, x in stored.items()}

    def _file(self, number: int) -> Path:
        return self._scratch / f"chunk-{number}.pt"


class _Gathered:
    """Columns on their way into moments, many at a time: products of few columns are slow."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._waiting: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, f: torch.Tensor, q: torch.Tensor) -> None:
        """Take in [G, K, P] of both runs."""
        self._waiting.append((f, q))
        if sum(f.shape[2] for f, _ in self._waiting) >= _COLUMNS_AT_A_TIME:
            self.moments()

    def moments(self) -> Moments:
        """Of all columns so far."""
        if self._waiting:
            f, q = (torch.cat(parts, dim=2).numpy() for parts in zip(*self._waiting, strict=True))
            self._moments.update(f, q)
            self._waiting.clear()
        return self._moments


def layer_calls(runner: Runner) -> dict[str, fx.Node]:
    """ONNX node → the call of its layer."""
    return {str(node.meta["onnx_node"]): node for node in runner.nodes if node.op == "call_module"}

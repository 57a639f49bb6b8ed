"""The walk: statistics of one layer after another, from the float run and the run quantized so far, side by side."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import fx, nn

from lowbit.quant.columns import columns, groups_of, places_of, to_matrix
from lowbit.quant.parallel import in_order
from lowbit.quant.ranges.observe import LARGEST_CHUNK, LARGEST_TENSOR, Images, chunk_size
from lowbit.quant.rounding.moments import Moments
from lowbit.quant.simulate import Env, Simulator

SAMPLES = 1024  # images at most; more change nothing (docs/engine.md)
COLUMNS = 16_384  # of a layer, over all images
_SMALL, _COLUMNS_OF_SMALL = 32, 4096  # rows of a problem that fewer columns settle, such as a depthwise layer's
_COLUMNS_AT_A_TIME = 2048
_HELD_OUT = 0.2  # the share of images that ridges are chosen on

_LARGEST_STORE = 2_000_000_000  # bytes on disk


class Walk:
    """Runs both networks in step, layer by layer. Layers that it has passed must have their final weights.

    Tensors that later layers need are stored on disk, one file per chunk of images, so that memory does not grow with
    their number. A tensor that costs more to store than to compute is computed again. `workers` chunks run in parallel;
    the result does not depend on how many.
    """

    def __init__(
        self, floats: Simulator, simulated: Simulator, images: Images, seed: int, scratch: Path, workers: int
    ) -> None:
        self.floats, self.simulated, self._workers = floats, simulated, workers
        self._images, self._seed, self._scratch = images, seed, scratch
        self._count = min(images.count, SAMPLES)
        self._size = chunk_size(floats, images)
        self._joinable = True
        self._at = 0  # both networks' position that the stored tensors belong to
        self._calls = (layer_calls(floats), layer_calls(simulated))
        self._numbers, self._products = self._measure()

    def layer(self, name: str) -> Any:
        """The torch layer that the ONNX node `name` became."""
        return self.floats.layer(self._calls[0][name])

    def moments(self, name: str) -> tuple[Moments, Moments]:
        """What the layer reads: moments of the images it is fitted on, and of the last fifth, held out."""
        node, twin = (calls[name] for calls in self._calls)
        layer = self.layer(name)
        stop = self.floats.position[node]
        rows = to_matrix(layer, np.empty(tuple(layer.weight.shape))).shape[2]
        parts = tuple(_Gathered(Moments(groups_of(layer), rows)) for _ in range(2))
        fitted = self._count - int(self._count * _HELD_OUT)
        keep = self._worth_keeping(stop)

        def look(chunk: _Chunk) -> tuple[int, torch.Tensor, torch.Tensor]:
            """The chunk's first image, and columns of both runs."""
            env_f, env_q = self._read(chunk)
            self.floats.run(env_f, self._at, stop)
            self.simulated.run(env_q, self._at, stop)
            f, q = self.floats.reads(node, env_f), self.simulated.reads(twin, env_q)
            places = self._places(layer, f, chunk, stop)
            if keep:
                self._write(chunk, env_f, env_q)
            return chunk.first, columns(layer, f, places), columns(layer, q, places)

        size = self._grown(stop)
        for first, f, q in in_order(look, self._chunks(size), self._workers):
            parts[int(first >= fitted > 0)].add(f, q)
        if keep:
            self._at, self._size = stop, size
        return parts[0].moments(), parts[1].moments()

    def _chunks(self, size: int) -> Iterator["_Chunk"]:
        """The images, `size` at a time; with them where nothing is stored yet."""
        batches = self._images.chunks(size) if self._at == 0 else None
        for first in range(0, self._count, size):
            some = min(size, self._count - first)
            yield _Chunk(first, some, None if batches is None else next(batches)[:some])

    def _grown(self, stop: int) -> int:
        """Images at a time from where the walk stopped to `stop`: as many stored chunks as smaller tensors allow.

        One where something else lies in the chunks than tensors [N, …]: a size that was computed from the batch.
        """
        largest = max(self._numbers[node] for node in self.floats.nodes[self._at : stop + 1])
        many = min(LARGEST_TENSOR // max(largest, 1), LARGEST_CHUNK, -(-self._count // 5)) // self._size
        return self._size * max(1, many if self._joinable else 1)

    def _read(self, chunk: "_Chunk") -> tuple[Env, Env]:
        """The environments of both runs where the walk stopped."""
        if chunk.images is not None:
            return self.floats.start(chunk.images), self.simulated.start(chunk.images)
        stored = []
        for first in range(chunk.first, chunk.first + chunk.size, self._size):
            stored.append(torch.load(self._file(first), weights_only=False))
        runs = (self.floats, self.simulated)
        f, q = (_joined(runner, envs) for runner, envs in zip(runs, zip(*stored, strict=True), strict=True))
        return f, q

    def _write(self, chunk: "_Chunk", env_f: Env, env_q: Env) -> None:
        written = _indexed(self.floats, env_f), _indexed(self.simulated, env_q)
        by_image = all(isinstance(x, torch.Tensor) and len(x) == chunk.size > 1 for x in env_f.values())
        self._joinable = self._joinable and by_image
        path = self._file(chunk.first)
        with path.open("r+b" if path.exists() else "wb") as file:  # new pages would cost more than what is written
            torch.save(written, file, _use_new_zipfile_serialization=False)  # sums of a zip cost twice its writing
            file.truncate()

    def _file(self, first: int) -> Path:
        return self._scratch / f"images-{first}"

    def _places(self, layer: Any, x: torch.Tensor, chunk: "_Chunk", stop: int) -> torch.Tensor:
        """Random output positions [N, P] of x's samples; of a Gemm rows of x, [1, P]."""
        generator = torch.Generator().manual_seed((self._seed * 1_000_003 + stop) * 1_000_003 + chunk.first)
        few = layer.weight[0].numel() <= _SMALL
        wanted = -(-(_COLUMNS_OF_SMALL if few else COLUMNS) // self._count)
        places = places_of(layer, x)
        if isinstance(layer, nn.Linear):
            return torch.randperm(len(x), generator=generator)[: wanted * chunk.size][None]
        if wanted >= places:
            return torch.arange(places).expand(len(x), -1)
        return torch.randint(places, (len(x), wanted), generator=generator)

    def _worth_keeping(self, stop: int) -> bool:
        """Whether tensors are better written and read than computed again for the layers to come.

        Seconds a sample and run, roughly, of one core: that much the choice can cost, and nothing else.
        """
        nodes = self.floats.nodes
        live = sum(self._numbers[n] for n in nodes[:stop] if any(self.floats.position[u] >= stop for u in n.users))
        again = sum(self._products[n] / 1.5e10 + self._numbers[n] * 2e-9 for n in nodes[self._at : stop])
        return 2 * 4 * live * self._count <= _LARGEST_STORE and 8e-9 * live < again

    def _measure(self) -> tuple[dict[fx.Node, int], dict[fx.Node, int]]:
        """Of each node, for one sample: how many numbers it gives, and how many multiply-accumulates it takes."""
        numbers, products = dict.fromkeys(self.floats.nodes, 0), dict.fromkeys(self.floats.nodes, 0)
        layers = set(self._calls[0].values())
        env = self.floats.start(next(self._images.chunks(1)))
        for index, node in enumerate(self.floats.nodes):
            if node in layers and hasattr(self.floats.layer(node), "weight"):
                layer: Any = self.floats.layer(node)
                products[node] = places_of(layer, self.floats.reads(node, env)) * layer.weight.numel()
            self.floats.run(env, index, index + 1)
            if isinstance(env.get(node), torch.Tensor):
                numbers[node] = env[node].numel()
        return numbers, products


@dataclass(frozen=True, slots=True)
class _Chunk:
    """Some images: the number of the first one, how many, and where the walk begins with them, the images."""

    first: int
    size: int
    images: torch.Tensor | None


def _indexed(runner: Simulator, env: Env) -> dict[int, Any]:
    """`env` as something to write: positions instead of nodes, and no tensor that would take a larger one along."""
    return {runner.position[node]: _alone(x) if isinstance(x, torch.Tensor) else x for node, x in env.items()}


def _alone(x: torch.Tensor) -> torch.Tensor:
    """x, copied where it is a part of a larger tensor."""
    return x if x.untyped_storage().nbytes() == x.numel() * x.element_size() else x.clone()


def _joined(runner: Simulator, stored: Sequence[dict[int, Any]]) -> Env:
    """What `_indexed` gave, of one chunk or several as one."""
    if len(stored) == 1:
        return {runner.nodes[position]: value for position, value in stored[0].items()}
    return {runner.nodes[position]: torch.cat([chunk[position] for chunk in stored]) for position in stored[0]}


class _Gathered:
    """Columns that are collected before they are added to moments, because products of few columns are slow."""

    def __init__(self, moments: Moments) -> None:
        self._moments = moments
        self._waiting: list[tuple[torch.Tensor, torch.Tensor]] = []

    def add(self, f: torch.Tensor, q: torch.Tensor) -> None:
        """Take in [P, G, K] of both runs."""
        self._waiting.append((f, q))
        if sum(len(f) for f, _ in self._waiting) >= _COLUMNS_AT_A_TIME:
            self.moments()

    def moments(self) -> Moments:
        """Of all columns so far."""
        if self._waiting:
            f, q = (torch.cat(parts).numpy() for parts in zip(*self._waiting, strict=True))
            self._moments.update(f, q)
            self._waiting.clear()
        return self._moments


def layer_calls(runner: Simulator) -> dict[str, fx.Node]:
    """ONNX node → the call of its layer."""
    return {str(node.meta["onnx_node"]): node for node in runner.nodes if node.op == "call_module"}

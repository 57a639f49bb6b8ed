"""What rounding needs to know of a layer's inputs: means and covariances, gathered in one pass, in constant memory."""

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from lowbit.core.errors import BadInput

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

LARGEST_WHOLE = 4608  # rows; two covariances of 170 MB each
_BLOCK = 1024  # rows, where there are more


@dataclass(frozen=True, slots=True, eq=False)
class Statistics:
    """Of one block of k rows: what `count` columns say. d = f − q, how far the quantized run is off.

    mean_d, mean_q [G, k]; qq = E[q qᵀ], dq = E[d qᵀ], about their means, [G, k, k].
    """

    count: int
    mean_d: Doubles = field(repr=False)
    mean_q: Doubles = field(repr=False)
    qq: Doubles = field(repr=False)
    dq: Doubles = field(repr=False)

    def joined(self, other: "Statistics") -> "Statistics":
        """Of the columns of both (Chan, Golub and LeVeque 1983, eq. 2.1)."""
        if not (self.count and other.count):
            return self if self.count else other
        count = self.count + other.count
        mine, theirs = self.count / count, other.count / count
        step_d, step_q = other.mean_d - self.mean_d, other.mean_q - self.mean_q
        return Statistics(
            count,
            self.mean_d + theirs * step_d,
            self.mean_q + theirs * step_q,
            mine * self.qq + theirs * other.qq + mine * theirs * step_q[:, :, None] * step_q[:, None],
            mine * self.dq + theirs * other.dq + mine * theirs * step_d[:, :, None] * step_q[:, None],
        )


class Moments:
    """One layer's inputs as columns of K rows (im2col), in the float run (f) and in the run quantized so far (q).

    `groups` G: 1 for a plain convolution or matrix product, C for a depthwise one. Products are float32, about the
    first columns' means so that nothing cancels, and summed in float64. E[d qᵀ], d = f − q, is kept in place of
    E[f qᵀ] = E[d qᵀ] + E[q qᵀ]: it is small where the runs are close. Above 4,608 rows only the covariances within
    blocks of 1,024 consecutive rows are kept (25,088 rows: 0.4 GB): rows of different blocks count as uncorrelated.
    """

    def __init__(self, groups: int, rows: int) -> None:
        size = rows if rows <= LARGEST_WHOLE else _BLOCK
        self.groups, self.rows, self.count = groups, rows, 0
        self.blocks = tuple(slice(start, min(start + size, rows)) for start in range(0, rows, size))
        self._about_d = self._about_q = np.zeros((groups, rows), np.float32)
        self._sum_d, self._sum_q = np.zeros((groups, rows)), np.zeros((groups, rows))
        sizes = [block.stop - block.start for block in self.blocks]
        self._qq = [np.zeros((groups, size, size)) for size in sizes]
        self._dq = [np.zeros((groups, size, size)) for size in sizes]

    def update(self, f: Floats, q: Floats) -> None:
        """Add P columns: f, q [P, G, K]. BadInput where they are not finite."""
        if f.shape != q.shape or f.shape[1:] != (self.groups, self.rows):
            raise BadInput(f"columns {f.shape} and {q.shape}: expected twice [columns, {self.groups}, {self.rows}]")
        if len(f) == 0:
            return
        d = f - q
        if self.count == 0:
            self._about_d, self._about_q = d.mean(axis=0), q.mean(axis=0)
        d -= self._about_d
        q = q - self._about_q
        sum_d, sum_q = d.sum(axis=0, dtype=np.float64), q.sum(axis=0, dtype=np.float64)
        if not (np.isfinite(sum_d).all() and np.isfinite(sum_q).all()):
            raise BadInput("a layer's inputs are not finite: look for NaN or infinity in the images or the model")
        self.count += len(f)
        self._sum_d += sum_d
        self._sum_q += sum_q
        by_group_d, by_group_q = d.transpose(1, 2, 0), q.transpose(1, 2, 0)
        for block, qq, dq in zip(self.blocks, self._qq, self._dq, strict=True):
            turned = by_group_q[:, block].swapaxes(1, 2)
            qq += by_group_q[:, block] @ turned
            dq += by_group_d[:, block] @ turned

    def of(self, block: int) -> Statistics:
        """The statistics of the rows `blocks[block]`."""
        rows, count = self.blocks[block], max(self.count, 1)
        off_d, off_q = self._sum_d[:, rows] / count, self._sum_q[:, rows] / count
        return Statistics(
            self.count,
            off_d + self._about_d[:, rows],
            off_q + self._about_q[:, rows],
            self._qq[block] / count - off_q[:, :, None] * off_q[:, None],
            self._dq[block] / count - off_d[:, :, None] * off_q[:, None],
        )

"""Measures the error of quantizing activations alone: float weights and quantized activations, against float.

Verification shows whether a runtime computes what the plan says. It cannot show what the plan itself loses, for example
by a range that too many tensors share.
"""

import math
from dataclasses import dataclass

import torch

from lowbit.quant.parallel import in_order
from lowbit.quant.ranges.observe import Images
from lowbit.quant.simulate import Simulator

IMAGES = 128  # of the calibration images, at most
_MOST_CHANGED = 0.03  # of all answers, without a note
_LEAST_SIGNAL = 15.0  # dB, without a note


@dataclass(frozen=True, slots=True)
class ActivationLoss:
    """- images: how many images were compared
    - changed: how many of their predictions changed
    - signal: signal-to-noise ratio of the scores in dB: their power about each image's mean, over that of the error;
      infinite where there is no error
    """

    images: int
    changed: int
    signal: float

    @property
    def note(self) -> str | None:
        """A sentence for the user; None where the loss is small."""
        if self.changed <= _MOST_CHANGED * self.images and self.signal >= _LEAST_SIGNAL:
            return None
        share = 100 * self.changed / self.images
        return (
            f"quantizing activations alone, with float weights, changes {share:.1f} % of the answers on "
            f"{self.images} calibration images, and scores lie {self.signal:.0f} dB above the error: more bits for "
            "activations, or for single layers, or other ranges (--range)"
        )


def activation_loss(floats: Simulator, quantized: Simulator, images: Images, size: int, workers: int) -> ActivationLoss:
    """Compare both on the first calibration images, `size` at a time; the weights of both must be float."""
    count = min(IMAGES, images.count)

    def look(chunk: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return floats.scores(chunk), quantized.scores(chunk)

    chunks = (chunk for chunk, _ in zip(images.chunks(size), range(-(-count // size)), strict=False))
    pairs = list(in_order(look, chunks, workers))
    wanted, found = (torch.cat(parts)[:count].double() for parts in zip(*pairs, strict=True))
    signal = wanted - wanted.mean(1, keepdim=True) if wanted.shape[1] > 1 else wanted - wanted.mean()
    ratio = float(signal.square().sum() / (found - wanted).square().sum())
    changed = int((wanted.argmax(1) != found.argmax(1)).sum())
    return ActivationLoss(count, changed, 10 * math.log10(ratio) if 0 < ratio < math.inf else math.inf)

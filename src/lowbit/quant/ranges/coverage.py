"""How much of what a network can answer its calibration images show."""

from collections.abc import Iterable
from dataclasses import dataclass

import torch

from lowbit.quant.plan.plan import QuantPlan

_LITTLE = 0.5  # share of the outputs


@dataclass(frozen=True, slots=True)
class Coverage:
    """Which answers calibration images get from the float network.

    - seen: how many outputs are the highest of all for at least one image
    - outputs: how many outputs the network has
    """

    seen: int
    outputs: int

    def note(self, plan: QuantPlan) -> str | None:
        """A sentence for the user; None where the images cover half of the outputs, or every layer has 8 bits.

        At 8 bits a network calibrated on half of its classes was seen to lose nothing on the others.
        """
        few = any(
            layer.format is not None and (layer.format.bits < 8 or layer.activation_bits < 8) for layer in plan.layers
        )
        if not few or self.seen >= _LITTLE * self.outputs:
            return None
        return (
            f"the network answers with {self.seen} of its {self.outputs:,} outputs on the calibration images: rounding "
            "adapts to what these images show, and pictures of anything else may come out worse than accuracy on "
            "pictures of the same kind says; calibrate on all that the network will see"
        )


def coverage(chunks: Iterable[torch.Tensor]) -> Coverage:
    """Of scores [N, outputs], chunk by chunk."""
    seen, outputs = set[int](), 0
    for scores in chunks:
        outputs = scores.shape[1]
        seen.update(scores.argmax(1).tolist())
    return Coverage(len(seen), outputs)

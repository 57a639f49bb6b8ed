"""A network with every kind of product that the LiteRT and torch runtimes count, and the counts by hand."""

import torch
from torch import nn


class EveryProduct(nn.Module):
    """[N, 3, 8, 8] → [N, 5] by a convolution, a depthwise and a transposed one, a product of activations, a layer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 4, 3, stride=2, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, padding=1, groups=4)
        self.transposed = nn.ConvTranspose2d(4, 2, 2, stride=2)
        self.linear = nn.Linear(2 * 8 * 8, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.transposed(self.depthwise(torch.relu(self.conv(x))))
        y = torch.matmul(y, y + 1)
        scores: torch.Tensor = self.linear(y.flatten(1))
        return scores


MACS = [
    4 * (3 * 9) * (4 * 4),  # 4 channels of 4 × 4 pixels, each from 3 × 3 × 3 values
    4 * 9 * (4 * 4),  # depthwise: each pixel from 3 × 3 values of its own channel
    (4 * 4 * 4) * (2 * 2 * 2),  # transposed: each of 4 × 4 × 4 values goes to 2 channels of 2 × 2 pixels
    2 * (8 * 8) * 8,  # two matrices [8, 8] times [8, 8]
    5 * (2 * 8 * 8),
]

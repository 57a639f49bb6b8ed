"""ResNet-34 with pre-activation for 32 × 32 images and 100 classes, as `torch-resnet34.yaml` measures it.

He et al. 2016, "Identity Mappings in Deep Residual Networks", figure 4e: BatchNorm and ReLU stand before each
convolution, so that a BatchNorm cannot be folded into the convolution before it.
"""

import torch
from torch import nn
from torch.nn import functional

BLOCKS, WIDTHS = (3, 4, 6, 3), (64, 128, 256, 512)


class Block(nn.Module):
    """x [N, inputs, H, W] → [N, width, H / stride, W / stride]."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.BatchNorm2d(inputs), nn.BatchNorm2d(width)
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, padding=1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        same = stride == 1 and inputs == width
        self.shortcut = None if same else nn.Conv2d(inputs, width, 1, stride, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Both branches added."""
        active = functional.relu(self.norm1(x))
        around = x if self.shortcut is None else self.shortcut(active)
        through = self.conv2(functional.relu(self.norm2(self.conv1(active))))
        added: torch.Tensor = through + around
        return added


class PreActivationResNet34(nn.Module):
    """Images [N, 3, 32, 32] → scores [N, classes]; 21.3 million parameters."""

    def __init__(self, classes: int = 100) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, WIDTHS[0], 3, padding=1, bias=False)
        inputs, layers = WIDTHS[0], []
        for stage, (count, width) in enumerate(zip(BLOCKS, WIDTHS, strict=True)):
            for number in range(count):
                layers.append(Block(inputs, width, 2 if stage and number == 0 else 1))
                inputs = width
        self.layers = nn.Sequential(*layers)
        self.norm, self.classifier = nn.BatchNorm2d(inputs), nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores."""
        x = functional.relu(self.norm(self.layers(self.stem(x))))
        scores: torch.Tensor = self.classifier(functional.adaptive_avg_pool2d(x, 1).flatten(1))
        return scores


def build() -> nn.Module:
    """The network with PyTorch's own initial weights, the same in every run."""
    torch.manual_seed(0)
    return PreActivationResNet34().eval()

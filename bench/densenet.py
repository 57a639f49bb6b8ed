"""Train a DenseNet on CIFAR-10 and write it as ONNX: a network whose layers all read long concatenations.

    python bench/densenet.py CIFAR10-PARQUET-FOLDER densenet.onnx [--epochs 6] [--network densenet121]

Depth 40, growth 12, compression 0.5, bottlenecks of 48 channels (Huang et al. 2017, "Densely Connected Convolutional
Networks", section 3), but a stem of stride 2, which makes training four times as fast: 0.18 million parameters. The
data set's own `train` and `test` parquet files are read. Images are prepared as `--preprocess
cifar10,resize=none,crop=none` does, with flips and shifts while training. A few epochs with one-cycle learning rates
give about 80 %, which is enough to see what quantization loses. `--network densenet121` is torchvision's network
instead (7 million parameters, its own stem, ten classes).
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from lowbit.data.cache import batches, make_samples, open_samples
from lowbit.data.datasets import open_dataset
from lowbit.data.preprocess import parse
from lowbit.sources.torch_operators import declare_torchvision_operators

PREPROCESS = "cifar10,resize=none,crop=none"


class Layer(nn.Module):
    """BN-ReLU-Conv(1x1)-BN-ReLU-Conv(3x3) on the concatenation of all earlier features."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.first, self.narrow = nn.BatchNorm2d(inputs), nn.Conv2d(inputs, 4 * growth, 1, bias=False)
        self.second, self.grow = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, features: list[torch.Tensor]) -> torch.Tensor:
        x = self.narrow(functional.relu(self.first(torch.cat(features, 1))))
        grown: torch.Tensor = self.grow(functional.relu(self.second(x)))
        return grown


class DenseNet(nn.Module):
    """Three dense blocks; `depth` counts convolutions and the classifier."""

    def __init__(self, depth: int = 40, growth: int = 12, classes: int = 10) -> None:
        super().__init__()
        width, per_block = 2 * growth, (depth - 4) // 6
        self.stem = nn.Conv2d(3, width, 3, stride=2, padding=1, bias=False)
        self.blocks, self.transitions = nn.ModuleList(), nn.ModuleList()
        for block in range(3):
            self.blocks.append(nn.ModuleList(Layer(width + i * growth, growth) for i in range(per_block)))
            width += per_block * growth
            if block < 2:
                half = width // 2
                self.transitions.append(
                    nn.Sequential(
                        nn.BatchNorm2d(width), nn.ReLU(), nn.Conv2d(width, half, 1, bias=False), nn.AvgPool2d(2)
                    )
                )
                width = half
        self.norm, self.classifier = nn.BatchNorm2d(width), nn.Linear(width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.stem(x)
        for number, block in enumerate(self.blocks):
            features = [x]
            for layer in block:  # type: ignore[attr-defined]
                features.append(layer(features))
            x = torch.cat(features, 1)
            if number < len(self.transitions):
                x = self.transitions[number](x)
        scores: torch.Tensor = self.classifier(functional.relu(self.norm(x)).mean((2, 3)))
        return scores


def densenet121() -> nn.Module:
    """torchvision's network with ten classes."""
    declare_torchvision_operators()
    from torchvision.models import densenet121 as made

    model: nn.Module = made(num_classes=10)
    return model


def images_of(data: str, folder: Path) -> tuple[tuple[torch.Tensor, torch.Tensor], tuple[torch.Tensor, torch.Tensor]]:
    """Training and test images [N, 3, 32, 32] float32 with their labels."""
    preprocess = parse(PREPROCESS)
    dataset = open_dataset(data)
    if not folder.exists():
        count = len(dataset.train.labels) if dataset.train else 1024
        make_samples(dataset, preprocess, calibration_samples=count, seed=0, limit=None, out=folder, workers=2)
    train, test = open_samples(folder, "calibration"), open_samples(folder, "evaluation")

    def whole(part: object) -> tuple[torch.Tensor, torch.Tensor]:
        images = np.concatenate(list(batches(part, preprocess, 1000)))  # type: ignore[arg-type]
        return torch.from_numpy(images), torch.from_numpy(np.array(part.labels))  # type: ignore[attr-defined]

    return whole(train), whole(test)


def augmented(x: torch.Tensor) -> torch.Tensor:
    """Each image flipped or not, and shifted by up to four pixels, zeros coming in."""
    x = torch.where((torch.rand(len(x)) < 0.5)[:, None, None, None], x.flip(3), x)
    wide = functional.pad(x, (4, 4, 4, 4))
    shifts = torch.randint(0, 9, (len(x), 2)).tolist()
    return torch.stack([image[:, dy : dy + 32, dx : dx + 32] for image, (dy, dx) in zip(wide, shifts, strict=True)])


def accuracy(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    model.eval()
    with torch.inference_mode():
        right = sum(
            (model(a).argmax(1) == b).sum() for a, b in zip(torch.split(x, 500), torch.split(y, 500), strict=True)
        )
    return float(right) / len(y)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data")
    parser.add_argument("out", type=Path)
    parser.add_argument("--network", choices=("bc", "densenet121"), default="bc")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    given = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(given.threads)
    (x, y), (test_x, test_y) = images_of(given.data, given.out.with_suffix(".samples"))
    model = DenseNet() if given.network == "bc" else densenet121()
    steps = given.epochs * (len(x) // given.batch_size)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.2, momentum=0.9, nesterov=True, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps, pct_start=0.25)
    begun = time.monotonic()
    for epoch in range(given.epochs):
        model.train()
        order = torch.randperm(len(x))[: len(x) // given.batch_size * given.batch_size]
        for step, rows in enumerate(torch.split(order, given.batch_size)):
            loss = functional.cross_entropy(model(augmented(x[rows])), y[rows])
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimizer.step()
            schedule.step()
            if step % 100 == 0:
                print(f"epoch {epoch} step {step} loss {loss.item():.3f} {time.monotonic() - begun:.0f} s", flush=True)
        share = accuracy(model, test_x[:2000], test_y[:2000])
        print(f"epoch {epoch}: {100 * share:.2f} % of 2,000 test images", flush=True)
    print(f"{100 * accuracy(model, test_x, test_y):.2f} % of {len(test_y):,} test images", flush=True)
    model.eval()
    torch.onnx.export(model, (test_x[:2],), given.out, dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},),
                      input_names=["input"], output_names=["scores"])  # fmt: skip


if __name__ == "__main__":
    main()

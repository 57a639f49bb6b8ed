"""The classifier of `digits-tflite.yaml` in PyTorch: the network, its first weights and its training are Keras'."""

import torch
from torch import nn
from torch.nn import functional

from lowbit.studies.digits_data import BATCH, EPOCHS, training_digits


def build() -> nn.Module:
    """The trained module: images [N, 1, 8, 8] in 0…16 → probabilities [N, 10]; 32,810 parameters."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # sums in another order would give other weights
    net = nn.Sequential(
        *(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Conv2d(64, 32, 3), nn.ReLU(), nn.Conv2d(32, 32, 3), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(128, 32), nn.ReLU(), nn.Linear(32, 10), nn.Softmax(1)),
    )
    for layer in net:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)  # Keras' glorot_uniform
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    pixels, answers = training_digits()
    images, labels = torch.from_numpy(pixels)[:, None], torch.from_numpy(answers)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-3, eps=1e-7)  # Keras' defaults
    for _ in range(EPOCHS):
        for chosen in torch.split(torch.randperm(len(images)), BATCH):
            loss = functional.nll_loss(net(images[chosen]).clamp_min(1e-7).log(), labels[chosen])
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    return net.eval()

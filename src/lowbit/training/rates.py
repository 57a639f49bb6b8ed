"""How fast parameters move: Adam, with a rate for each kind in its own unit, so that no network needs others."""

import math

import torch
from torch import nn

from lowbit.quant.simulate import Simulator
from lowbit.quant.walk import layer_calls
from lowbit.training.student import Student

_OF_WEIGHTS = 0.02  # of the step between two codes
_OF_SCALES = 0.005  # of a scale's logarithm
_OF_BIASES = 0.001  # of the standard deviation of what the layer gives
_BETAS = (0.9, 0.99)
_WARM = 0.05  # of all steps


def optimizer(student: Student, teacher: Simulator, images: torch.Tensor) -> torch.optim.Adam:
    """Adam (Kingma and Ba 2015) over the student's parameters. `images`: to see how wide the layers' results are."""
    widths = _widths(teacher, images)
    groups = [
        _group([weight.latent for weight in student.weights.values()], _OF_WEIGHTS),
        _group([*(weight.log_scale for weight in student.weights.values()), *student.scales.values()], _OF_SCALES),
        *(_group([bias], _OF_BIASES * widths[layer]) for layer, bias in student.biases.items()),
    ]
    return torch.optim.Adam(groups, betas=_BETAS)


def rate(step: int, steps: int) -> float:
    """The share of its rate that a parameter moves by in a step: rising at first, then falling along half a cosine."""
    return min(1.0, (step + 1) / max(1.0, steps * _WARM)) * 0.5 * (1 + math.cos(math.pi * step / steps))


def _group(parameters: list[nn.Parameter], base: float) -> dict[str, object]:
    return {"params": parameters, "lr": base, "base": base}


@torch.no_grad()
def _widths(teacher: Simulator, images: torch.Tensor) -> dict[str, float]:
    """Standard deviation of what each layer gives in the float network."""
    names = {call: name for name, call in layer_calls(teacher).items()}
    env, found = teacher.start(images), dict[str, float]()
    for index, node in enumerate(teacher.nodes):
        teacher.run(env, index, index + 1)
        if node in names and node in env:
            found[names[node]] = max(float(env[node].std()), 1e-6)
    return found

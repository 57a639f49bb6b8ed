"""The distance between the quantized network and the float one: of their scores, and of what lies before them.

The float network is sure of the images it was trained on, so that labels and the divergence of its answers say little
there. Squared distances of scores and of feature maps say more.
"""

import torch
from torch.nn import functional

from lowbit.quant.simulate import Simulator
from lowbit.torchgraph.importer import VALUES

_MAPS = 2  # of features, the last ones of their sizes
_LEAST = 1e-12  # of a probability whose logarithm is taken

Outputs = tuple[torch.Tensor, ...]  # centred logits [N, outputs], then feature maps [N, …]


def feature_maps(runner: Simulator, images: torch.Tensor) -> tuple[str, ...]:
    """Names of the feature maps to compare: all that the network knows of an image lies in one tensor there.

    Of each size that such maps have, the last map; of these the last two. Where all have one size, the middle one and
    the last. Maps have places: what is one number a channel is left to the scores.
    """
    env = runner.start(images)
    sizes: dict[str, tuple[int, ...]] = {}
    for index, node in enumerate(runner.nodes):
        runner.run(env, index, index + 1)
        names, x = node.meta.get(VALUES, ()), env.get(node)
        if node.op == "placeholder" or not names or list(env) != [node] or not isinstance(x, torch.Tensor):
            continue
        if x.is_floating_point() and x.ndim >= 3 and len(x) == len(images) and x[0].numel() > x.shape[1]:
            sizes[names[-1]] = tuple(x.shape[2:] if x.ndim == 4 else x.shape[1:])
    names = list(sizes)
    ends = [name for name, following in zip(names, [*names[1:], None], strict=True)
            if following is None or sizes[name] != sizes[following]]  # fmt: skip
    if len(ends) == 1 and len(names) > 1:
        ends = [names[len(names) // 2 - 1], ends[0]]
    return tuple(ends[-_MAPS:])


def logits_and_outputs(
    runner: Simulator, images: torch.Tensor, values: tuple[str, ...], probabilities: bool
) -> tuple[torch.Tensor, Outputs]:
    """Logits [N, outputs] of images, and what is compared: the centred ones, and the feature maps `values`.

    probabilities: whether the network ends in probabilities; of several outputs their logarithms are logits, but for
    a number that all outputs share.
    """
    found: dict[str, torch.Tensor] = {}
    env, begin = runner.start(images), 0
    for index, node in enumerate(runner.nodes):
        names = [name for name in node.meta.get(VALUES, ()) if name in values]
        if names:
            runner.run(env, begin, index + 1)
            found |= dict.fromkeys(names, env[node])
            begin = index + 1
    runner.run(env, begin, len(runner.nodes))
    scores = runner.scores_in(env)
    several = scores.shape[1] > 1
    if probabilities:
        scores = scores.clamp_min(_LEAST).log() if several else scores.logit(_LEAST)
    centred = scores - scores.mean(1, keepdim=True) if several else scores
    return scores, (centred, *(found[name] for name in values))


def answers_of(scores: torch.Tensor) -> torch.Tensor:
    """The answer [N] that scores mean: the highest output, or of one output whether it is above 0."""
    return scores.argmax(1) if scores.shape[1] > 1 else (scores[:, 0] > 0).long()


def label_loss(scores: torch.Tensor, answers: torch.Tensor) -> torch.Tensor:
    """Sum over the images of the cross-entropy of the right answers."""
    if scores.shape[1] > 1:
        return functional.cross_entropy(scores, answers, reduction="sum")
    return functional.binary_cross_entropy_with_logits(scores[:, 0], answers.float(), reduction="sum")


def power(target: Outputs) -> list[torch.Tensor]:
    """Sum over the images of each square norm."""
    return [x.square().sum(dtype=torch.float64) for x in target]


def distance(student: Outputs, target: Outputs, mean_power: tuple[float, ...]) -> torch.Tensor:
    """Sum over the images of |s − t|² / E|t|², added over scores and feature maps."""
    parts = [
        functional.mse_loss(s, t, reduction="sum") / max(p, 1e-12)
        for s, t, p in zip(student, target, mean_power, strict=True)
    ]
    return torch.stack(parts).sum()

"""What is told of a job that has ended."""

from dataclasses import replace
from pathlib import Path

from lowbit.cli.progress import Figures
from lowbit.core.model import FloatModel
from lowbit.core.outcome import Accuracy

FLOAT = Accuracy(n_samples=1000, correct=900, correct_top5=None, agreement=1.0, kl=None, b=0, c=0, p_value=1.0)
OTHER = replace(FLOAT, correct=880, agreement=0.95, kl=0.01, b=30, c=10)
MODEL = FloatModel(Path(), "", "net", "net.onnx", "", "x", "y", (3, 8, 8), 10, probabilities=False)


def test_top1_is_told_of_a_trained_network_alone() -> None:
    figures = Figures()
    assert figures.of(MODEL) == ""
    assert figures.of(FLOAT).startswith("top-1 90.00 %")
    assert figures.of(OTHER) == "top-1 88.00 %, as float on 95.0 %"
    figures.of(replace(MODEL, random_weights=True))
    assert figures.of(FLOAT) == "as float on 100.0 %"


def test_a_pass_that_ended_early_is_told_by_its_difference_to_float() -> None:
    """50 images: right on 47 of them, where the float model is right on 48: 90 % less 2 points, not 94 %."""
    figures = Figures()
    figures.of(MODEL)
    early = replace(OTHER, n_samples=50, correct=47, b=1, c=0)
    assert figures.of(FLOAT) and "top-1 88.00 %" in figures.of(early) and "50 images" in figures.of(early)

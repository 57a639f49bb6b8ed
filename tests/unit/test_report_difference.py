"""The words of `lowbit diff`: one plain sentence a verdict, and every figure with what it stands on."""

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from lowbit.core.codec import from_plain, to_plain
from lowbit.core.difference import (
    Difference,
    LayerDifference,
    LayersDifference,
    PictureDifference,
    ScoresDifference,
    Side,
    Verdict,
)
from lowbit.core.verified import UncheckedLayer
from lowbit.report.difference import as_json, difference_text, verdict_sentence

FIRST = Side(Path("study/a/model.onnx"), "onnx", "1", "lowbit/w8a8", "onnxruntime", {"onnxruntime": "1.31.1"}, 1, 32)
SECOND = replace(FIRST, runtime="openvino", versions={"openvino": "2026.4.1"})
SCORES = ScoresDifference(
    200, 10, (False, False), 150, 3, 12.5, 1.0, 0.2, 0.1, 0.2, (0, 0), (PictureDifference(17, "p.png", (1, 2), 12.5),)
)
LAYER = LayerDifference(1, "Conv_0", "Conv", 1000, 0.01, 0.5, 0.0, 0.001, parted=False)
PARTED = LayerDifference(2, "Conv_2", "Conv", 1000, 0.01, 99.0, 0.25, 0.6, parted=True, from_reference=(0.0, 0.6))


def found(verdict: Verdict, **more: object) -> Difference:
    return replace(Difference(verdict, FIRST, SECOND, True, "pictures", SCORES), **more)  # type: ignore[arg-type]


def text(difference: Difference) -> str:
    console = Console(file=io.StringIO(), width=200)
    console.print(difference_text(difference))
    printed = console.file
    assert isinstance(printed, io.StringIO)
    return printed.getvalue()


@pytest.mark.parametrize(
    ("verdict", "same_network", "sentence"),
    [
        ("equal", True, "They agree: all scores are equal, bit by bit."),
        (
            "agree", True,
            "They agree: 150 of 200 answers are the same; scores differ by 20 % of their spread, as they do where "
            "kernels round differently.",
        ),
        ("agree", False, "They agree: 150 of 200 answers are the same; scores differ by 20 % of their spread."),
        (
            "close", True,
            "They differ a little: 150 of 200 answers are the same; scores differ by 20 % of their spread: rounding "
            "adds up.",
        ),
        (
            "apart", False,
            "They differ: 150 of 200 answers are the same; scores differ by 20 % of their spread. They are different "
            "networks, so that neither need be wrong.",
        ),
        (
            "miscomputed", True,
            "One of them computes it wrongly: the same file, but 150 of 200 answers are the same; scores differ by 20 "
            "% of their spread.",
        ),
    ],
)  # fmt: skip
def test_a_sentence_for_each_verdict(verdict: Verdict, same_network: bool, sentence: str) -> None:
    assert verdict_sentence(found(verdict, same_network=same_network)) == sentence


def test_who_is_wrong_is_said_by_the_first_layer_or_else_by_the_float_model() -> None:
    layers = LayersDifference(8, True, (LAYER, PARTED))
    assert found("miscomputed", layers=layers).wrong is SECOND
    near, far = replace(SCORES, error=0.01), replace(SCORES, error=0.3)
    unjudged = replace(layers, layers=(LAYER, replace(PARTED, from_reference=None)))
    assert found("miscomputed", layers=unjudged).wrong is None
    assert found("miscomputed", layers=unjudged, from_float=(far, near)).wrong is FIRST
    assert found("miscomputed", from_float=(near, far)).wrong is SECOND
    assert found("miscomputed", from_float=(far, far)).wrong is None
    assert found("agree", layers=layers, from_float=(near, far)).wrong is None
    sentence = verdict_sentence(found("miscomputed", layers=layers, second=replace(SECOND, digest="2")))
    assert sentence.startswith("openvino computes it wrongly: the same network, but 150 of 200")


def test_figures_and_layers() -> None:
    unchecked = (UncheckedLayer("Pad_3", "in openvino: refused"),)
    said = text(found("miscomputed", layers=LayersDifference(8, True, (LAYER, PARTED), unchecked)))
    for words in (
        "75.0 % of pictures have the same answer (95 % interval 68.6 to 80.5)",
        ".10 nats of B from A, .20 of A from B; the scores are logits",
        "largest difference 12.5, mean 1.00",
        "3 of 200 pictures",
        "Conv Conv_2 (number 2): 25 % of its values are more than one and a half steps apart, the largest difference "
        "is 99 steps, the root mean square 60 % of their spread",
        "2 layers run alone on equal inputs (8 pictures); 1 part",
        "A (onnxruntime) differs from it by nothing, B (openvino) by 60 % of their spread",
        "1 layer, such as Pad_3: in openvino: refused",
        "onnxruntime 1.31.1; 1 thread, 32 images a call",
        "p.png",
    ):
        assert words in said, said
    assert "none parts by more than rounding" in text(found("agree", layers=LayersDifference(8, True, (LAYER,))))
    assert "a tenth of its values' spread" in text(found("agree", layers=LayersDifference(8, False, (LAYER,))))
    assert "they part at Add_5" in text(found("miscomputed", layers=LayersDifference(8, True, (LAYER,), (), "Add_5")))
    assert "not compared one by one: it is so" in text(found("agree", no_layers="it is so"))
    broken = replace(SCORES, not_finite=(0, 2), kl=None, kl_back=None)
    assert "B gives NaN or infinity for 2 pictures" in text(found("miscomputed", scores=broken))
    assert "4 cat" not in text(found("agree")) and "1 cat" in text(found("agree", class_names=tuple(["x", "cat"] * 5)))


def test_json_holds_every_field() -> None:
    layers = LayersDifference(8, True, (LAYER, PARTED))
    difference = found("miscomputed", layers=layers, float_model=FIRST, from_float=(SCORES, SCORES))
    plain = json.loads(json.dumps(as_json(difference), allow_nan=False))
    assert (plain.pop("agreement"), plain.pop("wrong")) == (0.75, "second")
    low, high = plain.pop("agreement_interval")
    assert low < 0.75 < high
    assert from_plain(Difference, plain) == difference
    assert to_plain(from_plain(Difference, plain)) == to_plain(difference)

"""What `lowbit diff` found, as text for a terminal: a sentence first, then figures, layers and pictures."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from lowbit.core.codec import to_plain
from lowbit.core.difference import Difference, LayerDifference, LayersDifference, ScoresDifference, Side
from lowbit.measure.stats import wilson
from lowbit.report import words

_TIMES = 10  # from this multiple of the spread on, "2,808 times" says more than "280,800 %"
_MANY = 1e6  # times: from here on with an exponent
_LITTLE = 1e-4  # percent: what is less is not written out


def difference_text(found: Difference) -> RenderableType:
    """The verdict, the figures, and the pictures that differ most."""
    grid = Table.grid(padding=(0, 2))
    for name, text in _facts(found):
        grid.add_row(Text(name, style="bold"), Text(text, overflow="fold"))
    parts: list[RenderableType] = [Text(verdict_sentence(found), style="bold"), Text(), grid]
    if found.scores.farthest:
        parts += [Text(), _pictures(found)]
    return Group(*parts)


def as_json(found: Difference) -> dict[str, Any]:
    """All fields, with the agreement as a share, its interval, and which side computes the network wrongly."""
    scores, wrong = found.scores, found.wrong
    return {
        **to_plain(found),
        "agreement": scores.same_answers / scores.images,
        "agreement_interval": wilson(scores.same_answers, scores.images),
        "wrong": None if wrong is None else "first" if wrong is found.first else "second",
    }


def verdict_sentence(found: Difference) -> str:
    """What it comes to, in a sentence."""
    scores = found.scores
    answers = f"{scores.same_answers:,} of {words.count(scores.images, 'answer')} are the same"
    spread = f"scores differ by {_of_spread(scores.error)}"
    if found.verdict == "equal":
        return "They agree: all scores are equal, bit by bit."
    if found.verdict == "agree":
        why = ", as they do where kernels round differently" if found.same_network else ""
        return f"They agree: {answers}; {spread}{why}."
    if found.verdict == "close":
        why = ": rounding adds up" if found.same_network else ""
        return f"They differ a little: {answers}; {spread}{why}."
    if found.verdict == "apart":
        return f"They differ: {answers}; {spread}. They are different networks, so that neither need be wrong."
    who = "One of them" if found.wrong is None else found.wrong.runtime
    network = "file" if found.first.digest == found.second.digest else "network"
    return f"{who} computes it wrongly: the same {network}, but {answers}; {spread}."


def _facts(found: Difference) -> Iterator[tuple[str, str]]:
    yield "A", _side(found.first)
    yield "B", _side(found.second)
    if found.float_model is not None:
        yield "float", _side(found.float_model)
    scores = found.scores
    yield "pictures", f"{scores.images:,} of {found.data}; {words.count(scores.outputs, 'score')} each"
    yield "agreement", agreement_text(scores)
    yield "KL divergence", _divergence(scores)
    yield (
        "scores",
        f"largest difference {_number(scores.largest)}, mean {_number(scores.mean)}; root mean square "
        f"{_of_spread(scores.error)}",
    )
    yield "equal bits", f"{scores.equal_images:,} of {words.count(scores.images, 'picture')}"
    for side, count in zip(("A", "B"), scores.not_finite, strict=True):
        if count:
            yield "not finite", f"{side} gives NaN or infinity for {words.count(count, 'picture')}"
    if found.from_float is not None:
        for name, from_float in zip(("A from float", "B from float"), found.from_float, strict=True):
            yield name, f"{agreement_text(from_float)}; scores differ by {_of_spread(from_float.error)}"
    if found.layers is not None:
        yield from _layers(found, found.layers)
    elif found.no_layers:
        yield "layers", f"not compared one by one: {found.no_layers}"


def agreement_text(scores: ScoresDifference) -> str:
    """ "99.4 % (98.2 to 99.8) of pictures have the same answer"; the interval is Wilson's of 95 %."""
    low, high = wilson(scores.same_answers, scores.images)
    share = words.agreement(scores.same_answers / scores.images)
    return f"{share} % of pictures have the same answer (95 % interval {low * 100:.1f} to {high * 100:.1f})"


def _side(side: Side) -> str:
    versions = ", ".join(f"{name} {version}" for name, version in side.versions.items())
    made_by = f"{side.made_by}, " if side.made_by else ""
    settings = f"{words.count(side.threads, 'thread')}, {words.count(side.batch_size, 'image')} a call"
    return f"{_short(side.path)} ({made_by}{side.format}) in {side.runtime} ({versions}; {settings})"


def _short(path: Path) -> str:
    """The file and its folder: all artifacts of a study are called model."""
    return "/".join(path.parts[-2:])


def _divergence(scores: ScoresDifference) -> str:
    if scores.kl is None or scores.kl_back is None:
        return "not known: no picture has finite scores on both sides"
    kinds = {True: "probabilities", False: "logits"}
    a, b = (kinds[each] for each in scores.probabilities)
    what = f"; the scores are {a}" if a == b else f"; A gives {a}, B {b}"
    return f"{words.divergence(scores.kl)} nats of B from A, {words.divergence(scores.kl_back)} of A from B{what}"


def _layers(found: Difference, layers: LayersDifference) -> Iterator[tuple[str, str]]:
    count, pictures = words.count(len(layers.layers), "layer"), words.count(layers.images, "picture")
    ran = f"{count} run alone on equal inputs ({pictures})"
    first, parted = layers.first, sum(layer.parted for layer in layers.layers)
    if first is not None:
        yield "first layer", f"{_layer(first)}: {_apart(first)}"
        yield "layers", f"{ran}; {parted} part"
        if first.from_reference is not None:
            a, b = (_of_spread(error) for error in first.from_reference)
            yield (
                "plain arithmetic",
                f"of this layer: A ({found.first.runtime}) differs from it by {a}, B ({found.second.runtime}) by {b}",
            )
    elif layers.layers:
        bound = "rounding" if layers.same_numbers else "a tenth of its values' spread"
        farthest = max(layers.layers, key=lambda layer: layer.largest)
        if not farthest.largest:
            yield "layers", f"{ran}; all give equal results"
        else:
            yield "layers", f"{ran}; none parts by more than {bound}; farthest {_layer(farthest)}: {_apart(farthest)}"
    if layers.together is not None:
        yield "together", f"behind all that comes before it, they part at {layers.together}"
    if layers.unchecked:
        some = layers.unchecked[0]
        yield "not compared", f"{words.count(len(layers.unchecked), 'layer')}, such as {some.node}: {some.reason}"


def _layer(layer: LayerDifference) -> str:
    return f"{layer.op_type} {layer.name} (number {layer.number})"


def _apart(layer: LayerDifference) -> str:
    beyond = (
        f"{words.significant(layer.beyond * 100, 2)} % of its values are more than one and a half steps apart, "
        if layer.beyond
        else ""
    )
    return f"{beyond}the largest difference is {_steps(layer.largest)}, the root mean square {_of_spread(layer.error)}"


def _steps(largest: float) -> str:
    text = f"{largest:.3g}"
    return f"{text} step" if text == "1" else f"{text} steps"


def _pictures(found: Difference) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    table.add_column("differ most", justify="right")
    for heading in ("A answers", "B answers"):
        table.add_column(heading)
    table.add_column("by", justify="right")
    table.add_column("picture", overflow="fold")
    for picture in found.scores.farthest:
        first, second = (_answer(found, answer) for answer in picture.answers)
        table.add_row(*map(Text, (f"{picture.index:,}", first, second, _number(picture.largest), picture.name)))
    return table


def _answer(found: Difference, answer: int) -> str:
    name = found.class_names[answer] if found.class_names else ""
    return str(answer) if name in ("", str(answer)) else f"{answer} {name}"


def _number(value: float) -> str:
    """Three digits; with an exponent where that is shorter."""
    return words.significant(value) if value == 0 or 1e-3 <= value < 1e6 else f"{value:.2e}"


def _of_spread(error: float) -> str:
    """A multiple of the standard deviation in words: "2.6 % of their spread"."""
    if error >= _TIMES:
        return f"{error:,.0f} times their spread" if error < _MANY else f"{error:.1e} times their spread"
    if error == 0:
        return "nothing"
    percent = error * 100
    return f"{words.significant(percent, 2) if percent >= _LITTLE else f'less than {_LITTLE:.4f}'} % of their spread"

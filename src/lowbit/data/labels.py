"""What the classes of the data are called, and which output of the model stands for which."""

import json
from collections.abc import Sequence
from pathlib import Path

from lowbit.core.errors import BadInput
from lowbit.core.text import said

_MOST_CLASSES = 250_000  # more than any public set of labelled pictures has


def numbered_names(highest: int, where: str) -> tuple[str, ...]:
    """The names "0", "1" … `highest` of classes that have none. `where`: what holds the labels.

    Raises BadInput for numbers that cannot be those of classes, which would make as many names.
    """
    if highest >= _MOST_CLASSES:
        raise BadInput(
            f"{where}: label {highest} was found; labels count the classes from 0 without gaps, so that would be "
            f"{highest + 1:,} classes. If these are identifiers, number them 0, 1, 2 … in order "
            "(numpy.unique(labels, return_inverse=True)[1])"
        )
    return tuple(str(label) for label in range(highest + 1))


def output_index(class_names: Sequence[str], outputs: int, labels_file: Path | None) -> tuple[int, ...]:
    """For each class of the data the model's output (0 … outputs - 1) that stands for it.

    Without a file the n-th class is the n-th output, and their numbers must agree: where the model has more outputs,
    which of them are meant would be a guess. A single output tells two classes apart: 0 stands for what lies at or
    below its threshold and 1 for what lies above; which of them the only class of the data is, a file must say. Raises
    BadInput.
    """
    if outputs == 1:
        return _of_one_output(class_names, labels_file)
    if labels_file is not None:
        return _from_file(class_names, outputs, labels_file)
    if outputs < len(class_names):
        raise BadInput(
            f"the model has {outputs} outputs, the data have {len(class_names)} classes ({_some(class_names)}): "
            "at least one output a class was expected; is this the model for these data?"
        )
    if outputs > len(class_names):
        raise BadInput(
            f"the model has {outputs} outputs, the data have {len(class_names)} classes ({_some(class_names)}): which "
            "outputs are meant? Give --labels labels.json, which maps each class to an output: "
            f'{{"{class_names[0]}": 0, …}}'
        )
    return tuple(range(outputs))


def index_by_name(class_names: Sequence[str], output_names: Sequence[str]) -> tuple[int, ...] | None:
    """For each class of the data the output that the model calls the same; None where names do not decide.

    Names are the same whatever their case, and with `_` or `-` for a space; an output may have several, with commas
    between ("tabby, tabby cat"). Classes that are only numbered have no names. BadInput where some classes are found,
    but not all, and not where they stand in the data: then the order differs, and the place of the others would be a
    guess.

    >>> index_by_name(["Owl", "tabby_cat"], ["dog", "tabby, tabby cat", "owl"])
    (2, 1)
    >>> index_by_name(["0", "1"], ["cat", "dog"])
    """
    if tuple(class_names) == tuple(str(place) for place in range(len(class_names))):
        return None
    whole: dict[str, list[int]] = {}
    parts: dict[str, list[int]] = {}
    for place, name in enumerate(output_names):
        whole.setdefault(_plain(name), []).append(place)
        for part in name.split(","):
            parts.setdefault(_plain(part), []).append(place)
    found = [whole.get(name) or parts.get(name) or [] for name in map(_plain, class_names)]
    sure = {place: outputs[0] for place, outputs in enumerate(found) if len(outputs) == 1}
    if len(sure) == len(class_names) == len(set(sure.values())):
        return tuple(sure[place] for place in range(len(class_names)))
    moved = [place for place, output in sure.items() if place != output]
    if moved and len(class_names) == len(output_names):
        taken = list(sure.values())
        lost = [name for place, name in enumerate(class_names) if place not in sure or taken.count(sure[place]) > 1]
        raise BadInput(
            f"class {moved[0]} of the data, {class_names[moved[0]]!r}, is output {sure[moved[0]]} of the model by its "
            f"name, but no output of its own is called {_some(lost)}: give --labels labels.json, which maps each class "
            f'to an output: {{"{class_names[0]}": 0, …}}'
        )
    return None


def _plain(name: str) -> str:
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _of_one_output(class_names: Sequence[str], labels_file: Path | None) -> tuple[int, ...]:
    if len(class_names) > 2:
        raise BadInput(
            f"the model has 1 output, which tells two classes apart; the data have {len(class_names)} classes "
            f"({_some(class_names)}): is this the model for these data?"
        )
    if labels_file is not None:
        return _from_file(class_names, 2, labels_file)
    if len(class_names) < 2:
        raise BadInput(
            f"the model has 1 output, which tells two classes apart; the data have one ({class_names[0]}): which of "
            f'the two is it? Give --labels labels.json: {{"{class_names[0]}": 1}} where its output is above the '
            "threshold, 0 where it is not"
        )
    return (0, 1)


def _from_file(class_names: Sequence[str], outputs: int, path: Path) -> tuple[int, ...]:
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=lambda pairs: _unique(pairs, path))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"--labels {path}: cannot be read ({said(error)})") from error
    except json.JSONDecodeError as error:
        raise BadInput(
            f"--labels {path}: not JSON ({said(error)}); an object that maps each class to an output was expected"
        ) from error
    if not isinstance(mapping, dict):
        raise BadInput(
            f'--labels {path}: an object that maps each class to an output was expected, like {{"cat": 281}}'
        )
    if missing := [name for name in class_names if name not in mapping]:
        raise BadInput(f"--labels {path}: no output for {_some(missing)}; every class of the data needs one")
    if unknown := [name for name in mapping if name not in class_names]:
        raise BadInput(f"--labels {path}: the data have no class {_some(unknown)}; they have {_some(class_names)}")
    class_of: dict[int, str] = {}
    for name in class_names:
        output = mapping[name]
        if not isinstance(output, int) or isinstance(output, bool) or not 0 <= output < outputs:
            raise BadInput(f"--labels {path}: {name!r} → {output!r}; an output from 0 to {outputs - 1} was expected")
        if output in class_of:
            raise BadInput(
                f"--labels {path}: {class_of[output]!r} and {name!r} both → {output}; one output a class was expected"
            )
        class_of[output] = name
    return tuple(class_of)


def _unique(pairs: list[tuple[str, object]], path: Path) -> dict[str, object]:
    mapping = dict(pairs)
    if len(mapping) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise BadInput(f"--labels {path}: {twice!r} stands there twice; say it once")
    return mapping


def _some(names: Sequence[str], most: int = 8) -> str:
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown}, … ({len(names)} in all)"

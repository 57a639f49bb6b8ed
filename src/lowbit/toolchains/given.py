"""The toolchain `given`: takes a file that somebody else made into the study as it is.

It is hidden and has no recipes of its own: a study that is given files makes one recipe for each (`recipe_of`).
"""

import shutil
from pathlib import Path

from lowbit.core import digest
from lowbit.core.adapter import BuildRequest, Built, ToolchainInfo
from lowbit.core.errors import BadInput, LowbitError, UnsupportedError
from lowbit.core.format import ONNX, OPENVINO_IR, TFLITE, FileFormat, file_format
from lowbit.core.model import FloatModel
from lowbit.core.recipe import Recipe
from lowbit.formats.facts import FileFacts
from lowbit.formats.read import read_facts, together
from lowbit.toolchains._edge import metadata

INFO = ToolchainInfo(
    name="given",
    packages=(),
    extra=None,
    makes=ONNX.name,
    made_for=("onnxruntime",),
    recipes=(),
    hidden=True,
)

_DIGEST = "digest"  # the recipe's only option: digest of the file's contents

# Format → the runtime that its files are meant for, and the packages, with their extra, that are needed to read a file.
_KINDS: dict[str, tuple[str, tuple[str, ...], str | None]] = {
    ONNX.name: ("onnxruntime", (), None),
    OPENVINO_IR.name: ("openvino", (), None),
    TFLITE.name: ("litert", ("ai-edge-litert",), "litert"),
}
FORMATS: tuple[FileFormat, ...] = (ONNX, OPENVINO_IR, TFLITE)


def recipe_of(name: str, form: FileFormat, contents: str) -> Recipe:
    """The recipe called `name` for a file of the format `form`. Nobody says how it was quantized: widths are None.

    - contents: digest of the file and of what is read together with it, so that an edited file is another recipe
    """
    runtime, packages, extra = _KINDS[form.name]
    return Recipe(
        name=name,
        weight_bits=None,
        activation_bits=None,
        claim=None,
        options={_DIGEST: contents},
        made_for=(runtime,),
        makes=form.name,
        packages=packages,
        extra=extra,
    )


def build(request: BuildRequest) -> Built:
    """Copy the file, with what is read together with it, and read what it fixes.

    Raises BadInput where the file cannot be read, UnsupportedError where it does not fit the float model, and
    LowbitError where it is not the file that the study was planned with.
    """
    if request.given is None:
        raise ValueError(f"{request.recipe.name}: no file was given to the toolchain {INFO.name}")
    source, form = request.given, file_format(INFO.format_of(request.recipe))
    try:
        parts = together(source, form.name)
    except BadInput as error:  # rows are passed on to others: they name files, not their place on this machine
        raise BadInput(str(error).replace(f"{source.parent}/", "")) from error
    copies = [request.out / part.relative_to(source.parent) for part in parts]
    for part, copy in zip(parts, copies, strict=True):
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(part, copy)
    if digest.of_files(copies) != request.recipe.options[_DIGEST]:
        raise LowbitError(f"{source.name} was changed while the study ran; give the same command again")
    facts = read_facts(copies[0], form.name)
    _check_fits(facts, request.model, source)
    return Built(
        main=copies[0],
        notes=_notes(facts, request),
        batch_size=facts.batch_size,
        dynamic=facts.dynamic,
        probabilities=facts.probabilities,
    )


def _notes(facts: FileFacts, request: BuildRequest) -> tuple[str, ...]:
    """What a reader of its rows must know."""
    notes = []
    if facts.probabilities is not None and facts.probabilities != request.model.probabilities:
        words = ("probabilities", "logits") if facts.probabilities else ("logits", "probabilities")
        notes.append(f"its scores are {words[0]} and are compared as the {words[1]} that the float model gives")
    if facts.dynamic:
        notes.append("ranges are taken over the whole batch, so scores depend on its size")
    for key, text in metadata(request.preprocess).items():
        if facts.metadata.get(key, text) != text:
            notes.append("the file asks for another preprocessing than the float model's, which it got here")
    return tuple(notes)


def _check_fits(facts: FileFacts, model: FloatModel, file: Path) -> None:
    """Raises UnsupportedError where the file says that it takes other images, or gives other scores, than the model."""
    channels, height, width = model.input_shape
    layouts = (model.input_shape, (height, width, channels))
    if not any(_agree(facts.input_shape, layout) for layout in layouts):
        sizes = " x ".join(str(side or "any") for side in facts.input_shape) or "an unknown shape"
        raise UnsupportedError(
            f"{file.name} takes images of {sizes}, the float model takes {channels} x {height} x {width} "
            "(channels, height, width)",
            "give a file that was made from this float model",
        )
    if facts.results != 1:
        raise UnsupportedError(
            f"{file.name} has {facts.results} outputs, one was expected", "give a file with the class scores only"
        )
    if facts.outputs not in (0, model.outputs):
        raise UnsupportedError(
            f"{file.name} gives {facts.outputs} scores an image, the float model gives {model.outputs}",
            "give a file that was made from this float model",
        )


def _agree(said: tuple[int, ...], expected: tuple[int, ...]) -> bool:
    """Whether all sides are the same; 0 stands for a side that the file leaves free."""
    return len(said) == len(expected) and all(a in (0, b) for a, b in zip(said, expected, strict=True))

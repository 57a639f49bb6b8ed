"""timm's networks, by name or from a folder in timm's own form, and how timm prepares pictures for them."""

import importlib
import math
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import torch
from PIL import Image
from torch import nn

from lowbit.core.adapter import Floats
from lowbit.core.errors import BadInput
from lowbit.core.preprocess import Interpolation, Preprocess
from lowbit.core.text import kind_and_said
from lowbit.data.declare import named
from lowbit.sources._edge import Loaded, SourceRequest
from lowbit.sources._hub import CONFIG, name_of, pickled, weights_of
from lowbit.sources._pictures import check_same
from lowbit.sources.torch_export import load_module
from lowbit.sources.torch_operators import declare_torchvision_operators
from lowbit.sources.torch_random import Head, last_matrix, vary
from lowbit.sources.torch_weights import check_plain, put_weights, read_weights
from lowbit.sources.torch_zoo import IMAGENET_CLASSES, near

_FILTERS = ("nearest", "bilinear", "bicubic")


def load_network(request: SourceRequest, source_digest: str) -> Loaded:
    """The float graph of `timm:NAME`, with the user's weights or random ones."""
    name = request.spec.partition(":")[2]
    config = pretrained_config(name)
    module = _random(name, request) if request.weights is None else _trained(name, request.weights)
    note = how_prepared(request.preprocess, config, request.spec, f"timm says for {name}")
    return load_module(
        module,
        request,
        name=name,
        source_digest=source_digest,
        random_weights=request.weights is None,
        notes=(note,),
    )


def load_folder(folder: Path, config: dict[str, Any], request: SourceRequest, source_digest: str) -> Loaded:
    """The float graph of a folder in timm's own form: config.json with an architecture, and model.safetensors."""
    _check_architecture(str(config["architecture"]), request.spec)
    for file in pickled(weights_of(folder, request.spec)):
        check_plain(file)
    try:
        module: nn.Module = _timm().create_model(f"local-dir:{folder}", pretrained=True, exportable=True)
    except Exception as error:  # the config may hold anything, and so may the weights
        raise BadInput(
            f"{request.spec}: timm cannot build it from {CONFIG} and its weights: {kind_and_said(error)}; save it "
            "again with timm.models.save_for_hf(model, folder)"
        ) from error
    inner = config.get("pretrained_cfg", config)
    note = how_prepared(request.preprocess, inner, request.spec, f"its {CONFIG} says")
    names = _class_names(config.get("label_names") or inner.get("label_names"))
    return load_module(
        module,
        request,
        name=name_of(request.spec),
        source_digest=source_digest,
        notes=(note, *([f"the names of its classes are those of its {CONFIG} (label_names)"] if names else [])),
        class_names=names,
    )


def pretrained_config(name: str) -> dict[str, Any]:
    """What timm says of the weights that `name`, or `name.tag`, is published with; BadInput for an unknown name."""
    _check_architecture(name.partition(".")[0], f"timm:{name}")
    timm = _timm()
    if "." in name:
        tagged = [each for each in timm.list_pretrained() if each.partition(".")[0] == name.partition(".")[0]]
        if name not in tagged:
            raise BadInput(f"timm:{name}: timm has no such weights; {near(name, tagged)}")
    found = timm.get_pretrained_cfg(name)
    return {} if found is None else cast(dict[str, Any], found.to_dict())


def preprocess_of_config(config: dict[str, Any], spec: str) -> Preprocess:
    """A configuration of timm's as preprocessing, held against timm's own on pictures of odd sizes.

    BadInput, with the values, where lowbit cannot say the same.
    """
    data = importlib.import_module(f"{_timm().__name__}.data")
    settings = data.resolve_data_config(pretrained_cfg=config or {"input_size": (3, 224, 224)})
    channels, height, width = settings["input_size"]
    sides = [math.floor(side / settings["crop_pct"]) for side in (height, width)]
    squashed = settings["crop_mode"] == "squash"
    if (
        settings["interpolation"] not in _FILTERS
        or settings["crop_mode"] not in ("center", "squash")
        or channels not in (1, 3)
        or (height != width and not squashed)
    ):
        said = ", ".join(f"{key}={value}" for key, value in settings.items())
        raise BadInput(
            f"{spec}: lowbit cannot prepare pictures as timm does for it ({said}): give --preprocess to say what is to "
            "be measured"
        )
    whole = (sides[0], sides[1]) == (height, width)
    preprocess = named(
        Preprocess(
            "",
            resize=(sides[0], sides[1]) if squashed else sides[0],
            crop=None if squashed and whole else height if height == width else (height, width),
            mean=tuple(settings["mean"]),
            std=tuple(settings["std"]),
            channels="grey" if channels == 1 else "rgb",
            interpolation=cast(Interpolation, settings["interpolation"]),
        )
    )
    transform = data.create_transform(**settings)

    def theirs(picture: Image.Image) -> Floats:
        pixels: Floats = transform(picture.convert("L") if channels == 1 else picture).numpy()
        return pixels

    check_same(theirs, preprocess, spec)
    return preprocess


def how_prepared(used: Preprocess, config: dict[str, Any], spec: str, where: str) -> str:
    """A sentence on how pictures are prepared, beside what timm says of it."""
    try:
        own = preprocess_of_config(config, spec)
    except BadInput:
        return f"pictures are prepared as --preprocess says, not as {where}, which lowbit cannot do exactly"
    return prepared_note(used, own, where)


def prepared_note(used: Preprocess, own: Preprocess, where: str) -> str:
    """A sentence on how pictures are prepared, beside the model's own way (`where` says it)."""
    if named(used) == own:
        return f"pictures are prepared as {where}: {own.name}"
    return f"pictures are prepared as --preprocess says ({used.name}), not as {where}: {own.name}"


def _random(name: str, request: SourceRequest) -> nn.Module:
    torch.manual_seed(request.seed)
    module = _build(name, request.outputs or IMAGENET_CLASSES).eval()
    return vary(module, _head(module)[1], request)


def _trained(name: str, weights: Path) -> nn.Module:
    """`name` with the user's weights, its head as large as theirs. BadInput when they do not fit."""
    state = read_weights(weights)
    head = f"{_head(_build(name, IMAGENET_CLASSES))[0]}.weight"
    if head not in state or state[head].ndim == 0:
        raise BadInput(
            f"--weights {weights}: lacks {head!r}, the classifier of timm's {name}; give weights of {name} under "
            "timm's own names"
        )
    module = _build(name, len(state[head]))
    put_weights(module, state, f"--weights {weights}")
    return module


def _head(module: nn.Module) -> tuple[str, Head]:
    """Name and module of the classifier: what timm names, or the last layer with a matrix where that is none."""
    found = cast(Any, module).get_classifier()
    if not isinstance(found, Head):
        return last_matrix(module)
    return next(name for name, part in module.named_modules() if part is found), found


def _class_names(found: object) -> tuple[str, ...]:
    """timm writes names as a list, or as a dict from the output's number where some have none."""
    if isinstance(found, dict):
        numbered = {int(key): str(value) for key, value in found.items() if str(key).isdecimal()}
        found = [numbered.get(place) for place in range(len(numbered))]
    return tuple(map(str, found)) if isinstance(found, list) and None not in found else ()


def _check_architecture(name: str, spec: str) -> None:
    names = _timm().list_models()
    if name not in names:
        raise BadInput(f"{spec}: timm has no network of the name {name!r}; {near(name, names)}")


def _build(name: str, outputs: int) -> nn.Module:
    module: nn.Module = _timm().create_model(name, pretrained=False, num_classes=outputs, exportable=True)
    return module


def _timm() -> ModuleType:
    declare_torchvision_operators()
    return importlib.import_module("timm")

"""An image classifier of transformers from its folder."""

import importlib
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from lowbit.core.errors import BadInput
from lowbit.core.text import kind_and_said
from lowbit.sources._edge import Loaded, SourceRequest
from lowbit.sources._hub import CONFIG, PREPROCESSOR, name_of, pickled, read_config, weights_of
from lowbit.sources.torch_export import load_module, quiet
from lowbit.sources.torch_operators import import_transformers
from lowbit.sources.torch_processors import own_preprocess
from lowbit.sources.torch_timm import prepared_note
from lowbit.sources.torch_weights import check_plain

_SHOWN = 4  # names that a message lists


def load_folder(folder: Path, request: SourceRequest, source_digest: str) -> Loaded:
    """The float graph of the classifier in `folder`; its preprocessing and the names of its classes are said."""
    with quiet():
        network = _read(folder, request.spec)
    names = _class_names(network.config)
    said = [f"the names of its classes are those of its {CONFIG} (id2label)"] if names else []
    if (folder / PREPROCESSOR).is_file():
        said.insert(0, _how_prepared(folder, request))
    return load_module(
        Scores(network),
        request,
        name=name_of(request.spec),
        source_digest=source_digest,
        notes=tuple(said),
        class_names=names,
    )


def _how_prepared(folder: Path, request: SourceRequest) -> str:
    try:
        return prepared_note(request.preprocess, own_preprocess(folder, request.spec), f"its {PREPROCESSOR} says")
    except BadInput:
        return f"pictures are prepared as --preprocess says, not as its {PREPROCESSOR}, which lowbit cannot do exactly"


class Scores(nn.Module):
    """A classifier of transformers as a function of images [N, C, H, W] alone → scores [N, classes]."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """The scores, without what else the network returns."""
        scores: Tensor = self.network(pixel_values=images).logits
        return scores


def _read(folder: Path, spec: str) -> Any:
    """The network with all of its weights. BadInput where the config is no image classifier or weights are missing."""
    _check_classifier(folder, spec)
    files = weights_of(folder, spec)
    for file in pickled(files):
        check_plain(file)
    try:
        network, found = import_transformers().AutoModelForImageClassification.from_pretrained(
            folder,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=not pickled(files),
            dtype="float32",
            output_loading_info=True,
        )
    except Exception as error:  # the config may hold anything, and so may the weights
        raise BadInput(
            f"{spec}: transformers cannot build it from {CONFIG} and its weights: {kind_and_said(error)}; save it "
            "again with model.save_pretrained(folder)"
        ) from error
    lacking = sorted({*found["missing_keys"], *(str(key[0]) for key in found["mismatched_keys"])})
    if lacking:
        some = ", ".join(lacking[:_SHOWN]) + (f" and {len(lacking) - _SHOWN} more" if len(lacking) > _SHOWN else "")
        raise BadInput(
            f"{spec}: the weights do not fit {CONFIG}: {some} missing or of another shape; transformers would draw "
            "them at random: give a folder with a trained classifier"
        )
    return network


def _check_classifier(folder: Path, spec: str) -> None:
    config = read_config(folder)
    auto = importlib.import_module(f"{import_transformers().__name__}.models.auto.modeling_auto")
    known = auto.MODEL_FOR_IMAGE_CLASSIFICATION_MAPPING_NAMES
    made: set[str] = set()
    for names in known.values():
        made.update((names,) if isinstance(names, str) else names)
    architectures = config.get("architectures") or []
    if config.get("model_type") not in known or (architectures and not made & set(map(str, architectures))):
        found = " and ".join(map(str, architectures)) or f"model_type {config.get('model_type')!r}"
        raise BadInput(
            f"{spec}: its {CONFIG} is of {found}, expected an image classifier of transformers, such as "
            "ViTForImageClassification"
        )


def _class_names(config: Any) -> tuple[str, ...]:
    """Names of the outputs; none where transformers made them up (LABEL_0, LABEL_1 …)."""
    found = {int(key): str(name) for key, name in (config.id2label or {}).items()}
    if sorted(found) != list(range(len(found))) or all(found[key] == f"LABEL_{key}" for key in found):
        return ()
    return tuple(found[key] for key in range(len(found)))

"""torch for real: TorchScript that carries no code to unpickle, free batch sizes, arithmetic as it is dispatched."""

import pickletools
import re
import sysconfig
from dataclasses import replace
from pathlib import Path
from zipfile import ZipFile

import numpy as np
import pytest

from lowbit.core.adapter import BuildRequest, Built, Floats, SessionOptions
from lowbit.core.artifact import Artifact
from lowbit.core.errors import UnsupportedError
from lowbit.core.model import FloatModel
from lowbit.core.preprocess import Preprocess
from lowbit.core.samples import Samples
from lowbit.runtimes import torch as runtime
from lowbit.toolchains import torch as toolchain
from tests.runtime.products import MACS, EveryProduct

torch = pytest.importorskip("torch")

OPTIONS = SessionOptions(threads=1, batch_size=64)
RECIPES = [recipe.name for recipe in toolchain.INFO.recipes]
# What TorchScript's own unpickler knows by name; anything else would be code.
_KNOWN = re.compile(
    r"__torch__\S* \S+|torch\.jit\._pickle \w+|torch\._utils _rebuild_\w+|collections OrderedDict"
    r"|torch \w+Storage|torch per_(tensor|channel)_affine"
)


@pytest.fixture(scope="module")
def built(
    tiny_model: FloatModel, tiny_samples: Samples, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, tuple[Built, Artifact]]:
    """Every recipe of the tiny model."""
    made = {}
    for recipe in toolchain.INFO.recipes:
        out = tmp_path_factory.mktemp(recipe.name)
        request = BuildRequest(
            tiny_model, recipe, tiny_samples, Preprocess("unit"), out, out, batch_size=1, threads=1, seed=0
        )
        done = toolchain.build(request)
        artifact = Artifact(
            done.main, "torchscript", recipe.name, tiny_model.input_shape, 4, None, recipe.runtime_options
        )
        made[recipe.name] = (done, artifact)
    return made


@pytest.fixture(scope="module")
def images(tiny_samples: Samples) -> Floats:
    pixels: Floats = np.ascontiguousarray(tiny_samples.images.transpose(0, 3, 1, 2), dtype=np.float32)
    return pixels / np.float32(255)


def scores(artifact: Artifact, images: Floats) -> Floats:
    with runtime.open_session(artifact, OPTIONS) as session:
        return session.predict(images)


@pytest.mark.parametrize("recipe", RECIPES)
def test_the_batch_is_free(built: dict[str, tuple[Built, Artifact]], images: Floats, recipe: str) -> None:
    """Sizes that the trace never saw; but a dynamic range is taken over the batch, so that recipe only keeps shapes."""
    artifact = built[recipe][1]
    for size in (1, 5, 64):
        seen = scores(artifact, images[:size])
        assert seen.shape == (size, 4)
        if recipe != "int8-dynamic":
            np.testing.assert_allclose(seen, scores(artifact, images)[:size], atol=2e-3 if recipe == "bf16" else 1e-5)


def test_bf16_is_the_float_file_computed_otherwise(built: dict[str, tuple[Built, Artifact]], images: Floats) -> None:
    floats, halves = built["fp32"][1], built["bf16"][1]
    assert floats.path.read_bytes() == halves.path.read_bytes()
    error = np.abs(scores(floats, images) - scores(halves, images)).max()
    assert 1e-5 < error < 0.02  # eight bits of mantissa
    with runtime.open_session(halves, OPTIONS) as session:
        assert {op.precision for op in session.executed_precision() if op.macs} == {"bf16"}


def test_dynamic_quantizes_linear_and_names_what_stays(built: dict[str, tuple[Built, Artifact]]) -> None:
    done, artifact = built["int8-dynamic"]
    assert done.notes == ("stays float: 2 Conv2d (torch quantizes only Linear dynamically)",)
    with runtime.open_session(artifact, OPTIONS) as session:
        counted = [(op.op_type, op.precision, op.hybrid) for op in session.executed_precision() if op.macs]
    assert counted == [
        ("aten::_convolution", "f32", False),
        ("aten::_convolution", "f32", False),
        ("quantized::linear_dynamic", "u8s8", True),
    ]


def test_macs_of_every_product(tmp_path: Path) -> None:
    path = tmp_path / "products.pt"
    with torch.no_grad():
        torch.jit.trace(EveryProduct().eval(), torch.zeros(2, 3, 8, 8)).save(str(path))
    with runtime.open_session(Artifact(path, "torchscript", "x", (3, 8, 8), 5), OPTIONS) as session:
        counted = [operator.macs for operator in session.executed_precision() if operator.macs]
    assert counted == MACS


@pytest.mark.parametrize("recipe", RECIPES)
def test_nothing_is_unpickled_but_what_torchscript_knows(built: dict[str, tuple[Built, Artifact]], recipe: str) -> None:
    with ZipFile(built[recipe][1].path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith(".pkl")]
        named = {op[1] for name in pickles for op in pickletools.genops(archive.read(name)) if op[0].name == "GLOBAL"}
    assert pickles
    assert named  # else the pattern below would hold for nothing
    assert [name for name in named if not _KNOWN.fullmatch(str(name))] == []


@pytest.mark.parametrize("recipe", RECIPES)
def test_no_path_of_the_building_machine(built: dict[str, tuple[Built, Artifact]], recipe: str) -> None:
    here = sysconfig.get_paths()["purelib"].encode()
    with ZipFile(built[recipe][1].path) as archive:
        assert [name for name in archive.namelist() if here in archive.read(name)] == []


def test_preprocessing_travels_in_the_file(built: dict[str, tuple[Built, Artifact]]) -> None:
    extra = {"lowbit.preprocess": ""}
    torch.jit.load(str(built["int8-static"][1].path), _extra_files=extra)
    assert b'"name": "unit"' in bytes(extra["lowbit.preprocess"])  # type: ignore[arg-type]  # torch puts bytes there


def test_a_model_without_linear_has_no_dynamic_version() -> None:
    with pytest.raises(UnsupportedError, match="only Linear"):
        toolchain._dynamic(torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1)), torch.qint8)


def test_other_precisions_and_other_archives_are_refused(
    built: dict[str, tuple[Built, Artifact]], tmp_path: Path
) -> None:
    good = built["fp32"][1]
    with (
        pytest.raises(UnsupportedError, match="'f16'"),
        runtime.open_session(replace(good, runtime_options={"precision": "f16"}), OPTIONS),
    ):
        pass
    pickled = replace(good, path=tmp_path / "state.pt")
    torch.save({"weight": torch.zeros(2)}, pickled.path)  # an archive of torch, but no TorchScript
    with pytest.raises(UnsupportedError), runtime.open_session(pickled, OPTIONS):
        pass

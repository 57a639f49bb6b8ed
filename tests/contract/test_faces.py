"""What an adapter says of itself without its vendor, and what is said when the vendor is not there."""

import subprocess
import sys
from importlib import metadata

import pytest
from packaging.requirements import Requirement

from lowbit.core.adapter import RuntimeInfo, ToolchainInfo
from lowbit.core.discover import require
from lowbit.core.errors import UnsupportedError
from tests.contract.adapters import RUNTIMES, TOOLCHAINS

VENDORS = (
    *("torch", "torchvision", "onnxruntime", "openvino", "nncf", "ai_edge_litert", "litert_torch"),
    *("tensorflow", "tf_keras", "tensorflow_model_optimization"),
)
FACES: list[RuntimeInfo | ToolchainInfo] = [
    *(runtime.INFO for runtime in RUNTIMES.values()),
    *(toolchain.INFO for toolchain in TOOLCHAINS.values()),
]
face = pytest.mark.parametrize("info", FACES, ids=[f"{type(info).__name__}-{info.name}" for info in FACES])


def test_names_are_module_names() -> None:
    assert [runtime.INFO.name for runtime in RUNTIMES.values()] == list(RUNTIMES)
    assert [toolchain.INFO.name for toolchain in TOOLCHAINS.values()] == list(TOOLCHAINS)


def test_faces_are_read_without_a_vendor() -> None:
    code = (
        "import sys; from lowbit.runtimes.find import runtimes; from lowbit.toolchains.find import toolchains;"
        f"runtimes(); toolchains(); print(*set({VENDORS!r}) & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


@face
def test_a_missing_package_is_said_with_its_remedy(
    info: RuntimeInfo | ToolchainInfo, monkeypatch: pytest.MonkeyPatch
) -> None:
    missing = info.packages[-1]
    there = metadata.version

    def version(package: str) -> str:
        if package == missing:
            raise metadata.PackageNotFoundError(package)
        return "1.0" if package in info.packages else there(package)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(UnsupportedError) as caught:
        require(info)
    assert caught.value.reason == f"{missing} is not installed"
    assert caught.value.remedy == f"pip install '{f'lowbit[{info.extra}]' if info.extra else 'lowbit'}'"


@face
def test_the_remedy_installs_every_package(info: RuntimeInfo | ToolchainInfo) -> None:
    """Only adapters of lowbit's own: a plug-in brings its packages itself."""
    if info.name not in {"onnxruntime", "openvino", "nncf", "litert", "torch", "tensorflow", "lowbit"}:
        pytest.skip("a plug-in")
    assert set(info.packages) - {"lowbit"} <= installed_by(info.extra or "")


def installed_by(extra: str) -> set[str]:
    """What `pip install lowbit[extra]` brings, itself or with one package between; it may name lowbit[other]."""
    names: set[str] = set()
    for requirement in map(Requirement, metadata.requires("lowbit") or []):
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra}):
            names.add(requirement.name)
            if requirement.name == "lowbit":
                names |= set().union(*(installed_by(other) for other in requirement.extras))
            else:
                names |= brought_by(requirement.name)
    return names


def brought_by(package: str) -> set[str]:
    """What a package asks for without any extra; nothing is known of one that is not installed."""
    try:
        needed = map(Requirement, metadata.requires(package) or [])
        return {each.name.replace("_", "-") for each in needed if each.marker is None}
    except metadata.PackageNotFoundError:
        return set()

"""What lowbit needs is declared, has its reason, and is held to its bounds."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from lowbit.cli.main import main
from lowbit.core import bounds

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def names(requirements: list[str]) -> set[str]:
    return {str(canonicalize_name(Requirement(text).name)) for text in requirements} - {"lowbit"}


EXTRAS: dict[str, list[str]] = PROJECT["optional-dependencies"]
DECLARED = names(PROJECT["dependencies"]).union(*(names(each) for name, each in EXTRAS.items() if name != "dev"))


def test_every_package_that_is_imported_is_declared() -> None:
    homes = metadata.packages_distributions()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            imported = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
                imported = [node.module]
            for module in (name.partition(".")[0] for name in imported):
                if module in sys.stdlib_module_names or module == "lowbit":
                    continue
                makers = {canonicalize_name(name) for name in homes.get(module, [module])}
                assert makers & DECLARED, f"{path.relative_to(ROOT)} imports {module}, which pyproject.toml lacks"


def test_every_dependency_has_its_reason_and_no_other_has() -> None:
    rows = re.findall(r"^\| (.+?) \| (.+?) \|", (ROOT / "docs" / "dependencies.md").read_text(), re.MULTILINE)
    extras = {first: second for first, second in rows if first in EXTRAS}
    base = {first for first, _ in rows if first not in {*EXTRAS, "package", "extra", "---"}}
    assert {canonicalize_name(name) for name in base} == names(PROJECT["dependencies"])
    assert extras.keys() == EXTRAS.keys()
    for extra, told in extras.items():
        said = {canonicalize_name(name.removesuffix(" as well")) for name in told.split(", ")}
        assert said == names(EXTRAS[extra]), extra


def test_a_version_outside_is_told(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    stated = ["Numpy>=99", 'nncf>=3.0; extra == "openvino"', 'nncf<4; extra == "all"', 'lowbit[torch]; extra == "all"']
    monkeypatch.setattr(metadata, "requires", lambda name: stated)
    assert bounds.outside({"numpy": "99.1", "nncf": "3.4.0", "pillow": "0.1"}) == ()
    (told,) = bounds.outside({"nncf": "4.1"})
    assert told.startswith("nncf 4.1 is outside the versions")
    assert main(["doctor"]) == 0
    assert f"numpy {metadata.version('numpy')} is outside the versions" in " ".join(capsys.readouterr().out.split())


def test_without_metadata_nothing_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", missing)
    assert bounds.outside({"numpy": "0.1"}) == ()

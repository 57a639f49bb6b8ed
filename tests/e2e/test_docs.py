"""What the documents say is what the program does."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from lowbit.core.discover import adapters
from lowbit.study.cells import short_names

ROOT = Path(__file__).resolve().parents[2]


def test_the_generated_pages_are_current() -> None:
    """docs/cli.md, and docs/reference.md with the Python API and the schemas of the files."""
    code = "import json, runpy; pages = runpy.run_path('docs/make.py')['PAGES']; "
    code += "print(json.dumps({name: render() for name, render in pages.items()}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    pages = json.loads(done.stdout)
    assert set(pages) == {"cli.md", "reference.md"}
    for name, text in pages.items():
        assert (ROOT / "docs" / name).read_text() == text, f"docs/{name} is not current: run `make docs`"


def test_the_picture_of_the_rooms_is_what_import_linter_checks() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract["type"] == "layers")
    blocks = re.findall(r"^```\w*\n(.*?)^```", (ROOT / "docs" / "design.md").read_text(), re.MULTILINE | re.DOTALL)
    (picture,) = (block.splitlines() for block in blocks if block.startswith(f"{layers[0]}\n"))
    assert [rooms(line) for line in picture] == [rooms(line) for line in layers]
    assert set().union(*map(rooms, layers)) == {
        path.parent.name for path in (ROOT / "src/lowbit").glob("*/__init__.py")
    }


def rooms(layer: str) -> set[str]:
    """A layer's rooms; those beside each other may stand in any order."""
    return {name.strip() for name in layer.split("|")}


def test_the_table_of_operators_is_current() -> None:
    page = (ROOT / "docs" / "operators.md").read_text()
    code = "import runpy; print(runpy.run_path('docs/operators.py')['render'](), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == page, "run `make docs`"


def test_the_table_of_adapters_is_what_their_files_say() -> None:
    toolchains = adapters("lowbit.toolchains", "lowbit.toolchains")
    first = re.search(r"(?:^\|.+\|\n)+", (ROOT / "docs" / "adapters.md").read_text(), re.MULTILINE)
    assert first is not None
    table = re.findall(r"^\| (.+?) \|$", first[0], re.MULTILINE)
    header, _, *lines = [[cell.strip() for cell in line.split("|")] for line in table]
    names = [re.split(r"\W", cell)[0] for cell in header[1:]]
    assert set(names) == set(toolchains)
    rows = {recipe for recipe, *_ in lines}
    for name in names:
        assert rows >= {*short_names(toolchains[name].INFO), *toolchains[name].INFO.refuses}, name
    for recipe, *cells in lines:
        for name, cell in zip(names, cells, strict=True):
            made = short_names(toolchains[name].INFO)
            assert (recipe in made) == cell.startswith("✓"), f"{name} {recipe}"
            assert (recipe in toolchains[name].INFO.refuses) == (cell == "–"), f"{name} {recipe}"


PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_every_link_within_the_project_leads_somewhere() -> None:
    lost = []
    for page in PAGES:
        for link in re.findall(r"\]\((?!https?:)([^)\s]+)\)", page.read_text()):
            path, _, anchor = link.partition("#")
            target = page.parent / path if path else page
            if not target.exists() or (anchor and anchor not in headings(target)):
                lost.append(f"{page.name}: {link}")
    assert lost == []


def headings(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub forms them."""
    titles = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_module_that_a_page_names_exists() -> None:
    lost = []
    for page in PAGES:
        for name in re.findall(r"`(\w+/(?:\w+/)*(?:\w+/|\w+\.py))(?:::\w+)?`", page.read_text()):
            if not (ROOT / name).exists() and not (ROOT / "src" / "lowbit" / name).exists():
                lost.append(f"{page.name}: {name}")
    assert lost == []

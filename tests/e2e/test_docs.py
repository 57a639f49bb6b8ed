"""What the documents say is what the program does."""

import re
import subprocess
import sys
from pathlib import Path

from lowbit.core.discover import adapters
from lowbit.study.cells import short_names

ROOT = Path(__file__).resolve().parents[2]


def test_the_help_page_is_current() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    code = "import runpy; print(runpy.run_path('docs/make.py')['render'](), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == page, "run `make docs`"


def test_the_table_of_operators_is_current() -> None:
    page = (ROOT / "docs" / "operators.md").read_text()
    code = "import runpy; print(runpy.run_path('docs/operators.py')['render'](), end='')"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == page, "run `make docs`"


def test_the_table_of_adapters_is_what_their_files_say() -> None:
    toolchains = adapters("lowbit.toolchains", "lowbit.toolchains")
    table = re.findall(r"^\| (.+?) \|$", (ROOT / "docs" / "adapters.md").read_text(), re.MULTILINE)
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

"""The README's commands run as they stand, with smaller settings behind them.

A block of commands that a newcomer can run is marked by a comment on the line before it:

    <!-- runs, with: --limit 64 --rounds 1 -->
    ```console
    lowbit compare …
    ```

What follows `with:` is put behind every `lowbit compare` of the block. The commands of a block run one after the other
in one folder: `lowbit …` and `make demo`, each of which must end with status 0.
"""

import re
import shlex
from pathlib import Path

import pytest

from tests.e2e.command import lowbit

ROOT = Path(__file__).resolve().parents[2]
MARKED = re.compile(
    r"^<!-- runs(?:, with: (?P<more>.*?))? -->\n+```console\n(?P<commands>.*?)^```", re.MULTILINE | re.DOTALL
)
SMALL = "--toolchains onnxruntime --runtimes onnxruntime --recipes fp32 --calibration-samples 16 --limit 64"
DEMO = f"<!-- runs, with: {SMALL} --min-duration 0.05 -->\n```console\nmake demo     # the fastest way in\n```\n"


def blocks(text: str) -> list[list[list[str]]]:
    """Blocks of commands, each a list of words, with the smaller settings in place."""
    found = []
    for block in MARKED.finditer(text):
        lines = block["commands"].replace("\\\n", " ").splitlines()
        commands = [words for line in lines if (words := shlex.split(line, comments=True))]
        found.append([arguments(words, shlex.split(block["more"] or "")) for words in commands])
    return found


def arguments(words: list[str], more: list[str]) -> list[str]:
    """What `lowbit` is given; `make TARGET` is what the Makefile makes of it."""
    if words[0] == "make":
        (target,) = words[1:]
        recipe = re.search(rf"^{target}:.*\n\t\$\(BIN\)/(.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert recipe is not None, f"make {target} runs no command of lowbit"
        words = shlex.split(recipe[1])
    assert words[0] == "lowbit", f"{shlex.join(words)}: only lowbit and make can be run here; take the mark away"
    return words[1:] + (more if words[1] == "compare" else [])


README = blocks((ROOT / "README.md").read_text())


@pytest.mark.timeout(700)  # the demo trains its network, which takes seconds on an idle machine
@pytest.mark.parametrize("commands", [*blocks(DEMO), *README], ids=lambda commands: " ".join(commands[0][:2]))
def test_commands_run_as_they_stand(commands: list[list[str]], tmp_path: Path) -> None:
    for words in commands:
        done = lowbit(*words, cwd=tmp_path, time_limit_s=600)
        assert done.returncode == 0, f"lowbit {shlex.join(words)}\n{done.stderr}"


def test_the_readme_has_commands_that_run() -> None:
    assert README


def test_a_block_without_a_mark_is_left_alone_and_a_long_command_is_one() -> None:
    text = "```console\npip install lowbit\n```\n<!-- runs, with: --limit 9 -->\n\n```console\n"
    text += "lowbit compare a \\\n    --data b   # why\nlowbit doctor\n```\n"
    assert blocks(text) == [[["compare", "a", "--data", "b", "--limit", "9"], ["doctor"]]]

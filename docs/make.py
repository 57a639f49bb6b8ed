"""`make docs`: write docs/cli.md from the command line's own help. A test checks that it is current."""

import os
import sys
from pathlib import Path

os.environ["COLUMNS"] = "100"  # argparse wraps by it

from lowbit.cli.main import parser

PAGE = Path(__file__).with_name("cli.md")


def render() -> str:
    """The help of `lowbit` and of each of its commands."""
    root = parser()
    parts = ["# Command line", "", "Written by `make docs`.", "", "```text", root.format_help().rstrip(), "```"]
    (commands,) = (action for action in root._actions if hasattr(action, "choices") and isinstance(action.choices, dict))
    for name, command in commands.choices.items():
        parts += ["", f"## lowbit {name}", "", "```text", command.format_help().rstrip(), "```"]
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render())
    sys.stdout.write(f"{PAGE}\n")

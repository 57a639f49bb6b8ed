"""What the command line takes, and what it says of what it does not take."""

import argparse
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowbit.cli.main import parser
from lowbit.cli.values import names

MODEL = ("m.onnx", "--data", "d")


def commands() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser()._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def options_with_values() -> list[tuple[str, str]]:
    """Every option of every command whose value is read by more than its letters."""
    return [
        (name, action.option_strings[0])
        for name, command in commands()
        for action in command._actions
        if action.option_strings and action.type not in (None, Path, names)
    ]


@pytest.mark.parametrize(("command", "option"), options_with_values())
def test_a_value_that_cannot_be_read_is_answered_in_words(
    capsys: pytest.CaptureFixture[str], command: str, option: str
) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args([command, *MODEL, option, "8,x"])
    assert end.value.code == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "invalid" not in said
    assert f"argument {option}: '8,x': expected " in said


def test_widths_say_what_they_look_like(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(["compare", *MODEL, "--bits", "8,x"])
    assert "argument --bits: '8,x': expected widths of weights with commas between, as in 8,4,2" in (
        capsys.readouterr().err
    )
    assert parser().parse_args(["compare", *MODEL, "--bits", "8,4"]).bits == (8, 4)


@pytest.mark.parametrize(
    "words",
    [
        ("--vers",),
        ("compare", *MODEL, "--toolchain", "null"),
        ("compare", *MODEL, "--offi"),
        ("quantize", *MODEL, "--calib", "8"),
        ("inspect", "m.onnx", "--js"),
        ("report", "study", "--wh", "row"),
    ],
)
def test_no_option_is_abbreviated(capsys: pytest.CaptureFixture[str], words: tuple[str, ...]) -> None:
    with pytest.raises(SystemExit) as end:
        parser().parse_args(words)
    assert end.value.code == 2
    assert "unrecognized arguments" in (said := capsys.readouterr().err) or "required: COMMAND" in said

"""One table: every command is in the help, answers to its name, and takes the options that it declares."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from rerankbench.cli import main
from rerankbench.commands.table import COMMANDS, NAMES, command, help_text
from rerankbench.errors import ConfigError


@pytest.mark.parametrize("name", NAMES)
def test_every_command_is_in_the_help_and_has_a_handler(name: str) -> None:
    assert f"  rerankbench {name}" in help_text()
    module, _, function = COMMANDS[name].handler.partition(":")
    assert callable(getattr(importlib.import_module(f"rerankbench.commands.{module}"), function))


def test_options_stand_anywhere() -> None:
    rest, folders, options = command("eval").parse(["a=1", "--config-dir", "x", "-m", "b=2", "--config-dir=y"])
    assert (rest, folders, options) == (["a=1", "b=2"], [Path("x"), Path("y")], {"multirun": True})
    assert command("export").parse(["run", "--to=x", "--private"]) == (["run"], [], {"to": "x", "private": True})


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["eval", "--multi"], "no option '--multi'; did you mean '--multirun'?"),
        (["rerank", "-m"], "no option '-m'"),
        (["export", "run", "--to"], "--to: needs a value"),
        (["export", "run", "--private=yes"], "no option '--private=yes'"),
        (["export"], "export: needs one run folder"),
        (["ui", "--port", "x"], "--port: must be a number, got 'x'"),
    ],
)
def test_a_wrong_option_is_one_line(words: list[str], expected: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert capsys.readouterr().err.startswith(f"error: {expected}")


def test_an_unknown_command_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no command 'trian'; did you mean 'train'"):
        command("trian")

"""Completion offers what could follow, and nothing else."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from rerankbench.commands.completion import candidates, script
from rerankbench.commands.table import NAMES
from rerankbench.config.options import groups
from rerankbench.errors import ConfigError


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], list(NAMES)),
        ([""], list(NAMES)),
        (["tr"], ["train"]),
        (["nothing"], []),
        (["completion", ""], ["bash", "zsh", "fish"]),
        (["completion", "z"], ["zsh"]),
        (["eval", "reranker/s"], ["reranker/scorer=", "reranker/strategy="]),
        (["eval", "reranker=identity", "reranker/scorer=or"], ["reranker/scorer=oracle"]),
        (["eval", "--"], ["--config-dir", "--multirun"]),
        (["export", ""], ["--to", "--hub", "--private"]),
        (["ls", "reranker=bi"], ["reranker=bi_encoder"]),
        (["eval", "nothing=x"], []),
        (["eval", "reranker=nothing"], []),
    ],
)
def test_candidates(words: list[str], expected: list[str]) -> None:
    assert candidates(words) == expected


def test_every_group_and_option_is_offered() -> None:
    assert candidates(["eval", ""]) == [f"{group}=" for group in groups()]
    assert candidates(["ls", ""]) == list(groups())
    for group, options in groups().items():
        assert candidates(["train", f"{group}="]) == [f"{group}={name}" for name in options]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("rerankbench ev", ["eval"]),
        ("rerankbench eval reranker/sc", ["reranker/scorer="]),
        ("rerankbench eval reranker/scorer=or", ["oracle"]),
        ("rerankbench eval seed=1 size=", ["small"]),
    ],
)
def test_the_bash_script_offers_what_readline_wants(line: str, expected: list[str]) -> None:
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("no bash")
    code = f"""{script("bash")}
COMP_LINE='{line}'; COMP_POINT=${{#COMP_LINE}}; compopt() {{ :; }}
_rerankbench; printf '%s\\n' "${{COMPREPLY[@]}}\""""
    place = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run([bash, "-c", code], capture_output=True, text=True, check=True, env={"PATH": place})
    assert done.stdout.split() == expected


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_ask_the_same_command(shell: str) -> None:
    assert "rerankbench _complete" in script(shell)


def test_an_unknown_shell_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="no script for 'bsh'; did you mean 'bash'"):
        script("bsh")

"""The commands: from this one table come the help text, the dispatch, the nearest name and the completion.

Imports the standard library only; a command's module is imported when it runs.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from rerankbench.errors import ConfigError, nearest

CONFIG_DIR = {"--config-dir": "DIR"}
MULTIRUN = {**CONFIG_DIR, "--multirun": "", "-m": ""}


class Command(NamedTuple):
    """A command. handler: module:function in this folder, called with the words, the folders of --config-dir, and the
    other options by name; it returns the exit code, None for 0. options: by name, what follows each; "" for nothing.
    """

    name: str
    arguments: str
    help: str
    handler: str
    options: Mapping[str, str]

    def run(self, words: Sequence[str]) -> int:
        """Run the command with what stands after its name. Raises UserError for the user's mistakes."""
        module, _, function = self.handler.partition(":")
        handler = getattr(importlib.import_module(f"rerankbench.commands.{module}"), function)
        if not self.help:  # completion: the words are another command's
            return handler(words) or 0
        rest, folders, options = self.parse(words)
        return handler(rest, folders, **options) or 0

    def parse(self, words: Sequence[str]) -> tuple[list[str], list[Path], dict[str, Any]]:
        """The words that are no options, the folders, and the other options by their Python names.

        Raises ConfigError for an option that the command does not have, or without its value.
        """
        rest, folders, options, queue = list[str](), list[Path](), dict[str, Any](), list(words)
        while queue:
            word = queue.pop(0)
            name, equals, value = word.partition("=")
            if not word.startswith("-"):
                rest.append(word)
                continue
            if name not in self.options or (equals and not self.options[name]):
                raise ConfigError("", f"no option {word!r}; {nearest(name, [*self.options, '--help'])}")
            if self.options[name] and not equals:
                if not queue:
                    raise ConfigError(name, "needs a value")
                value = queue.pop(0)
            if name in CONFIG_DIR:
                folders.append(Path(value))
            else:
                options["multirun" if name == "-m" else name.strip("-")] = value if self.options[name] else True
        return rest, folders, options


COMMANDS = {
    command.name: command
    for command in (
        Command(
            "eval",
            "[overrides]",
            "evaluate a reranker: benchmark -> retriever -> reranker -> measures",
            "flow:evaluate",
            MULTIRUN,
        ),
        Command("train", "[overrides]", "train a reranker with a recipe", "flow:train", MULTIRUN),
        Command(
            "rerank",
            "[overrides]",
            'rerank JSON lines from standard input: {"query": …, "documents": […]}',
            "rerank:main",
            CONFIG_DIR,
        ),
        Command(
            "ls",
            "[group[=option]]",
            "what there is to choose from (ls reranker); what an option sets (ls reranker=rankgpt)",
            "ls:main",
            CONFIG_DIR,
        ),
        Command(
            "show",
            "[overrides]",
            "a prompt filled in with a real query (rerankbench show prompt=setwise)",
            "show:main",
            CONFIG_DIR,
        ),
        Command(
            "export",
            "RUN_FOLDER",
            "a trained network with a model card: --to DIR, or --hub ORG/NAME [--private]",
            "export:main",
            {"--to": "DIR", "--hub": "ORG/NAME", "--private": ""},
        ),
        Command(
            "ui",
            "[overrides]",
            "open the MLflow dashboard on the tracking store (--host, --port)",
            "ui:main",
            {**CONFIG_DIR, "--host": "ADDRESS", "--port": "PORT"},
        ),
        Command("completion", "SHELL", "print the completion script for bash, zsh or fish", "completion:main", {}),
        Command("_complete", "", "", "completion:complete", {}),
    )
}
NAMES = tuple(name for name, command in COMMANDS.items() if command.help)

_HELP = """\
rerankbench: a config-driven experiment runner for text reranking.

{commands}

Overrides are Hydra's: group=option chooses a part, key.inner=value sets a value.

  rerankbench eval benchmark=local benchmark.path=DIR retriever=bm25 reranker=identity
  rerankbench eval reranker=late_interaction reranker.depth=20 benchmark.queries=50
  rerankbench eval -m retriever=bm25,dense,fusion

Options
  --config-dir DIR   a folder of your own with options (reranker/mine.yaml) and Python files; may be repeated
  -m, --multirun     run every combination of comma-separated overrides
  --help, --version

Exit codes: 0 done, 2 a mistake in the command or the data (one line says which), 130 interrupted, 1 anything else.
RERANKBENCH_DEBUG=1 shows the trace of any error.
"""


def help_text() -> str:
    """What `rerankbench --help` prints."""
    lines = (f"  rerankbench {f'{c.name:<5} {c.arguments}':<23}{c.help}" for c in COMMANDS.values() if c.help)
    return _HELP.format(commands="\n".join(lines))


def command(name: str) -> Command:
    """The command of this name. Raises ConfigError, with the nearest name, where there is none."""
    if name not in COMMANDS:
        raise ConfigError("", f"no command {name!r}; {nearest(name, NAMES)}")
    return COMMANDS[name]

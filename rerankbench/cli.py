"""The door: which sub-command, with which overrides. Imports nothing beyond the standard library before it knows."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

HELP = """\
rerankbench: a config-driven experiment runner for text reranking.

  rerankbench eval  [overrides]     evaluate a reranker: benchmark -> retriever -> reranker -> measures
  rerankbench train [overrides]     train a reranker with a recipe
  rerankbench rerank [overrides]    rerank JSON lines from standard input: {"query": …, "documents": […]}
  rerankbench ls    [group]         what there is to choose from (rerankbench ls reranker)
  rerankbench show  [overrides]     a prompt filled in with a real query (rerankbench show prompt=setwise)
  rerankbench export RUN_FOLDER     a trained network with a model card: --to DIR, or --hub ORG/NAME [--private]
  rerankbench ui    [overrides]     open the MLflow dashboard on the tracking store (--host, --port)
  rerankbench completion SHELL      print the completion script for bash, zsh or fish

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


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    from rerankbench.errors import UserError

    words = list(sys.argv[1:] if argv is None else argv)
    try:
        return _run(words)
    except UserError as error:
        if os.environ.get("RERANKBENCH_DEBUG"):
            raise
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("interrupted; the same command with the same run_dir goes on where it stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output went away, as `| head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        if os.environ.get("RERANKBENCH_DEBUG"):
            raise
        if "No space left" in str(error):
            print(f"error: the disk is full ({error}); make room and run the same command again", file=sys.stderr)
            return 2
        print(f"error: {type(error).__name__}: {error}", file=sys.stderr)
        print("this is a bug; the trace is in the run folder's log.txt, or set RERANKBENCH_DEBUG=1", file=sys.stderr)
        return 1


def _run(words: list[str]) -> int:
    from rerankbench.errors import ConfigError, nearest

    if not words or words[0] in ("-h", "--help", "help") or {"-h", "--help"} & set(words[1:]):
        print(HELP, end="")
        return 0 if words else 2
    if words[0] == "--version":
        from rerankbench import __version__

        print(f"rerankbench {__version__}")
        return 0
    command, rest = words[0], words[1:]
    commands = {"eval": _flow, "train": _flow, "rerank": _rerank, "ls": _ls, "show": _show, "export": _export,
                "ui": _ui, "completion": _completion, "_complete": _complete}  # fmt: skip
    if command not in commands:
        raise ConfigError("", f"no command {command!r}; {nearest(command, commands.keys() - {'_complete'})}")
    return commands[command](command, rest)


def _flow(command: str, words: list[str]) -> int:
    """`eval` and `train`: compose, check, run, show."""
    folders, words = _folders(words)
    if {"-m", "--multirun"} & set(words):
        from rerankbench.commands.sweep import sweep

        return sweep(command, [word for word in words if word not in ("-m", "--multirun")], folders)
    _refuse_options(words)
    from rerankbench.config.compose import compose

    composed = compose(command, words, folders)
    if composed.config.dry_run:
        from omegaconf import OmegaConf

        print(OmegaConf.to_yaml(composed.config), end="")
        return 0
    from rerankbench.progress import talking
    from rerankbench.tracking.table import show

    if command == "train":
        from rerankbench.train import train as flow
    else:
        from rerankbench.evaluate import evaluate as flow
    with talking():
        folder = flow(composed)
    if folder is not None:  # only the first process of several has something to show
        show(folder)
    return 0


def _rerank(command: str, words: list[str]) -> int:
    folders, words = _folders(words)
    _refuse_options(words)
    from rerankbench.commands.rerank import main as stream

    stream(words, folders)
    return 0


def _show(command: str, words: list[str]) -> int:
    folders, words = _folders(words)
    _refuse_options(words)
    from rerankbench.commands.show import shown

    print(shown(words, folders))
    return 0


def _ls(command: str, words: list[str]) -> int:
    folders, words = _folders(words)
    _refuse_options(words)
    from rerankbench.config.options import listing

    print(listing(words[0].rstrip("=") if words else None, folders))
    return 0


def _export(command: str, words: list[str]) -> int:
    """Copy or push what a training left."""
    to, words = _option(words, "--to", "")
    hub, words = _option(words, "--hub", "")
    private, words = "--private" in words, [word for word in words if word != "--private"]
    _refuse_options(words, ["--to", "--hub", "--private"])
    from rerankbench.commands.export import export
    from rerankbench.errors import ConfigError

    if len(words) != 1:
        raise ConfigError("export", "needs one run folder: rerankbench export RUN_FOLDER --to DIR")
    print(f"exported to {export(words[0], to, hub, private)}")
    return 0


def _ui(command: str, words: list[str]) -> int:
    """Serve the dashboard until interrupted."""
    host, words = _option(words, "--host", "127.0.0.1")
    port, words = _option(words, "--port", "5000")
    from rerankbench.config.compose import compose
    from rerankbench.errors import ConfigError
    from rerankbench.tracking.mlflow import ui_command

    if not port.isdigit():
        raise ConfigError("--port", f"must be a number, got {port!r}")
    tracking = compose("eval", words).config.tracking
    if "uri" not in tracking:
        raise ConfigError("tracking", "there is no dashboard without tracking=mlflow")
    print(f"MLflow dashboard: http://{host}:{port} (Ctrl-C ends it)", flush=True)
    line = ui_command(tracking.uri, host, int(port))
    os.execv(line[0], line)


def _completion(command: str, words: list[str]) -> int:
    from rerankbench.commands.completion import script

    print(script(words[0] if words else ""))
    return 0


def _complete(command: str, words: list[str]) -> int:
    from rerankbench.commands.completion import candidates

    print("\n".join(candidates(words)))
    return 0


def _folders(words: list[str]) -> tuple[list[Path], list[str]]:
    """The folders of all --config-dir options, and the other words."""
    folders: list[Path] = []
    while any(word.split("=")[0] == "--config-dir" for word in words):
        value, words = _option(words, "--config-dir", "")
        folders.append(Path(value))
    return folders, words


def _option(words: list[str], name: str, default: str) -> tuple[str, list[str]]:
    """The value of `--name VALUE` or `--name=VALUE`, and the other words."""
    from rerankbench.errors import ConfigError

    for index, word in enumerate(words):
        if word.startswith(f"{name}="):
            return word.partition("=")[2], words[:index] + words[index + 1 :]
        if word == name:
            if index + 1 == len(words):
                raise ConfigError(name, "needs a value")
            return words[index + 1], words[:index] + words[index + 2 :]
    return default, words


def _refuse_options(words: Sequence[str], known: Sequence[str] = ("--config-dir", "--multirun", "--help")) -> None:
    from rerankbench.errors import ConfigError, nearest

    for word in words:
        if word.startswith("-"):
            raise ConfigError("", f"no option {word!r}; {nearest(word, known)}")

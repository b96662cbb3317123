"""`rerankbench export`: a training run's network with a model card, into a folder or onto the Hugging Face hub."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rerankbench.errors import ConfigError, DataError
from rerankbench.rerankers.trained import run_folder
from rerankbench.tracking.config_record import without_user_info
from rerankbench.tracking.model_card import model_card
from rerankbench.tracking.run_folder import is_finished


def main(
    words: Sequence[str], folders: Sequence[Path], to: str | None = None, hub: str | None = None, private: bool = False
) -> None:
    """Export the run folder that is named."""
    if len(words) != 1:
        raise ConfigError("export", "needs one run folder: rerankbench export RUN_FOLDER --to DIR")
    print(f"exported to {export(words[0], to, hub, private)}")


def export(run: str, to: str | None, hub: str | None, private: bool = False) -> str:
    """Copy `checkpoint/` with a model card to the folder `to`, or push it to the hub as `hub`; returns where it is.

    private: make the hub's repository a private one. Raises ConfigError for a run without a checkpoint or unfinished,
    a folder that holds something, and for whatever the hub refuses.
    """
    if bool(to) == bool(hub):
        raise ConfigError("export", "needs one of --to DIR and --hub ORG/NAME")
    if private and not hub:
        raise ConfigError("--private", "goes with --hub")
    folder = exportable(run)
    return _push(folder, hub, private) if hub else _copy(folder, Path(str(to)).expanduser())


def exportable(run: str) -> Path:
    """The run folder, if it is one of a finished training. Raises ConfigError or DataError otherwise."""
    folder = run_folder(run)
    if not (folder / "config.yaml").is_file():
        raise DataError(folder, "is no run folder: it has no config.yaml")
    if not is_finished(folder):
        raise DataError(folder, "is unfinished; the same command resumes it")
    if not (folder / "checkpoint").is_dir():
        raise DataError(folder, "has no checkpoint/: no training run")
    return folder


def _copy(folder: Path, to: Path) -> str:
    """A copy made inside the target, and moved to its place when it is whole."""
    if to.is_dir() and any(to.iterdir()):
        raise ConfigError("--to", f"{to} is not empty; choose an empty or new folder")
    if to.exists() and not to.is_dir():
        raise ConfigError("--to", f"{to} is a file, not a folder")
    source = (folder / "checkpoint").resolve()
    if to.resolve().is_relative_to(source):
        raise ConfigError("--to", f"{to} lies inside the checkpoint")
    card = model_card(folder, f"./{to.resolve().name}")
    try:
        to.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".partial-", dir=to) as building:
            whole = Path(building) / "model"
            shutil.copytree(source, whole)
            (whole / "README.md").write_text(card, encoding="utf-8")
            for item in whole.iterdir():
                item.rename(to / item.name)
    except (OSError, shutil.Error) as error:
        raise ConfigError("--to", f"cannot write to {to}: {getattr(error, 'strerror', None) or error}") from error
    return str(to)


def _push(folder: Path, hub: str, private: bool) -> str:
    """One commit to the hub; nothing is copied on this machine."""
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    # The bases of the hub's error are those of whichever HTTP library it is built on.
    refusals: tuple[Any, ...] = (OSError, ValueError, *HfHubHTTPError.__bases__)
    with tempfile.TemporaryDirectory() as building:
        whole = Path(building) / "model"
        shutil.copytree((folder / "checkpoint").resolve(), whole, copy_function=os.symlink)
        (whole / "README.md").unlink(missing_ok=True)
        (whole / "README.md").write_text(model_card(folder, hub), encoding="utf-8")
        api = HfApi()
        try:
            api.create_repo(hub, repo_type="model", private=private or None, exist_ok=True)
            if private and not api.repo_info(hub, repo_type="model").private:
                raise ConfigError("--private", f"{hub} is on the hub already, and public")
            message = f"{folder.name}, trained with rerankbench"
            api.upload_folder(repo_id=hub, repo_type="model", folder_path=whole, commit_message=message)
        except refusals as error:
            reason = without_user_info(next((line for line in str(error).splitlines() if line.strip()), repr(error)))
            raise ConfigError("--hub", f"cannot push to {hub}: {reason} (`hf auth login` logs in)") from error
    return f"{api.endpoint}/{hub}"

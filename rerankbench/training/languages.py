"""Language modules and ranking modules: which one a stage stands on, and how they are composed after training."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.errors import ConfigError
from rerankbench.evaluation.measures import per_query
from rerankbench.evaluation.significance import paired
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.trained import trained
from rerankbench.store import Store
from rerankbench.training.stages.masked_lm import MaskedLM
from rerankbench.types import Run

log = logging.getLogger("rerankbench")

_STAGE = re.compile(r"stage (\d+)")


def standing(adaptation: Any, stages: Path) -> Any:
    """The adaptation with each `stage N` below it replaced by the folder of the language module that stage N made.

    stages: the folder of the run's stages. Raises ConfigError (key `adaptation.below`) where there is none.
    """
    below = getattr(adaptation, "below", ())
    if not any(_STAGE.fullmatch(entry) for entry in below):
        return adaptation
    return replace(adaptation, below=[_made(entry, stages) for entry in below])


def compositions(stages: Sequence[Any], checkpoint: Path) -> dict[str, list[str | list[str]]]:
    """Name → the adapters of each composition of a ranking module with a language it was not trained on.

    `xx` puts that language's module in the place of the ones below; `yy-xx` leaves the query's tokens to the module yy
    below and gives the document's to xx (of sparse masks, both are added). Nothing where no language was trained.
    """
    known = {f"stage {i}": stage.name for i, stage in enumerate(stages) if isinstance(stage, MaskedLM)}
    below = [known[entry] for entry in getattr(getattr(stages[-1], "adaptation", None), "below", ()) if entry in known]
    others = [name for name in known.values() if name not in below]
    ranking = next((name for name in ("adapters/trained", "difference") if (checkpoint / name).is_dir()), None)
    if ranking is None:
        return {}
    found: dict[str, list[str | list[str]]] = {}
    for name in others:
        found[name] = [f"languages/{name}", ranking]
        for lower in below:
            pair = [f"languages/{lower}", f"languages/{name}"]
            found[f"{lower}-{name}"] = [*pair, ranking] if ranking == "difference" else [pair, ranking]
    return found


def composed(
    run: Path,
    stages: Sequence[Any],
    test: Benchmark,
    first_stage: Run,
    documents: Any,
    store: Store,
    rows: Sequence[Mapping[str, Any]],
    seed: int,
) -> dict[str, Any]:
    """Each composition of a training's run beside the trained reranker, measure by measure, with paired tests.

    rows: values of the trained reranker (query, measure, reranked): zero-shot, in a language it was not trained for.
    No measures where a composition tells no candidates apart.
    """
    found: dict[str, Any] = {}
    for name, adapters in compositions(stages, run / "checkpoint").items():
        log.info("measuring the composition %s", name)
        engine = Engine(store)
        ranked = engine.rerank(trained(str(run), adapters=adapters), test.queries, first_stage, documents)
        constant = engine.counts.constant_scores
        found[name] = {"adapters": adapters, "queries_with_constant_scores": constant, "measures": {}}
        if constant == len(test.queries):  # ties keep the first-stage order: its measures would pass for the model's
            log.warning("the composition %s gives all candidates of a query one score: it is not measured", name)
            continue
        for measure in dict.fromkeys(row["measure"] for row in rows):
            before = {row["query"]: row["reranked"] for row in rows if row["measure"] == measure}
            own = per_query([measure], ranked, test.qrels, test.threshold)[measure]
            after = [own[query] for query in before]
            found[name]["measures"][measure] = {
                "zero_shot": sum(before.values()) / max(len(before), 1),
                "composed": sum(after) / max(len(after), 1),
                **paired(list(before.values()), after, seed),
            }
    return found


def _made(entry: str, stages: Path) -> str:
    found = _STAGE.fullmatch(entry)
    if found is None:
        return entry
    made = sorted((stages / found[1] / "added" / "languages").glob("*/"))
    if not made:
        raise ConfigError("adaptation.below", f"{entry!r} is no earlier stage that trains a language (from 0)")
    return str(made[0])

"""`rerankbench show`: a prompt filled in with a real query, as the model will see it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rerankbench.errors import ConfigError
from rerankbench.types import Candidate


def main(words: Sequence[str], folders: Sequence[Path]) -> None:
    """Print the prompt."""
    print(shown(words, folders))


def shown(overrides: Sequence[str], folders: Sequence[Path]) -> str:
    """The first prompt that the reranker asks of its model for the first query, with its tokens counted.

    `prompt=NAME` alone shows that prompt with as many documents as it was written for. No network is loaded, only its
    tokenizer. Raises ConfigError where there is no prompt.
    """
    from rerankbench.config.build import build
    from rerankbench.config.compose import compose
    from rerankbench.rerankers.scorers.prompted import Prompted

    own = [word for word in overrides if not word.startswith(("prompt=", "model="))]
    asks = any(word.startswith("reranker=") for word in own)
    if not asks:  # only a prompt was named: the reranker that brings it, or else any that has one
        chosen = next((word.partition("=")[2] for word in overrides if word.startswith("prompt=")), "")
        overrides = [f"reranker={_reranker_of(chosen, folders)}", *overrides]
    if not any(word.startswith("benchmark.queries=") for word in overrides):
        overrides = [*overrides, "benchmark.queries=1"]
    composed = compose("eval", overrides, folders)
    parts = composed.parts
    benchmark = build(parts["benchmark"], "benchmark").load()
    reranker = build(parts["reranker"], "reranker", benchmark=benchmark, folders=composed.folders)
    scorer: Any = getattr(reranker, "scorer", None)
    if not isinstance(scorer, Prompted):
        raise ConfigError("reranker", "has no prompt to show; try reranker=yes_no, or prompt=setwise")

    from rerankbench.retrievers.first_stage import fetch
    from rerankbench.store import Store

    retriever = build(parts["retriever"], "retriever")
    first_stage = retriever.retrieve(benchmark, Store(Path(parts["store"]["dir"])))
    documents, _ = fetch(benchmark, first_stage)
    query = benchmark.queries[0]
    ranking = [pair for pair in first_stage[query.id] if pair[0] in documents][: reranker.depth]
    candidates = [Candidate(documents[d], rank, score) for rank, (d, score) in enumerate(ranking)]
    try:
        request = next(reranker.strategy.rank(query, candidates))[0]
    except StopIteration:
        raise ConfigError("reranker.strategy", f"asks nothing about {len(candidates)} candidates") from None
    prompt = scorer.encode_prompt(request)
    asked = f"{len(request.candidates)} of {len(candidates)} candidates, a {type(request).__name__.lower()} request"
    lengths = ", ".join(str(end - start) for start, end in prompt.documents)
    lines = [
        scorer.language_model.readable(prompt),
        "─" * 60,
        f"query {query.id}; {asked}",
        f"{scorer.language_model.tokens(prompt):,} tokens" + (f", of documents: {lengths}" if lengths else ""),
    ]
    if scorer.prompt.labels:
        lines.append(f"labels: {', '.join(repr(label.strip()) for label in scorer.prompt.labels)}")
    return "\n".join(lines)


def _reranker_of(prompt: str, folders: Sequence[Path]) -> str:
    """The first reranker option that brings this prompt, else one that can ask it."""
    from omegaconf import OmegaConf

    from rerankbench.config.options import groups

    known = groups(folders)
    for name, file in known["reranker"].items():
        if f"/prompt@scorer.prompt: {prompt}\n" in file.read_text(encoding="utf-8"):
            return name
    own = known.get("prompt", {}).get(prompt)
    return "rankgpt" if own and not OmegaConf.select(OmegaConf.load(own), "labels") else "yes_no"

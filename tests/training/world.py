"""Small training sets in memory: documents d0 … with a text each, and first-stage lists over them."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.benchmarks.corpus import MemoryCorpus
from rerankbench.store import Store
from rerankbench.training.negatives import Context
from rerankbench.training.sampling import GroupOptions, SampledGroups
from rerankbench.training.sources import Source
from rerankbench.types import Document, Qrels, Query


class CountingCorpus(MemoryCorpus):
    """Remembers which documents were asked for, and how often all were read."""

    passes = 0

    def __init__(self, documents: Sequence[Document]) -> None:
        super().__init__(documents)
        self.asked: list[set[str]] = []

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.passes += 1
        return super().__iter__()

    def fetch(self, ids: Collection[str]) -> dict[str, Document]:
        """As any corpus."""
        self.asked.append(set(ids))
        return super().fetch(ids)


def source(
    qrels: Qrels,
    ranked: Mapping[str, Sequence[str]] | None = None,
    texts: Mapping[str, str] | None = None,
    *,
    documents: int = 100,
    threshold: int = 1,
    weight: float = 1.0,
    name: str = "toy",
) -> Source:
    """A source whose first stage lists all documents by number, scored 1, 1/2, 1/3 …, unless `ranked` says otherwise.

    texts: of some documents, instead of the default one.
    """
    everything = [f"d{i}" for i in range(documents)]
    corpus = CountingCorpus([Document(d, (texts or {}).get(d, f"text of {d}")) for d in everything])
    lists = {query: list((ranked or {}).get(query, everything)) for query in qrels}
    run = {query: [(d, 1 / rank) for rank, d in enumerate(ids, 1)] for query, ids in lists.items()}
    queries = tuple(Query(query, f"what is {query}") for query in qrels)
    return Source(Benchmark(name, queries, qrels, corpus, threshold=threshold), run, weight)


def built(options: GroupOptions, *sources: Source, seed: int = 0, folder: Path | None = None) -> SampledGroups:
    """The groups of the sources, none of whose queries is held out."""
    place = folder or Path()
    store = Store(place / "store") if folder else None
    return options.build(sources, [], store, seed, place)  # type: ignore[arg-type]


def context(
    ranked: Sequence[str],
    scores: Sequence[float] | None = None,
    positives: Sequence[str] = (),
    grades: Mapping[str, int] | None = None,
    teacher: Mapping[str, float] | None = None,
    pool: Sequence[str] = (),
) -> Context:
    """What a sampler knows about a query with this first-stage list."""
    known = frozenset(positives)
    given = tuple(scores) if scores is not None else tuple(1 / rank for rank in range(1, len(ranked) + 1))
    judged = {**dict.fromkeys(positives, 1), **(grades or {})}
    return Context(
        Query("q", "query"), tuple(ranked), given, judged, tuple(positives), known, known, teacher, tuple(pool)
    )

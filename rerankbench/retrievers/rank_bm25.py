"""BM25 with rank_bm25: the plain reference implementation, slow and easy to read."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Annotated, Any, Literal

from annotated_types import Ge

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.errors import ConfigError, key_of
from rerankbench.progress import track
from rerankbench.retrievers.analyzer import Analyzer
from rerankbench.retrievers.top_k import ordered, tie_ranks, top_k
from rerankbench.store import Store, content_hash
from rerankbench.types import Run


@dataclass(frozen=True, kw_only=True)
class RankBM25:
    """The top k documents that share a term with the query. `delta` is for the variants `l` and `plus`.

    Okapi's idf is negative for terms in more than half of the documents; the package floors it at a quarter of the
    mean idf.
    """

    k: Annotated[int, Ge(1)] = 100
    variant: Literal["okapi", "l", "plus"] = "okapi"
    k1: float = 1.5
    b: float = 0.75
    delta: float = 0.5
    analyzer: Analyzer = field(default_factory=Analyzer)

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """Index the corpus in memory and score every query; given candidate lists keep all their documents."""
        ids: list[str] = []
        terms: list[list[str]] = []
        for document in track(benchmark.corpus, "index"):
            ids.append(document.id)
            terms.append(self.analyzer.terms(document.text))
        index = self._index(terms)
        rows = {document: row for row, document in enumerate(ids)}
        ties = tie_ranks(ids)
        run: Run = {}
        for query in track(benchmark.queries, "search", total=len(benchmark.queries)):
            asked = self.analyzer.terms(query.text)
            scores = index.get_scores(asked).astype("float32")  # as they are ordered, so that they never increase
            if benchmark.candidates is not None:
                given = [document for document, _ in benchmark.candidates[query.id]]
                run[query.id] = ordered(given, [float(scores[rows[d]]) if d in rows else 0.0 for d in given])
            else:
                matched = _matched(index, asked)
                run[query.id] = [(ids[row], float(scores[row])) for row in top_k(scores, self.k, ties, matched)]
        return run

    def fingerprint(self) -> str:
        """Of the options and the package's version."""
        return content_hash("rank_bm25", asdict(self), version("rank-bm25"))

    def _index(self, terms: list[list[str]]) -> Any:
        import rank_bm25

        if not any(terms):
            raise ConfigError(key_of(self, "analyzer"), "leaves no term in any document")
        if self.variant == "okapi":
            return rank_bm25.BM25Okapi(terms, k1=self.k1, b=self.b)
        kind = rank_bm25.BM25L if self.variant == "l" else rank_bm25.BM25Plus
        return kind(terms, k1=self.k1, b=self.b, delta=self.delta)


def _matched(index: Any, asked: list[str]) -> Any:
    """Which documents share a term with the query, as bool [N]."""
    import numpy as np

    terms = set(asked)
    return np.fromiter((not terms.isdisjoint(counts) for counts in index.doc_freqs), bool, len(index.doc_freqs))

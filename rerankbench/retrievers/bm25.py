"""BM25 with bm25s: scores computed when indexing, read when searching (Lù, arXiv 2407.03618)."""

from __future__ import annotations

import json
import logging
from array import array
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Ge, Interval

from rerankbench.benchmarks.benchmark import Benchmark, Corpus
from rerankbench.progress import track
from rerankbench.retrievers.analyzer import Analyzer
from rerankbench.retrievers.top_k import ordered, tie_ranks, top_k
from rerankbench.store import Store, content_hash
from rerankbench.types import Run

log = logging.getLogger("rerankbench")

INDEX_FORMAT = 1
"""Part of the index's key; raise it when what `_build` writes changes."""


@dataclass(frozen=True, kw_only=True)
class BM25:
    """The top k documents that share a term with the query; the index is kept in the store."""

    k: Annotated[int, Ge(1)] = 100
    k1: Annotated[float, Ge(0)] = 1.5
    b: Annotated[float, Interval(ge=0, le=1)] = 0.75
    delta: float = 0.5
    method: Literal["lucene", "robertson", "atire", "bm25l", "bm25+"] = "lucene"
    analyzer: Analyzer = field(default_factory=Analyzer)

    def retrieve(self, benchmark: Benchmark, store: Store) -> Run:
        """Search the corpus; given candidate lists are scored with the corpus's statistics, unmatched ones 0."""
        folder, reused = store.index(
            self._index_key(benchmark.corpus), lambda path: self._build(benchmark.corpus, path)
        )
        log.info("BM25 index %s (%s)", "reused" if reused else "built", folder)
        index, ids, ties = _load(folder)
        rows = {document: row for row, document in enumerate(ids)} if benchmark.candidates is not None else {}
        run: Run = {}
        for query in track(benchmark.queries, "search", total=len(benchmark.queries)):
            terms = index.get_tokens_ids(self.analyzer.terms(query.text))
            scores = index.get_scores_from_ids(terms) if terms else None
            if benchmark.candidates is not None:
                given = [document for document, _ in benchmark.candidates[query.id]]
                given_scores = [0.0 if scores is None or d not in rows else float(scores[rows[d]]) for d in given]
                run[query.id] = ordered(given, given_scores)
            elif scores is None:
                run[query.id] = []
            else:
                matched = self._matched(index, terms, scores)
                run[query.id] = [(ids[row], float(scores[row])) for row in top_k(scores, self.k, ties, matched)]
        return run

    def fingerprint(self) -> str:
        """Of the options and bm25s's version."""
        return content_hash("bm25", self.k, self._options())

    def _options(self) -> dict[str, Any]:
        options = {key: value for key, value in asdict(self).items() if key != "k"}
        return {**options, "bm25s": version("bm25s")}

    def _index_key(self, corpus: Corpus) -> str:
        return content_hash("bm25", INDEX_FORMAT, corpus.fingerprint(), self._options())

    def _build(self, corpus: Corpus, folder: Path) -> None:
        import bm25s
        import numpy as np

        vocabulary: dict[str, int] = {}
        ids: list[str] = []
        terms: list[array[int]] = []  # four bytes a term: a list would take eight
        for document in track(corpus, "index"):
            ids.append(document.id)
            words = self.analyzer.terms(document.text)
            terms.append(array("i", [vocabulary.setdefault(word, len(vocabulary)) for word in words]))
        index = bm25s.BM25(k1=self.k1, b=self.b, delta=self.delta, method=self.method)
        index.index((terms, vocabulary or {"": 0}), show_progress=False)
        index.save(folder, show_progress=False)
        np.save(folder / "places.npy", tie_ranks(ids))
        (folder / "ids.json").write_text(json.dumps(ids, ensure_ascii=False), encoding="utf-8")

    def _matched(self, index: Any, terms: Sequence[int], scores: Any) -> Any:
        """Which documents share a term with the query; most methods have terms that score 0, or score absent ones."""
        import numpy as np

        if self.method == "lucene":  # its idf is always positive
            return scores != 0
        matched = np.zeros(len(scores), dtype=bool)
        pointers, rows = index.scores["indptr"], index.scores["indices"]
        for term in set(terms):
            matched[rows[pointers[term] : pointers[term + 1]]] = True
        return matched


def _load(folder: Path) -> tuple[Any, list[str], Any]:
    """The index, memory-mapped, the document id of each row, and its rank among ties."""
    import bm25s
    import numpy as np

    index = bm25s.BM25.load(folder, mmap=True, show_progress=False)
    ids: list[str] = json.loads((folder / "ids.json").read_text(encoding="utf-8"))
    return index, ids, np.load(folder / "places.npy")

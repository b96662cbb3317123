"""BM25 is BM25: the formulas, the cut, candidate lists, the stored index, and published figures."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rerankbench.benchmarks.corpus import MemoryCorpus
from rerankbench.benchmarks.local import Local
from rerankbench.evaluation.measures import per_query
from rerankbench.retrievers.analyzer import Analyzer
from rerankbench.retrievers.bm25 import BM25
from rerankbench.store import Store
from rerankbench.types import Document
from tests.configured import refused
from tests.conftest import DATA
from tests.retrievers.toy import toy

METHODS = ["lucene", "robertson", "atire", "bm25l", "bm25+"]
TEXTS = {
    "d1": "cat cat mat dog",
    "d2": "cat dog",
    "d3": "cat mat bird stone river",
    "d4": "cat bird",
    "d5": "",
    "d6": "river river river cat",
}


def reference(texts: dict[str, str], query: str, method: str, k1: float, b: float, delta: float) -> dict[str, float]:
    """The five variants as Kamphuis et al. (ECIR 2020) write them; of the documents that share a term with the query.

    Robertson's idf is not negative here. The lower bounds of BM25L and BM25+ hold for absent terms, too.
    """
    counts = {d: Counter(text.split()) for d, text in texts.items()}
    n, average = len(texts), mean(c.total() for c in counts.values())
    df = Counter(term for c in counts.values() for term in c)
    idf = {
        "lucene": lambda f: math.log(1 + (n - f + 0.5) / (f + 0.5)),
        "robertson": lambda f: max(0.0, math.log((n - f + 0.5) / (f + 0.5))),
        "atire": lambda f: math.log(n / f),
        "bm25l": lambda f: math.log((n + 1) / (f + 0.5)),
        "bm25+": lambda f: math.log((n + 1) / f),
    }[method]

    def part(tf: int, length: int) -> float:
        norm = 1 - b + b * length / average
        if method == "bm25l":
            return (k1 + 1) * (tf / norm + delta) / (k1 + tf / norm + delta)
        saturated = tf / (k1 * norm + tf)
        return saturated * (1 if method in ("lucene", "robertson") else k1 + 1) + (delta if method == "bm25+" else 0)

    terms = [term for term in query.split() if term in df]
    return {
        d: sum(idf(df[t]) * part(c[t], c.total()) for t in terms)
        for d, c in counts.items()
        if any(t in c for t in terms)
    }


words = st.sampled_from(["cat", "dog", "mat", "bird", "river", "stone"])


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    documents=st.lists(st.lists(words, max_size=8).map(" ".join), min_size=1, max_size=12),
    query=st.lists(st.one_of(words, st.just("unseen")), max_size=5).map(" ".join),
    k1=st.floats(0.1, 3),
    b=st.floats(0, 1),
)
def test_scores_are_those_of_the_formula(
    tmp_path: Path, method: Any, documents: list[str], query: str, k1: float, b: float
) -> None:
    texts = {f"d{number}": text for number, text in enumerate(documents)}
    if not any(documents):
        return
    found = BM25(method=method, k1=k1, b=b).retrieve(toy(texts, {"q": query}), Store(tmp_path))["q"]
    assert dict(found) == pytest.approx(reference(texts, query, method, k1, b, 0.5), rel=1e-5, abs=1e-6)
    assert found == sorted(found, key=lambda pair: (pair[1], pair[0]), reverse=True)


@pytest.mark.parametrize("method", METHODS)
def test_every_document_that_shares_a_term_is_found(method: Any, tmp_path: Path) -> None:
    run = BM25(method=method).retrieve(toy(TEXTS, {"q": "cat", "none": "zebra", "empty": "the"}), Store(tmp_path))
    assert {document for document, _ in run["q"]} == set(TEXTS) - {"d5"}  # also where the idf of "cat" is 0
    assert run["none"] == run["empty"] == []


def test_k_cuts_among_ties_by_document_id_descending(tmp_path: Path) -> None:
    texts = {f"d{number}": "same words" for number in (3, 1, 10, 2)}
    run = BM25(k=3).retrieve(toy(texts, {"q": "words"}), Store(tmp_path))
    assert [document for document, _ in run["q"]] == ["d3", "d2", "d10"]


@pytest.mark.parametrize("method", METHODS)
def test_candidate_lists_keep_all_their_documents(method: Any, tmp_path: Path) -> None:
    given_lists = {"q": ["d5", "absent", "d4", "d1"], "none": ["d2", "d1"], "nothing": []}
    benchmark = toy(TEXTS, {"q": "dog dog", "none": "zebra", "nothing": "cat"}, given_lists)
    retriever = BM25(method=method, k=1)
    run = retriever.retrieve(benchmark, Store(tmp_path))
    assert {query: sorted(d for d, _ in ranking) for query, ranking in run.items()} == {
        query: sorted(given) for query, given in given_lists.items()
    }
    assert run["q"][0][0] == "d1"
    assert [d for d, _ in run["none"]] == ["d2", "d1"]
    searched = dict(BM25(method=method).retrieve(toy(TEXTS, {"q": "dog dog"}), Store(tmp_path))["q"])
    assert run["q"][0][1] == searched["d1"]


class Unreadable(MemoryCorpus):
    """A corpus whose file breaks off."""

    def __iter__(self) -> Iterator[Document]:
        yield from super().__iter__()
        raise OSError("unreadable from here")

    def fingerprint(self) -> str:
        return "unreadable"


def test_the_index_is_made_once_and_never_seen_half_built(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="rerankbench")
    benchmark, store = toy(TEXTS, {"q": "cat river"}), Store(tmp_path)
    with pytest.raises(OSError, match="unreadable"):
        BM25().retrieve(replace(benchmark, corpus=Unreadable(benchmark.corpus)), store)
    assert list((tmp_path / "indexes").iterdir()) == []
    first = BM25().retrieve(benchmark, store)
    assert "BM25 index built" in caplog.text
    assert BM25(k=50).retrieve(benchmark, Store(tmp_path)) == first
    assert "BM25 index reused" in caplog.text
    BM25(analyzer=Analyzer(stemmer=True)).retrieve(benchmark, store)
    assert len(list((tmp_path / "indexes").iterdir())) == 2


def test_a_corpus_without_terms_answers_nothing(tmp_path: Path) -> None:
    assert BM25().retrieve(toy({"d1": "the", "d2": ""}, {"q": "the cat"}), Store(tmp_path)) == {"q": []}


@pytest.mark.parametrize(("options", "key"), [({"k": 0}, "k"), ({"k1": -1.0}, "k1"), ({"b": 1.5}, "b")])
def test_impossible_options_are_refused(options: dict[str, Any], key: str) -> None:
    assert refused(BM25, **options) == key


def published() -> dict[str, float]:
    """Collection → nDCG@10 of BM25 without stemming, as the collections' own index states it."""
    file = DATA / "INDEX.md"
    figures: dict[str, float] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < 6 or not re.match(r"\d", cells[4]):
            continue
        if several := re.findall(r"(\d\.\d+) \((\w\w)\b", cells[4]):  # one row of many languages
            stem = cells[1].split()[0].rpartition("-")[0]
            figures.update({f"{stem}-{language}": float(figure) for figure, language in several})
        else:
            figures[cells[1]] = float(cells[4].split()[0])
    return figures


@pytest.mark.parametrize(("collection", "expected"), sorted(published().items()) or [("none", 0.0)])
def test_ndcg_is_the_published_one(collection: str, expected: float, tmp_path: Path) -> None:
    if not (DATA / collection).is_dir():
        pytest.skip(f"no collection {DATA / collection} (RERANKBENCH_DATA names their folder)")
    benchmark = Local(path=str(DATA / collection)).load()
    run = BM25(k=100).retrieve(benchmark, Store(tmp_path))
    values = per_query(["ndcg@10"], run, benchmark.qrels, benchmark.threshold)["ndcg@10"]
    assert mean(values.values()) == pytest.approx(expected, abs=0.02)

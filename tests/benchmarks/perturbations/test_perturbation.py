"""A perturbed benchmark is another benchmark: in its name, its fingerprint, and what the store keeps of it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from rerankbench.benchmarks.benchmark import Benchmark
from rerankbench.benchmarks.corpus import MemoryCorpus
from rerankbench.benchmarks.perturbations.perturbation import PerturbedCorpus, perturbed
from rerankbench.benchmarks.perturbations.query_typos import QueryTypos
from rerankbench.retrievers.first_stage import run_key
from rerankbench.types import Document, Query

DOCUMENTS = [Document("d1", "a cat"), Document("d2", "a dog")]
QUERIES = (Query("q1", "where is the cat"), Query("q2", "where is the dog"))
BENCHMARK = Benchmark("pets", QUERIES, {"q1": {"d1": 1}, "q2": {"d2": 1}}, MemoryCorpus(DOCUMENTS))


@dataclass(frozen=True)
class Shout:
    """Documents in capitals; notes what it read."""

    read: list[str]

    def apply(self, benchmark: Benchmark) -> Benchmark:
        return replace(benchmark, corpus=PerturbedCorpus(benchmark.corpus, self._louder, "shout"))

    def _louder(self, document: Document) -> Document:
        self.read.append(document.id)
        return document.with_text(document.text.upper())


def test_documents_are_changed_as_they_are_read() -> None:
    shout = Shout([])
    changed = perturbed(BENCHMARK, {"shout": shout})
    assert shout.read == []
    assert [document.text for document in changed.corpus] == ["A CAT", "A DOG"]
    assert changed.corpus.fetch(["d2", "d3"]) == {"d2": Document("d2", "A DOG")}
    assert changed.corpus.fingerprint() != BENCHMARK.corpus.fingerprint()
    assert run_key(changed, "bm25") != run_key(BENCHMARK, "bm25")
    assert (BENCHMARK.name, changed.name) == ("pets", "pets+shout")


def test_perturbations_are_applied_in_their_order_and_named() -> None:
    parts = {"one": QueryTypos(rate=1, kinds=["insert"], seed=1), "two": QueryTypos(rate=1, kinds=["swap"])}
    changed = perturbed(BENCHMARK, parts)
    assert changed.name == "pets+one+two" and changed.description["perturbations"] == ["one", "two"]
    assert changed.queries == parts["two"].apply(parts["one"].apply(BENCHMARK)).queries
    assert run_key(changed, "bm25") != run_key(BENCHMARK, "bm25")


def test_without_perturbations_the_benchmark_stays_itself() -> None:
    assert perturbed(BENCHMARK, {}) is BENCHMARK

"""What a perturbation is: it changes a loaded benchmark, to see how rankings bear the change."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from rerankbench.benchmarks.benchmark import Benchmark, Corpus
from rerankbench.store import content_hash
from rerankbench.types import Document


class Perturbation(Protocol):
    """A configured perturbation."""

    def apply(self, benchmark: Benchmark) -> Benchmark:
        """The benchmark with other queries, documents or judgments; the given one stays as it is."""
        ...


@dataclass(frozen=True)
class PerturbedCorpus:
    """A corpus whose documents are changed as they are read. key: what the change depends on, for the fingerprint."""

    corpus: Corpus
    change: Callable[[Document], Document]
    key: str

    def __iter__(self) -> Iterator[Document]:
        return map(self.change, self.corpus)

    def fetch(self, ids: Collection[str]) -> dict[str, Document]:
        """The changed documents with these ids."""
        return {document_id: self.change(document) for document_id, document in self.corpus.fetch(ids).items()}

    def fingerprint(self) -> str:
        """A hash of the corpus and the change."""
        return content_hash("perturbed", self.corpus.fingerprint(), self.key)


def perturbed(benchmark: Benchmark, perturbations: Mapping[str, Perturbation]) -> Benchmark:
    """The benchmark after all perturbations, in their order; their names are added to its name and description."""
    if not perturbations:
        return benchmark
    changed = benchmark
    for perturbation in perturbations.values():
        changed = perturbation.apply(changed)
    description = {**changed.description, "perturbations": list(perturbations)}
    return replace(changed, name="+".join([benchmark.name, *perturbations]), description=description)

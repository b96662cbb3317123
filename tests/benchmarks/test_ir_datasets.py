"""ir_datasets ids, offline: one registered on small local files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from rerankbench.benchmarks.ir_datasets import IrDatasets
from rerankbench.errors import ConfigError, DataError
from rerankbench.types import Document, Query
from tests.configured import configured


class Page(NamedTuple):
    doc_id: str
    title: str
    body: str
    year: str

    def default_text(self) -> str:
        return f"{self.title} / {self.body}"


@pytest.fixture
def registered(tmp_path: Path) -> Iterator[str]:
    import ir_datasets
    from ir_datasets.datasets.base import Dataset
    from ir_datasets.formats import TrecQrels, TrecScoredDocs, TsvDocs, TsvQueries
    from ir_datasets.util import LocalDownload

    (tmp_path / "docs.tsv").write_text("d1\tcats purr\nd2\tdogs bark\nd3\tfish\n")
    (tmp_path / "pages.tsv").write_text("d1\tcats\tpurr\t1999\nd2\tdogs\tbark\t2001\n")
    (tmp_path / "queries.tsv").write_text("1\twho purrs\n2\twho barks\n")
    (tmp_path / "qrels").write_text("1 0 d1 2\n1 0 d2 0\n2 0 d2 1\n")
    (tmp_path / "run").write_text("1 Q0 d2 1 0.5 x\n1 Q0 d1 2 0.9 x\n")
    files = {name: LocalDownload(tmp_path / name) for name in ("docs.tsv", "queries.tsv", "qrels", "run", "pages.tsv")}
    docs, queries = TsvDocs(files["docs.tsv"], lang="en"), TsvQueries(files["queries.tsv"], lang="en")
    qrels, scored = TrecQrels(files["qrels"], {}), TrecScoredDocs(files["run"])
    names = {
        "toy-pets": Dataset(docs, queries),
        "toy-pets/test": Dataset(docs, queries, qrels, scored),
        "toy-pets/dev": Dataset(docs, queries, qrels),
        "toy-pages": Dataset(TsvDocs(files["pages.tsv"], doc_cls=Page), queries, qrels),
        "toy-gone": Dataset(TsvDocs(LocalDownload(tmp_path / "gone")), queries, qrels),
    }
    for name, dataset in names.items():
        ir_datasets.registry.register(name, dataset)
    yield "toy-pets/test"
    for name in names:
        del ir_datasets.registry._registered[name]


def test_an_id_gives_its_parts(registered: str) -> None:
    benchmark = IrDatasets(id=registered).load()
    assert benchmark.name == "toy-pets-test"
    assert benchmark.queries == (Query("1", "who purrs"), Query("2", "who barks"))
    assert benchmark.qrels == {"1": {"d1": 2, "d2": 0}, "2": {"d2": 1}}
    assert list(benchmark.corpus) == [Document("d1", "cats purr"), Document("d2", "dogs bark"), Document("d3", "fish")]
    assert benchmark.corpus.fetch(["d3", "d1", "nowhere"]) == {
        "d1": Document("d1", "cats purr"),
        "d3": Document("d3", "fish"),
    }
    assert benchmark.corpus.fetch([]) == {}
    assert benchmark.candidates is None


def test_an_index_is_shared_among_the_splits_of_one_corpus(registered: str) -> None:
    test, dev, pages = (IrDatasets(id=name).load().corpus for name in (registered, "toy-pets/dev", "toy-pages"))
    assert test.fingerprint() == dev.fingerprint() != pages.fingerprint()


def test_scoreddocs_are_candidates_where_asked_for(registered: str) -> None:
    benchmark = configured("benchmark", IrDatasets, id=registered, use_scoreddocs=True).load()
    assert benchmark.candidates == {"1": [("d1", 0.9), ("d2", 0.5)], "2": []}
    with pytest.raises(ConfigError, match=r"benchmark\.id: .*no scoreddocs"):
        configured("benchmark", IrDatasets, id="toy-pets/dev", use_scoreddocs=True).load()


def test_fields_or_the_text_that_ir_datasets_takes(registered: str) -> None:
    own = next(iter(IrDatasets(id="toy-pages").load().corpus))
    assert (own.text, own.metadata) == ("cats / purr", {"year": "1999"})
    chosen = next(iter(IrDatasets(id="toy-pages", fields=["body", "year"]).load().corpus))
    assert (chosen.text, chosen.metadata) == ("purr 1999", {})
    with pytest.raises(ConfigError, match=r"benchmark\.fields: .*'bdy'; did you mean 'body'"):
        configured("benchmark", IrDatasets, id="toy-pages", fields=["bdy"]).load()


def test_wrong_ids_and_splits(registered: str) -> None:
    with pytest.raises(ConfigError, match=r"benchmark\.id: .*did you mean 'toy-pets"):
        configured("benchmark", IrDatasets, id="toy-pest/test").load()
    with pytest.raises(ConfigError, match=r"has no qrels; below it: toy-pets/test, toy-pets/dev"):
        configured("benchmark", IrDatasets, id="toy-pets").load()
    assert len(configured("benchmark", IrDatasets, id="toy-pets/dev", split="dev").load().queries) == 2
    with pytest.raises(ConfigError, match=r"benchmark\.split: does not apply"):
        configured("benchmark", IrDatasets, id=registered, split="dev").load()
    with pytest.raises(DataError, match="toy-gone: ir_datasets could not provide it"):
        configured("benchmark", IrDatasets, id="toy-gone").load()

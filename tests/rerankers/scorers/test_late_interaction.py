"""Late interaction is MaxSim, as two loops would compute it."""

from __future__ import annotations

import string
from pathlib import Path

import pytest

from rerankbench.models.encoders.embedder import Embedder
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.late_interaction import LateInteraction
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_model import WORDS, on_cpu, requests, save


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("bert"))


def _naive(embedder: Embedder, query: str, document: str, skip: bool) -> float:
    (queries, _), (documents, ids) = embedder.embed_tokens([query]) + embedder.embed_tokens([document])
    total = 0.0
    for q in queries:
        best = -2.0
        for d, token in zip(documents, ids, strict=True):
            if not (skip and WORDS[token] in string.punctuation):
                best = max(best, float(q @ d))
        total += best
    return total


@pytest.mark.parametrize("skip", [True, False])
def test_scores_equal_the_double_loop(saved: str, skip: bool) -> None:
    asked = requests(1, 24)
    assert any("!" in request.candidate.document.text for request in asked)
    scorer = LateInteraction(model=on_cpu(saved), skip_punctuation=skip, query_prefix="the ", document_prefix="a ")
    embedder = Embedder(on_cpu(saved))
    expected = [_naive(embedder, f"the {r.query.text}", f"a {r.candidate.document.text}", skip) for r in asked]
    assert scorer.answer(asked) == pytest.approx(expected, abs=1e-4)


def test_scores_do_not_depend_on_the_company(saved: str) -> None:
    asked = requests(2, 25)
    together = LateInteraction(model=on_cpu(saved)).answer(asked)
    alone = LateInteraction(model=on_cpu(saved))
    assert [alone.answer([request])[0] for request in asked] == pytest.approx(together, abs=1e-4)
    assert LateInteraction(model=on_cpu(saved)).answer(asked[::-1])[::-1] == pytest.approx(together, abs=1e-4)


@pytest.mark.parametrize("special", [True, False])
def test_documents_of_nothing_and_of_punctuation_have_scores(special: bool, tmp_path: Path) -> None:
    scorer = LateInteraction(model=on_cpu(save(tmp_path, special=special)))
    texts = ["", "! , .", "cat dog"]
    asked = [Pointwise(Query("q", "cat"), Candidate(Document(str(i), text), i, 0.0)) for i, text in enumerate(texts)]
    size = scorer.embedder.encoder.tokenizer.single.size + 1
    assert all(-size <= score <= size + 1e-5 for score in scorer.answer(asked))


def test_no_text_is_embedded_twice(saved: str) -> None:
    asked = requests(3, 10)
    scorer = LateInteraction(model=on_cpu(saved))
    first = scorer.answer(asked)
    tokens = scorer.usage.prompt_tokens
    assert scorer.answer(asked) == first
    assert scorer.usage.prompt_tokens == tokens > 0

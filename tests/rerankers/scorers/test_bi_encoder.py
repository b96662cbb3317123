"""The bi-encoder's scores are cosines of the two texts embedded apart; no text is embedded twice."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankbench.errors import ConfigError
from rerankbench.models.encoders.embedder import Embedder
from rerankbench.rerankers.scorers.bi_encoder import BiEncoder
from tests.models.toy_model import on_cpu, requests, save


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("bert"))


def test_scores_are_cosines_with_the_prefixes(saved: str) -> None:
    asked = requests(1, 20)
    scorer = BiEncoder(model=on_cpu(saved), query_prefix="the ", document_prefix="a ", pooling="cls")
    embedder = Embedder(on_cpu(saved), "cls")
    expected = [
        float(embedder.embed([f"the {r.query.text}"])[0] @ embedder.embed([f"a {r.candidate.document.text}"])[0])
        for r in asked
    ]
    assert scorer.answer(asked) == pytest.approx(expected, abs=1e-5)
    assert max(expected) - min(expected) > 0.01


def test_scores_do_not_depend_on_the_company(saved: str) -> None:
    asked = requests(2, 25)
    together = BiEncoder(model=on_cpu(saved)).answer(asked)
    alone = BiEncoder(model=on_cpu(saved))
    assert [alone.answer([request])[0] for request in asked] == pytest.approx(together, abs=1e-5)
    assert BiEncoder(model=on_cpu(saved)).answer(asked[::-1])[::-1] == pytest.approx(together, abs=1e-5)


def test_no_text_is_embedded_twice(saved: str) -> None:
    asked = requests(3, 10)
    scorer = BiEncoder(model=on_cpu(saved))
    first = scorer.answer(asked)
    tokens = scorer.usage.prompt_tokens
    assert scorer.answer(asked) == first
    assert scorer.usage.prompt_tokens == tokens > 0


def test_the_fingerprint_is_of_weights_pooling_and_prefixes(saved: str, tmp_path: Path) -> None:
    model = on_cpu(saved)
    same = [BiEncoder(model=model), BiEncoder(model=on_cpu(saved))]
    others = [
        BiEncoder(model=model, pooling="cls"),
        BiEncoder(model=model, query_prefix="a"),
        BiEncoder(model=model, document_prefix="a"),
        BiEncoder(model=on_cpu(save(tmp_path, seed=1))),
    ]
    assert len({scorer.fingerprint() for scorer in same}) == 1
    assert len({scorer.fingerprint() for scorer in [*same, *others]}) == 5


def test_an_encoder_decoder_is_refused(t5_model: str) -> None:
    with pytest.raises(ConfigError, match=r"^model: is an encoder-decoder"):
        BiEncoder(model=on_cpu(t5_model)).answer(requests(1, 1))

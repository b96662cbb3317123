"""A prompt with a real query in it, for a person to read."""

from __future__ import annotations

from pathlib import Path

import pytest

from rerankbench.commands.show import shown
from rerankbench.errors import ConfigError
from tests.conftest import QUERIES, TEXTS


def _shown(tiny: Path, model: str, *words: str) -> str:
    fixed = [
        "benchmark=local",
        f"benchmark.path={tiny}",
        "model=path",
        f"model.path={model}",
        f"store.dir={tiny}/store",
    ]
    return shown([*fixed, *words], [])


def test_a_prompt_alone_is_shown_by_the_reranker_that_brings_it(tiny: Path, chat_model: str) -> None:
    text = _shown(tiny, chat_model, "prompt=setwise")
    assert any(query in text for query in QUERIES.values())
    assert sum(document in text for document in TEXTS.values()) >= 2
    assert "Passage B:" in text
    assert "setwise request" in text
    assert "tokens, of documents: " in text


def test_a_reranker_shows_its_first_request(tiny: Path, chat_model: str) -> None:
    text = _shown(tiny, chat_model, "reranker=yes_no")
    assert "pointwise request" in text
    assert "labels: 'Yes', 'No'" in text
    assert "Begin differently" in _shown(tiny, chat_model, "reranker=yes_no", "prompt.start='Begin differently'")


def test_a_prompt_that_no_reranker_brings_is_shown_by_one_that_can_ask_it(tiny: Path, chat_model: str) -> None:
    assert "listwise request" in _shown(tiny, chat_model, "prompt=rank_llm", "model.max_length=1024")


def test_what_has_no_prompt_is_refused(tiny: Path, chat_model: str) -> None:
    with pytest.raises(ConfigError, match="has no prompt"):
        _shown(tiny, chat_model, "reranker=bi_encoder")
    with pytest.raises(ConfigError, match="did you mean 'setwise'"):
        _shown(tiny, chat_model, "prompt=setwis")

"""Query likelihood: the mean over the query's tokens, of plain passes."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Pointwise
from rerankbench.rerankers.scorers.query_likelihood import QueryLikelihood
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_language_model import QUESTION, on_cpu
from tests.rerankers.scorers.asked import QUERIES, pointwise


@pytest.mark.parametrize("kind", ["chat_model", "plain_model"])
def test_scores_are_those_of_plain_passes(kind: str, request: pytest.FixtureRequest) -> None:
    import torch

    scorer = QueryLikelihood(model=on_cpu(request.getfixturevalue(kind)), prompt=QUESTION)
    lm: Any = scorer.language_model
    expected, requests = [], pointwise(16)
    for one in requests:
        prompt = scorer.encode_prompt(one)
        gap = " " if prompt.answer_prefix.endswith(":") else ""
        joint = lm.prompt_encoder.tokenizer(
            lm.readable(prompt) + gap + one.query.text, add_special_tokens=False
        ).input_ids
        assert list(prompt.ids) == joint[: len(prompt.ids)], "the query goes on where the prompt ends"
        with torch.inference_mode():
            rows = torch.log_softmax(lm.network(torch.tensor([joint])).logits[0].float(), -1)
        places = range(len(prompt.ids), len(joint))
        expected.append(sum(float(rows[i - 1, joint[i]]) for i in places) / len(places))
    assert scorer.answer(requests) == pytest.approx(expected, abs=1e-4)


def test_an_empty_query_scores_0(chat_model: str) -> None:
    scorer = QueryLikelihood(model=on_cpu(chat_model), prompt=QUESTION)
    requests = [Pointwise(QUERIES[2], one.candidate) for one in pointwise(3)]
    assert scorer.answer(requests) == [0, 0, 0]


def test_the_document_leaves_room_for_the_query(chat_model: str) -> None:
    scorer = QueryLikelihood(model=on_cpu(chat_model, max_length=64), prompt=QUESTION)
    request = Pointwise(Query("q", "what is red " * 5), Candidate(Document("d", "cat " * 200), 0, 1.0))
    assert len(scorer.encode_prompt(request).ids) + 15 <= 64
    assert scorer.tokens(request) <= 64
    assert scorer.answer([request])[0] < 0
    with pytest.raises(ConfigError, match="query 'q'"):
        scorer.answer([Pointwise(Query("q", "what is red " * 30), request.candidate)])


def test_the_prompt_does_not_show_the_query(chat_model: str) -> None:
    scorer = QueryLikelihood(model=on_cpu(chat_model), prompt=QUESTION)
    requests = [Pointwise(query, pointwise(1)[0].candidate) for query in QUERIES]
    assert len({scorer.encode_prompt(request).ids for request in requests}) == 1


def test_a_prompt_that_shows_the_query_is_refused(chat_model: str) -> None:
    prompt = Prompt(messages=[{"content": "{{ query }} {{ document }}"}])
    with pytest.raises(ConfigError, match=r"^prompt\.messages: must not show the query"):
        QueryLikelihood(model=on_cpu(chat_model), prompt=prompt)

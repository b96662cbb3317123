"""FIRST: the letters' order in the logits of one plain pass."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure, Listwise, Repaired
from rerankbench.rerankers.scorers.first_token import FirstToken
from tests.models.toy_language_model import LIST, on_cpu
from tests.rerankers.scorers.asked import QUERIES, Said, candidates, listwise
from tests.rerankers.scorers.test_choice import longest


def test_the_order_is_that_of_a_plain_pass(chat_model: str) -> None:
    import torch

    scorer = FirstToken(model=on_cpu(chat_model), prompt=LIST)
    lm: Any = scorer.language_model
    requests, expected = listwise(4, 10, 20, 4, 1), []
    for one in requests:
        letters = LIST.document_labels(len(one.candidates))
        with torch.inference_mode():
            row = lm.network(torch.tensor([scorer.encode_prompt(one).ids])).logits[0, -1]
        expected.append(
            row[lm.prompt_encoder.tokenizer.convert_tokens_to_ids(letters)].argsort(descending=True).tolist()
        )
    assert scorer.answer(requests) == expected
    assert scorer.usage.generated_tokens == len(requests), "one token decides a window"


def test_shuffled_documents_give_the_same_order() -> None:
    model: Any = Said(scores=longest)
    shown = candidates(7, seed=3)
    orders = []
    for own in (shown, shown[::-1]):
        (order,) = FirstToken(model=model, prompt=LIST).answer([Listwise(QUERIES[0], own)])
        orders.append([len(own[i].document.text) for i in order])
    assert orders[0] == orders[1] == sorted(orders[0], reverse=True)


def test_ties_tops_and_letters_not_told() -> None:
    scores: list[list[float | None]] = [[0.0, 0.0, 1.0, 0.0], [None, 0.0, None, 1.0], [None] * 4]
    given = iter(scores)
    model: Any = Said(scores=lambda prompt, labels: next(given))
    scorer = FirstToken(model=model, prompt=LIST)
    assert scorer.answer(listwise(4, 4, 4)) == [[2, 0, 1, 3], Repaired([3, 1, 0, 2], "missing"), Failure("no label")]
    model.scores = lambda prompt, labels: [1.0, 0.0, 3.0, 2.0]
    assert scorer.answer(listwise(4, top=1)) == [[2, 0, 1, 3]]


def test_numbers_are_refused() -> None:
    model: Any = Said()
    with pytest.raises(ConfigError, match=r"prompt\.label_style: must be letters"):
        FirstToken(model=model, prompt=Prompt(messages=LIST.messages))

"""Preferences: of plain passes, antisymmetric in what they read, and forgiving of what is generated."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from rerankbench.errors import ConfigError
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Failure
from rerankbench.rerankers.scorers.preference import Preference
from tests.models.toy_language_model import PAIR, on_cpu
from tests.rerankers.scorers.asked import Said, hostile, pairs

DUO = Prompt(
    messages=[{"content": "Query: {{ query }} 0: {{ documents[0].text }} 1: {{ documents[1].text }} Relevant:"}],
    raw=True,
    labels=["true", "false"],
)


@pytest.mark.parametrize(
    ("kind", "prompt", "words"), [("chat_model", PAIR, ["ĠA", "ĠB"]), ("t5_model", DUO, ["▁true", "▁false"])]
)
def test_preferences_are_those_of_plain_passes(
    kind: str, prompt: Prompt, words: list[str], request: pytest.FixtureRequest
) -> None:
    import torch

    scorer = Preference(model=on_cpu(request.getfixturevalue(kind)), prompt=prompt)
    lm: Any = scorer.language_model
    requests, expected = pairs(5), []
    for one in requests:
        ids = torch.tensor([scorer.encode_prompt(one).ids])
        decoder = {"decoder_input_ids": torch.tensor([[0]])} if kind == "t5_model" else {}
        with torch.inference_mode():
            row = lm.network(input_ids=ids, **decoder).logits[0, -1].float()
        expected.append(float(row[lm.prompt_encoder.tokenizer.convert_tokens_to_ids(words)].softmax(-1)[0]))
    found = scorer.answer(requests)
    assert found == pytest.approx(expected, abs=1e-4)
    assert scorer.answer(requests[::-1]) == pytest.approx(found[::-1], abs=1e-4)


def test_labels_that_look_at_the_documents_permute_with_them() -> None:
    def longer_is_better(prompt: Any, labels: Any) -> list[float | None]:
        return [float(len(text)) for text in prompt.messages[0][1].split("|")[1:]]

    model: Any = Said(scores=longer_is_better)
    requests = pairs(6)
    found = Preference(model=model, prompt=PAIR).answer(requests)
    swapped = Preference(model=model, prompt=PAIR).answer([type(r)(r.query, r.second, r.first) for r in requests])
    assert [a + b for a, b in zip(found, swapped, strict=True)] == pytest.approx([1.0] * len(requests))


@pytest.mark.parametrize(
    ("text", "answer"),
    [(" A", 1.0), ("B", 0.0), (" B.", 0.0), (" A and B", 1.0), (": both", 0.5), ("", Failure("no label")),
     (" C", Failure("unknown label"))],
)  # fmt: skip
def test_generated_labels(text: str, answer: Any) -> None:
    model: Any = Said(texts=[text])
    found = Preference(model=model, prompt=PAIR, mode="generate", new_tokens=3).answer(pairs(2)[:1])[0]
    assert found == answer
    assert model.asked == [{"max_new_tokens": 3, "stop": (), "n": 1}]


@given(text=hostile)
def test_whatever_is_generated_is_a_preference_or_a_failure(text: str) -> None:
    model: Any = Said(texts=[text])
    found = Preference(model=model, prompt=PAIR, mode="generate").answer(pairs(2)[:1])[0]
    assert isinstance(found, Failure) or found in (0.0, 0.5, 1.0)


def test_two_labels_are_needed() -> None:
    model: Any = Said()
    with pytest.raises(ConfigError, match=r"prompt\.labels: must be two: first the answer for the first document"):
        Preference(model=model, prompt=Prompt(messages=PAIR.messages))

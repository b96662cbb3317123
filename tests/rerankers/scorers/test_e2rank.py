"""E2Rank's cosines are those of the plain network, document by document."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.errors import ConfigError
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.rerankers.requests import Listwise
from rerankbench.rerankers.scorers.e2rank import E2Rank
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_causal import save

MESSAGE = "Documents:\n{% for d in documents %}[{{ d.label }}] {{ d.text }}\n{% endfor %}Search Query: {{ query }}"
TEXTS = ["the cat sat", "", "roses in a garden", "stocks fell", "a red mat"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("qwen3"), "qwen3")


def _scorer(path: str, **options: Any) -> E2Rank:
    prompt = Prompt(messages=[{"role": "user", "content": MESSAGE}], document_tokens=options.pop("cut", None))
    return E2Rank(model=Model(path=path, dtype="float32", device="cpu"), prompt=prompt, **options)


def _request(query: str, texts: list[str]) -> Listwise:
    return Listwise(Query("q", query), tuple(Candidate(Document(str(i), t), i, 0.0) for i, t in enumerate(texts)))


def _plain(path: str, query: str, texts: list[str], shown: int) -> list[float]:
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, network = AutoTokenizer.from_pretrained(path), AutoModel.from_pretrained(path).eval()

    def last(text: str) -> torch.Tensor:
        ids = tokenizer(text, return_tensors="pt", add_special_tokens=False).input_ids
        with torch.inference_mode():
            return torch.nn.functional.normalize(network(ids).last_hidden_state[0, -1], dim=0)

    listed = "".join(f"[{i}] {text}\n" for i, text in enumerate(texts[:shown], 1))
    message = f"<|im_start|>user\nDocuments:\n{listed}Search Query: {query}<|im_end|>\n<|im_start|>assistant\n"
    return [float(last(message) @ last(text + "<|endoftext|>")) for text in texts]


@pytest.mark.parametrize("shown", [2, 20])
def test_the_order_is_that_of_the_plain_cosines(saved: str, shown: int) -> None:
    scorer = _scorer(saved, shown=shown)
    kept: list[Any] = []
    scorer.record = lambda request, prompt, raw: kept.append(raw)
    answers = scorer.answer([_request("red cats", TEXTS), _request("tulips", TEXTS[:3])])
    for own, answer, query, texts in zip(kept, answers, ["red cats", "tulips"], [TEXTS, TEXTS[:3]], strict=True):
        expected = _plain(saved, query, texts, shown)
        assert own == pytest.approx(expected, abs=1e-4)
        assert answer == sorted(range(len(texts)), key=lambda i: -own[i])


def test_a_document_is_embedded_once(saved: str) -> None:
    scorer = _scorer(saved)
    request = _request("red cats", TEXTS)
    first = scorer.answer([request])
    before = scorer.usage.prompt_tokens
    assert scorer.answer([request]) == first
    assert scorer.usage.prompt_tokens - before == len(scorer.encode_prompt(request).ids)


def test_documents_are_cut_and_counted(saved: str) -> None:
    scorer = _scorer(saved, cut=10)
    long, longer = "the cat sat on the mat", "the cat sat on the other mat"
    (order,) = scorer.answer([_request("mat", [long, longer])])
    assert order == [0, 1], "the same first ten tokens, a tie"
    assert scorer.usage.truncated_inputs == 3, "two documents, and the prompt that shows them"


def test_options_are_checked(saved: str) -> None:
    with pytest.raises(ConfigError, match=r"^end: .*not a token"):
        _scorer(saved, end="<|nothing|>").answer([_request("cat", TEXTS)])


@pytest.mark.slow
def test_smollm2_runs() -> None:
    from rerankbench.config.build import build
    from rerankbench.config.compose import compose

    parts = compose("eval", ["reranker=e2rank", "model.device=cpu"]).parts
    scorer = build(parts["reranker"], "reranker").scorer
    (order,) = scorer.answer([_request("red cats", TEXTS)])
    assert sorted(order) == list(range(len(TEXTS)))

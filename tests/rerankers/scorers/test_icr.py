"""In-context reranking by attention: equal to the eager computation, two passes, and the identities of calibration."""

from __future__ import annotations

from typing import Any

import pytest

from rerankbench.errors import ConfigError
from rerankbench.models.model import Model
from rerankbench.prompt import Prompt
from rerankbench.rerankers.engine import Engine
from rerankbench.rerankers.requests import Listwise
from rerankbench.rerankers.reranker import Reranker
from rerankbench.rerankers.scorers.icr import ICR
from rerankbench.rerankers.strategies.listwise import OneShot
from rerankbench.types import Candidate, Document, Query
from tests.models.toy_causal import save

MESSAGE = (
    "Paragraphs:\n\n{% for d in documents -%}\n[{{ d.label }}] {{ d.text }}\n\n{% endfor -%}\n"
    "Find it.\nQuery: {{ query }}"
)
TEXTS = ["the cat sat", "x", "roses in a garden of tulips", "stocks fell", "a red mat", "cats"]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> str:
    return save(tmp_path_factory.mktemp("llama"))


def _scorer(path: str, message: str = MESSAGE, **options: Any) -> ICR:
    prompt = Prompt(messages=[{"role": "user", "content": message}])
    model = Model(path=path, dtype="float32", device="cpu", max_length=options.pop("max_length", None))
    return ICR(model=model, prompt=prompt, **options)


def _request(query: str, texts: list[str]) -> Listwise:
    return Listwise(Query("q", query), tuple(Candidate(Document(str(i), t), i, 0.0) for i, t in enumerate(texts)))


def _scores(scorer: ICR, query: str, texts: list[str]) -> list[float]:
    request = _request(query, texts)
    return scorer.scores(request, scorer.encode_prompt(request))


def _eager(path: str, query: str, texts: list[str], rows: str) -> list[float]:
    """The method as the paper has it: two full prompts, full matrices, no cache; the prompt is put together here."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    network = AutoModelForCausalLM.from_pretrained(path, attn_implementation="eager").eval()

    def size(text: str) -> int:
        return len(tokenizer(text, add_special_tokens=False).input_ids)

    def attention(query: str) -> torch.Tensor:
        ids = tokenizer(before + f"Find it.\nQuery: {query}{after}", return_tensors="pt", add_special_tokens=False)
        start = size(before)
        end = ids.input_ids.shape[1]
        if rows == "query":
            start, end = start + size("Find it.\nQuery:"), end - size(after)
        with torch.inference_mode():
            layers = network(**ids, output_attentions=True).attentions
        return sum(layer[0, :, start:end].mean(1).sum(0) for layer in layers)  # type: ignore[return-value]

    before, after = "<|im_start|>user\nParagraphs:\n\n", "<|im_end|>\n<|im_start|>assistant\n"
    spans = []
    for i, text in enumerate(texts, 1):
        before += f"[{i}]"
        spans.append((size(before), size(before) + 1 + size(text)))  # the space in front belongs to the document
        before += f" {text}\n\n"
    gained = attention(query)[: spans[-1][1]] - attention("N/A")[: spans[-1][1]]
    scores = []
    for start, end in spans:
        own = gained[start:end]
        scores.append(float(own[own >= own.mean() - 2 * own.std()].sum()))
    return scores


@pytest.mark.parametrize("rows", ["tail", "query"])
@pytest.mark.parametrize("flip", [False, True])
def test_scores_equal_the_eager_computation(saved: str, rows: Any, flip: bool) -> None:
    shown = TEXTS[::-1] if flip else TEXTS
    expected = _eager(saved, "red cats", shown, rows)
    found = _scores(_scorer(saved, rows=rows, reversed=flip), "red cats", TEXTS)
    assert found == pytest.approx(expected[::-1] if flip else expected, abs=1e-4)
    assert max(map(abs, found)) > 1e-2, "the scores say something"


def test_the_answer_is_the_order_of_the_scores(saved: str) -> None:
    scorer = _scorer(saved)
    scores = _scores(scorer, "red cats", TEXTS)
    (order,) = scorer.answer([_request("red cats", TEXTS)])
    assert order == sorted(range(len(TEXTS)), key=lambda i: -scores[i])


def test_a_query_without_content_gains_nothing(saved: str) -> None:
    assert _scores(_scorer(saved), "N/A", TEXTS) == pytest.approx([0.0] * len(TEXTS), abs=1e-3)


@pytest.mark.parametrize("n", [2, 3, 20])
def test_two_passes_a_request_and_the_documents_read_once(saved: str, n: int) -> None:
    scorer = _scorer(saved)
    request = _request("red cats", [f"document {i}" for i in range(n)])
    scorer.answer([request])
    prompt = scorer.encode_prompt(request)
    shared = prompt.documents[-1][1]
    assert (scorer.usage.forward_passes, scorer.usage.reused_tokens) == (2, shared)
    assert scorer.usage.prompt_tokens == 2 * len(prompt.ids) + len("N/A") - len("red cats")
    assert (scorer.usage.padded_tokens, scorer.usage.generated_tokens) == (0, 0)


@pytest.mark.parametrize("n", [0, 1])
def test_fewer_than_two_documents_ask_nothing(saved: str, n: int) -> None:
    scorer = _scorer(saved)
    documents = {str(i): Document(str(i), "text") for i in range(n)}
    run = {"q": [(key, 1.0) for key in documents]}
    reranker = Reranker(strategy=OneShot(), scorer=scorer)
    assert len(Engine().rerank(reranker, [Query("q", "cat")], run, documents)["q"]) == n
    assert scorer.usage.forward_passes == 0


def test_long_documents_are_cut_the_same_in_both_passes(saved: str) -> None:
    scorer = _scorer(saved, max_length=400)
    texts = ["cat " * 60, "mat " * 50, "short", "garden " * 40]
    assert all(score == pytest.approx(0.0, abs=1e-3) for score in _scores(scorer, "N/A", texts))
    assert _scores(scorer, "a longer query than that", texts) != _scores(scorer, "N/A", texts)
    assert scorer.usage.truncated_inputs > 0


def test_a_document_of_nothing_scores_nothing_but_its_space(saved: str) -> None:
    scores = _scores(_scorer(saved), "red cats", ["", "x", "cat"])
    assert all(score == score for score in scores), "no NaN from the deviation of one token"


@pytest.mark.parametrize(
    "message", ["{{ query }} {% for d in documents %}{{ d.text }} {% endfor %}", "{{ documents[0].text }} {{ query }}"]
)
def test_a_prompt_that_does_not_end_with_the_query_is_refused(saved: str, message: str) -> None:
    with pytest.raises(ConfigError, match=r"^messages"):
        _scorer(saved, message).answer([_request("cat", TEXTS)])


def test_the_fingerprint_is_of_the_options(saved: str) -> None:
    prints = {_scorer(saved, **o).fingerprint() for o in ({}, {"rows": "query"}, {"reversed": False})}
    assert len(prints) == 3


@pytest.mark.slow
def test_smollm2_finds_the_answer() -> None:
    from rerankbench.config.build import build
    from rerankbench.config.compose import compose

    parts = compose("eval", ["reranker=icr", "model.dtype=float32", "model.device=cpu"]).parts
    scorer = build(parts["reranker"], "reranker").scorer
    texts = ["The cat sat on the mat.", "Paris is the capital of France.", "Stock markets fell.", "Bananas are yellow."]
    assert scorer.answer([_request("What is the capital of France?", texts)])[0][0] == 1
    zeros = _scores(scorer, "N/A", texts)
    assert max(map(abs, zeros)) < 1e-3 * max(map(abs, _scores(scorer, "What is the capital of France?", texts)))

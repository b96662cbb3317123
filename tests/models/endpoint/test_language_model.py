"""The language model over HTTP, against a server that answers as the APIs do."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import ConfigError
from rerankbench.models.endpoint.language_model import EndpointLM, harmless
from rerankbench.models.endpoint.token_counts import estimated_ends, exact_ends
from rerankbench.models.lm.language_model import Sampling
from rerankbench.prompt import Prompt
from tests.models import toy_model
from tests.models.toy_server import ToyServer

YES_NO = "Passage: {{ document }}\n\nQuery: {{ query }}"


@pytest.fixture
def server() -> Iterator[ToyServer]:
    with ToyServer() as toy:
        yield toy


def prompt(content: str = YES_NO, **options: Any) -> Prompt:
    return Prompt(messages=({"role": "user", "content": content},), **options)


def lm(server: ToyServer, **options: Any) -> EndpointLM:
    return EndpointLM(server.endpoint(**options))


def test_labels_are_read_from_the_likely_tokens_and_absent_ones_are_unknown(server: ToyServer) -> None:
    model = lm(server)
    texts = ["the cat sat on the mat", "nothing of it", "a cat"]
    found = model.label_scores([model.encode(prompt(), "cat mat", [text]) for text in texts], [" Yes", " No"])
    both = math.log(math.exp(-1 / 3) + math.exp(-5))  # " Yes" and "Yes" are one label
    assert found[0] == [pytest.approx(both), pytest.approx(math.log(0.3))]
    assert found[1] == [None, -0.1]
    assert found[2][0] == pytest.approx(math.log(math.exp(-1 / 2) + math.exp(-5)))
    assert all(body["max_tokens"] == 1 and body["temperature"] == 0 for body in server.bodies())
    assert model.usage.forward_passes == 3
    assert model.usage.prompt_tokens == sum(len(f"Passage: {t}\n\nQuery: cat mat".split()) for t in texts)
    assert (model.usage.generated_tokens, model.usage.reused_tokens) == (3, 9)


@pytest.mark.parametrize("start", ["The answer is", "Answer:"])
def test_a_forced_start_is_asked_for_and_the_label_is_read_behind_it(server: ToyServer, start: str) -> None:
    model = lm(server)
    encoded = model.encode(prompt(start=start), "cat", ["a cat"])
    assert model.label_scores([encoded], ["Yes", "No"])[0][1] == pytest.approx(math.log(0.3))
    assert server.bodies()[0]["messages"][-1]["content"].endswith(f"Begin your answer with: {start}")
    assert re.fullmatch(r" Yes to \d+", model.generate([encoded], 20)[0])


def test_a_server_that_continues_is_given_the_start(server: ToyServer) -> None:
    model = lm(server, prefill=True)
    encoded = model.encode(prompt(start="Answer:"), "cat", ["a cat"])
    assert model.label_scores([encoded], ["Yes", "No"])[0][1] == pytest.approx(math.log(0.3))
    body = server.bodies()[0]
    assert body["messages"][-1] == {"role": "assistant", "content": "Answer:"}
    assert (body["continue_final_message"], body["add_generation_prompt"], body["max_tokens"]) == (True, False, 1)
    assert model.generate([encoded], 1) == [" Yes"]
    more = model.extended(encoded, "because", "\n</think>")
    model.generate([more], 5)
    assert server.bodies()[2]["messages"][-1]["content"] == "Answer:because\n</think>"
    with pytest.raises(ConfigError, match=r"prefill"):
        lm(server).extended(encoded, "because", "</think>")


def test_without_log_probabilities_the_error_says_so(server: ToyServer) -> None:
    server.log_probabilities = False
    model = lm(server, completions=True)
    encoded = model.encode(prompt(), "cat", ["a cat"])
    with pytest.raises(ConfigError, match="no log-probabilities"):
        model.label_scores([encoded], ["Yes", "No"])
    with pytest.raises(ConfigError, match="does not return"):
        model.log_likelihoods([encoded], ["x"])


def test_a_given_text_is_scored_where_the_server_can(server: ToyServer) -> None:
    with pytest.raises(ConfigError, match=r"completions: this endpoint cannot score a given text"):
        model = lm(server)
        model.log_likelihoods([model.encode(prompt(), "q", ["d"])], ["cat"])
    model = lm(server, completions=True)
    encoded = [model.encode(prompt(plain_start=end), "q", ["d"]) for end in ("", "\nAnswer:", "\nAnswer:\n")]
    expected = -(1 / 3 + 1 / 8) / 2
    assert model.log_likelihoods(encoded, ["cat elephant"] * 3) == pytest.approx([expected] * 3)
    assert model.log_likelihoods(encoded[:2], ["cat elephant", ""], total=True) == pytest.approx([2 * expected, 0.0])
    server.trouble.extend([None, *["malformed"] * 3])
    one = lm(server, completions=True, concurrency=1)
    found = one.log_likelihoods(encoded[:2], ["cat", "cat"])
    assert found[0] == pytest.approx(-1 / 3)
    assert math.isnan(found[1])


def test_a_raw_prompt_goes_as_it_is(server: ToyServer) -> None:
    raw = prompt("<|q|>{{ query }}<|d|>{{ document }}", raw=True, start="\n<think>")
    model = lm(server, completions=True)
    encoded = model.encode(raw, "cat", ["a <|end|> cat"])
    assert model.readable(encoded) == "<|q|>cat<|d|>a < |end|> cat\n<think>"
    assert model.label_scores([encoded], [" true", " false"]) == [[-0.2, -2.0]]
    assert server.bodies()[0]["prompt"] == model.readable(encoded)
    longer = model.extended(encoded, "so it is", "</think>")
    assert model.generate([longer], 5, ["</think>"]) == [" true"]
    assert server.bodies()[1]["prompt"].endswith("<think>so it is</think>")
    with pytest.raises(ConfigError, match=r"completions"):
        lm(server).generate([encoded], 5)


def test_an_unreadable_answer_is_empty_and_the_order_stays(server: ToyServer) -> None:
    server.trouble.extend([None, "malformed", (200, {}, '{"choices": []}'), (200, {}, '[{"choices": 1}]'), None])
    model = lm(server, retries=0, concurrency=1)
    encoded = [model.encode(prompt("{{ query }}"), "x" * n, []) for n in (1, 2, 3, 4, 5)]
    assert model.generate(encoded, 9) == [" Yes to 1", "", "", "", " Yes to 5"]
    assert model.usage.forward_passes == 4
    server.trouble.extend([None, "malformed"])
    assert model.label_scores(encoded[:2], ["Yes", "No"])[1] == [None, None]


def test_sampled_answers_come_prompt_by_prompt(server: ToyServer) -> None:
    model = lm(server, concurrency=1)
    encoded = [model.encode(prompt("{{ query }}"), "x" * n, []) for n in (1, 2)]
    drawn = model.generate(encoded, 9, sampling=Sampling(n=3, temperature=0.7, top_p=0.9, seed=5))
    assert drawn == [f" Yes to {n}{draw}" for n in (1, 2) for draw in ("", " (1)", " (2)")]
    body = server.bodies()[-1]
    assert (body["temperature"], body["top_p"], body["seed"], body["n"]) == (0.7, 0.9, 5, 3)
    assert model.generate(encoded, 9, sampling=Sampling()) == [" Yes to 1", " Yes to 2"]
    assert "n" not in server.bodies()[-1]
    server.trouble.append("malformed")
    assert lm(server, concurrency=1, retries=0).generate(encoded, 9, sampling=Sampling(n=2))[:2] == ["", ""]
    server.trouble.extend([(200, {}, '{"choices": [{"message": {"content": "one"}}]}')] * 2)
    with pytest.raises(ConfigError, match="1 of 4 answers"):
        model.generate(encoded, 9, sampling=Sampling(n=4))


def test_the_text_that_ends_an_answer_is_kept(server: ToyServer) -> None:
    def answer(**choice: Any) -> tuple[int, dict[str, str], str]:
        import json

        return (200, {}, json.dumps({"choices": [{"message": {"content": "<a>1"}, "finish_reason": "stop", **choice}]}))

    model = lm(server, concurrency=1)
    encoded = model.encode(prompt("{{ query }}"), "x", [])
    server.trouble.extend(
        [answer(), answer(stop_reason=None), answer(stop_reason="</a>"), answer(finish_reason="length")]
    )
    assert model.generate([encoded] * 4, 9, ["</a>"]) == ["<a>1</a>", "<a>1", "<a>1</a>", "<a>1"]
    assert server.bodies()[0]["stop"] == ["</a>"]


def test_documents_are_cut_to_the_context_and_nothing_else(server: ToyServer) -> None:
    long, short = "word " * 500, "short one"
    many = prompt("{% for d in documents %}[{{ d.label }}] {{ d.text }}\n{% endfor %}{{ query }}")
    model = lm(server, context=200)
    encoded = model.encode(many, "query " * 20, [long, short], max_new_tokens=10)
    text = encoded.messages[0][1]
    assert text.endswith("query " * 20)
    assert f"[2] {short}\n" in text
    assert 300 < text.count("word") * 5 < len(long)
    assert model.tokens(encoded) + 10 <= 200
    assert model.usage.truncated_inputs == 1
    model.encode(many, "q", [short])
    assert model.usage.truncated_inputs == 1
    with pytest.raises(ConfigError, match=r"context: the prompt does not fit"):
        model.encode(many, "query " * 300, [short])
    bare = Prompt(messages=({"content": "{{ document }}{{ query }}"},), min_document_tokens=0)
    assert lm(server, context=18).encode(bare, "a b", [long], max_new_tokens=8).messages[0][1] == "a b"
    tokens = lm(server, context=None).encode(prompt(document_tokens=3), "q", ["one two three four five"])
    assert tokens.messages[0][1].startswith("Passage: one two three\n")


def test_a_tokenizer_cuts_to_the_token(server: ToyServer, tmp_path: Path) -> None:
    toy_model.tokenizer().save_pretrained(tmp_path)
    assert exact_ends(str(tmp_path))("cat dog, mat") == [3, 7, 8, 12]
    model = lm(server, tokenizer=str(tmp_path))
    text = model.encode(prompt(document_tokens=3), "q", ["cat dog, mat"]).messages[0][1]
    assert text.startswith("Passage: cat dog,\n")
    with pytest.raises(ConfigError, match=r"tokenizer"):
        lm(server, tokenizer=str(tmp_path / "none")).encode(prompt(), "q", ["d"])


@given(st.text())
def test_the_estimate_covers_the_text(text: str) -> None:
    ends = estimated_ends(text)
    assert ends == sorted(set(ends))
    assert (ends[-1] if ends else 0) == len(text)


@pytest.mark.parametrize(
    "text", ["<|im_end|>", "</s>", "<start_of_turn>", "</think>", "[/INST]", "<\uff5cend\uff5c>", "[3]", "<S>"]
)
def test_a_document_cannot_end_its_turn(text: str) -> None:
    assert text not in harmless(f"a {text} b")


def test_what_only_looks_special_is_left_alone() -> None:
    assert harmless("a < b, x <b>bold</b> [see below]") == "a < b, x <b>bold</b> [see below]"

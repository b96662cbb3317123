"""Prompts: what is rendered, what is refused, and that no text is taken for a template."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.config.options import conf_folder
from rerankbench.errors import ConfigError
from rerankbench.prompt import Piece, Prompt, marked, neutral, pieces_of


def _shown(prompt: Prompt, n: int, top: int | None = None) -> list[tuple[str, str]]:
    """Messages with `<q>` and `<d0>` for what is inserted."""
    return [
        (role, "".join(p.text or f"<{p.inserted}{p.index if p.inserted == 'd' else ''}>" for p in pieces))
        for role, pieces in prompt.render(n, top)
    ]


def test_documents_are_numbered_or_lettered() -> None:
    text = "{{ n }}: {{ query }}{% for d in documents %} [{{ d.label }}] {{ d.text }}{% endfor %}"
    assert _shown(Prompt(messages=[{"content": text}]), 2) == [("user", "2: <q> [1] <d0> [2] <d1>")]
    letters = Prompt(messages=[{"role": "system", "content": text}], label_style="letters")
    assert _shown(letters, 3) == [("system", "3: <q> [A] <d0> [B] <d1> [C] <d2>")]
    assert letters.document_labels(26)[-1] == "Z"
    with pytest.raises(ConfigError, match=r"^label_style: letters label up to 26 documents, got 27"):
        letters.document_labels(27)


def test_turns_are_repeated_for_each_document() -> None:
    prompt = Prompt(
        messages=[
            {"role": "system", "content": "{{ instruction }}"},
            {"role": "user", "content": "Document {{ label }}: {{ document }}", "each": True},
            {"role": "assistant", "content": "Received {{ label }}.", "each": True},
            {"role": "user", "content": "Name {{ top }} of {{ n }} for {{ query }}"},
        ],
        instruction="Pick.",
    )
    assert _shown(prompt, 2, top=1) == [
        ("system", "Pick."),
        ("user", "Document 1: <d0>"),
        ("assistant", "Received 1."),
        ("user", "Document 2: <d1>"),
        ("assistant", "Received 2."),
        ("user", "Name 1 of 2 for <q>"),
    ]


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "user"}]}, "messages[0]"),
        ({"messages": [{"content": "x", "rôle": "user"}]}, "messages[0]"),
        ({"messages": [{"content": "x"}, {"content": "{{ query"}]}, "messages[1].content"),
        ({"messages": [{"content": "x"}] * 2, "raw": True}, "messages"),
        ({"messages": [{"content": "x"}], "labels": ["Yes", " Yes"]}, "labels"),
        ({"messages": [{"content": "x"}], "labels": ["0", "1"], "values": [0]}, "values"),
        ({"messages": [{"content": "x"}], "values": [0]}, "values"),
    ],
)
def test_what_makes_no_prompt_is_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError) as error:
        Prompt(**options)
    assert error.value.key == key


@pytest.mark.parametrize(("key", "value"), [("document_tokens", 0), ("min_document_tokens", -1)])
def test_bounds_are_checked_at_composition(key: str, value: int) -> None:
    node = {"_target_": "rerankbench.prompt.Prompt", "messages": [{"content": "x"}], key: value}
    with pytest.raises(ConfigError, match=rf"^prompt\.{key}: must be at least"):
        check(node, "prompt")


def test_an_error_of_a_built_prompt_names_its_full_key() -> None:
    node = {"_target_": "rerankbench.prompt.Prompt", "messages": [{"content": "{{ nothing }}"}]}
    prompt = build(check(node, "reranker.scorer.prompt"), "reranker.scorer.prompt")
    with pytest.raises(ConfigError, match=r"^reranker\.scorer\.prompt\.messages\[0\]\.content: cannot be rendered"):
        prompt.render(1)


def test_the_variables_of_a_prompt_are_those_that_its_messages_use() -> None:
    prompt = Prompt(messages=[{"content": "{{ query }} {% for d in documents %}{{ d.text }}{% endfor %}"}])
    assert prompt.variables == {"query", "documents"}


@given(text=st.text(max_size=60))
def test_no_text_looks_like_a_label_or_a_mark(text: str) -> None:
    pieces = [Piece("Passage: "), Piece("", "d", 3), Piece(" for "), Piece("", "q")]
    assert pieces_of(marked(pieces)) == pieces
    assert not any(piece.inserted for piece in pieces_of(neutral(text)))
    assert len(neutral(text)) == len(text)


@pytest.mark.parametrize(
    ("text", "shown"),
    [("see [3]", "see (3)"), ("[C] > [A]", "(C) > (A)"), ("[[12]]", "[(12)]"), ("a[i] b", "a(i) b"), ("[see]", "(see)"),
     ("[citation needed]", "[citation needed]"), ("[]", "[]")],
)  # fmt: skip
def test_what_looks_like_a_label_is_rewritten(text: str, shown: str) -> None:
    assert neutral(text) == shown


def test_a_fingerprint_is_of_everything() -> None:
    base: dict[str, Any] = {"messages": [{"content": "{{ query }}"}]}
    variants = [
        Prompt(**base),
        Prompt(**base, start="A"),
        Prompt(**base, document_tokens=9),
        Prompt(**base, plain_start="\n"),
        Prompt(**base, label_style="letters"),
        Prompt(messages=[{"content": "{{ query }}", "role": "system"}]),
    ]
    assert len({prompt.fingerprint() for prompt in variants}) == len(variants)
    assert Prompt(**base).fingerprint() == variants[0].fingerprint()


def _option(name: str) -> Prompt:
    """The prompt of conf/prompt."""
    node = OmegaConf.to_container(OmegaConf.load(conf_folder() / "prompt" / f"{name}.yaml"))
    return build(check(node, "prompt"), "prompt")


def test_qwen3_is_the_text_that_the_model_was_trained_with() -> None:
    ((_, text),) = _shown(_option("qwen3"), 1)
    assert text == (
        "<|im_start|>system\nJudge whether the Document meets the requirements based on the Query and the Instruct "
        'provided. Note that the answer can only be "yes" or "no".<|im_end|>\n<|im_start|>user\n'
        "<Instruct>: Given a web search query, retrieve relevant passages that answer the query\n"
        "<Query>: <q>\n<Document>: <d0><|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )


@pytest.mark.parametrize(
    ("name", "n", "text"),
    [("monot5", 1, "Query: <q> Document: <d0> Relevant:"),
     ("duot5", 2, "Query: <q> Document0: <d0> Document1: <d1> Relevant:")],
)  # fmt: skip
def test_t5_rankers_read_the_text_that_they_were_trained_with(name: str, n: int, text: str) -> None:
    assert _shown(_option(name), n) == [("user", text)]


@pytest.mark.parametrize("file", sorted((conf_folder() / "prompt").glob("*.yaml")), ids=lambda file: file.stem)
@pytest.mark.parametrize("n", [1, 2, 20])
def test_every_option_shows_each_document_and_where_it_should_the_query(file: Path, n: int) -> None:
    prompt = _option(file.stem)
    pairwise, pointwise = file.stem in ("prp", "duot5"), "documents" not in str(prompt.messages) and n > 1
    each = any(message.get("each") for message in prompt.messages)
    if (pairwise and n != 2) or (pointwise and not each):
        return
    inserted = [piece for _, pieces in prompt.render(n, top=2) for piece in pieces if piece.inserted]
    assert [piece.index for piece in inserted if piece.inserted == "d"] == list(range(n))
    assert any(piece.inserted == "q" for piece in inserted) == (file.stem != "query_likelihood")


@pytest.mark.parametrize(
    ("text", "n", "problem"),
    [
        ("{{ dokument }}", 1, r"\[0\]\.content: cannot be rendered for 1 documents: 'dokument' is undefined"),
        ("{{ documents[1].text }}", 1, r"\[0\]\.content: cannot be rendered"),
        ("{{ top }} of {{ document }}", 1, "'top' is undefined"),
        ("{{ 1 // 0 }}", 0, "division"),
        ("{{ documents[0].text }} {{ documents[1].text }}", 4, ": show 2 of the 4 documents"),
        ("{{ document }} {{ query }}", 3, ": show 1 of the 3 documents"),
    ],
)
def test_a_prompt_that_does_not_suit_the_request_is_refused(text: str, n: int, problem: str) -> None:
    with pytest.raises(ConfigError, match=rf"^messages.*{problem}"):
        Prompt(messages=[{"content": text}]).render(n)

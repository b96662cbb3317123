"""Parsers of model answers: every rule, what public parsers got wrong, and any text at all."""

# ruff: noqa: RUF001 - characters that look like others are what is tested

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rerankbench.rerankers.parsing.choice import choice, preference
from rerankbench.rerankers.parsing.order import permutation
from rerankbench.rerankers.parsing.scores import group_scores
from rerankbench.rerankers.parsing.text import LIMIT, cleaned, without_reasoning
from rerankbench.rerankers.requests import Failure, Repaired

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVW"
NUMBERS = [str(i) for i in range(1, 6)]
LONG = "9" * 5000
"""More digits than `int` accepts."""


# --- the part of a text that counts ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("[1]", "[1]"),
        ("<think>[2]</think>[1]", "[1]"),
        ("[2]</think>[1]", "[1]"),
        ("<think>a<think>b</think>c</think>d", "d"),
        ("<think>a<think>b</think>c", "c"),
        ("<THINK>a</Think>b", "b"),
        ("<think>a</think>b<think>c</think>d", "d"),
        ("<think><answer>[2]</answer></think>[1]", "[1]"),
        ("x<answer>[1]</answer>y", "[1]"),
        ("<answer>[1]</answer> no: <answer>[2]</answer> so", "[2]"),
        ("<ANSWER>Ab</Answer>", "Ab"),
        ("<answer>a<answer>b</answer>c</answer>", "b"),
        ("<answer>[1]</answer> and <answer>[2]", "[1]"),
        ("so <answer>[1]", "[1]"),
        ("</answer><answer>[1]", "[1]"),
        ("[1]</answer>", "[1]</answer>"),
        ("<thinking>", "<thinking>"),
        ("İ</think>İ<answer>İx</answer>", "İx"),
        ("", ""),
    ],
)
def test_reasoning_is_taken_off(text: str, kept: str) -> None:
    assert without_reasoning(text) == kept


@pytest.mark.parametrize("text", ["<think>[1]", "<think>a</think>[1]<think>", "x <THINK> <answer>[1]</answer>"])
def test_unclosed_reasoning_is_a_failure_everywhere(text: str) -> None:
    failure = Failure("unclosed reasoning")
    assert without_reasoning(text) == failure
    assert all(parse(text) == failure for parse in PARSERS.values())


@pytest.mark.parametrize("text", ["", " \n\t", "<think>[1]</think>", "[1]<answer> </answer>", "\u2003"])
def test_nothing_is_empty(text: str) -> None:
    assert all(parse(text) == Failure("empty") for parse in PARSERS.values())


def test_of_a_long_text_the_end_is_read_and_its_reasoning_is_not_counted() -> None:
    assert cleaned("a" * LIMIT + "b" * LIMIT) == "b" * LIMIT
    assert permutation("[1]" * LIMIT + " " * LIMIT + "[2] > [1]", 2) == [1, 0]
    assert permutation("<think>" + "[1] " * LIMIT + "</think>[2] > [1]", 2) == [1, 0]
    assert permutation("<think>" + "[2] > [1]" * LIMIT, 2) == Failure("unclosed reasoning")
    assert cleaned("\ufdfa" * 10_000) != Failure("empty")
    assert len(str(cleaned("\ufdfa" * 10_000))) <= LIMIT, "one character may stand for eighteen"


@pytest.mark.parametrize("three", ["3", "٣", "३", "３", "𝟛", "③", "³", "০৩"])
def test_digits_of_every_script(three: str) -> None:
    assert permutation(f"[{three}] > [1] > [2]", 3) == [2, 0, 1]
    assert choice(three, NUMBERS) == 2
    assert group_scores(f'{{"[1]": {three}, "[{three}]": "{three}", "2": 0}}', 3, 0, 10) == [3, 0, 3]


@pytest.mark.parametrize("text", ["➀", "[➀]", "Passage ➀", "㊉", "Ⅷ.", "½"])
def test_what_is_a_digit_to_isdigit_alone_is_none(text: str) -> None:
    assert permutation(text, 5) == Failure("no label")
    assert group_scores(f'{{"[1]": {text}}}', 1, 0, 10) == Failure("no scores")


def test_ten_in_a_circle_is_ten() -> None:
    assert choice("⑩", [str(i) for i in range(1, 21)]) == 9


# --- permutation -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "[3] > [1] > [2]",
        "[3] [1] [2]",
        "[3, 1, 2]",
        "[3,1] then [2]",
        "[3 > 1 > 2]",
        '["3", "1", "2"]',
        '["[3]", "[1]", "[2]"]',
        "[[3], [1], [2]]",
        "［3］＞［1］＞［2］",
        "[03] > [0001] > [2]",
        "[Passage 3] > [Passage 1] > [Document 2]",
        "1. [3]\n2. [1]\n3. [2]",
        "The 2 best of the top 10: [3] > [1] > [2]",
        "Passage 2024 is not it: [3] > [1] > [2]",
        "Sure. In [2024] it is said: Passage 3, Passage 1, Passage 2",
        "Document 3, Document 1, Document 2",
        "Document: 3\ndocument #1\nDOC 2",
        "Documents 3, 1, and 2 answer 100 queries",
        "**Passage 3** beats **Passage 1** and `Passage 2`",
        "3 > 1 > 2",
        "3>1>2",
        "3 >> 1 > 2",
        "**3** > **1** > **2**",
        "3 >\n1 >\n2",
        "Of 20, 2 fit: 3 > 1 > 2",
        "The order is 3, 1, 2.",
        "3,1,2",
        "3\n1\n2",
        "3 1 2",
        "(3) (1) (2)",
        "1. 3\n2. 1\n3. 2",
        "1) 3\n2) 1\n3) 2",
        "- 3\n- 1\n- 2",
        "* 3\n* 1\n* 2",
        "3.\n1.\n2.",
        "<think>[1] > [2] > [3]</think>\n<answer>[3] > [1] > [2]</answer>",
    ],
)
def test_forms_of_a_permutation(text: str) -> None:
    assert permutation(text, 3) == [2, 0, 1]


@pytest.mark.parametrize(
    "text",
    [
        "[C] > [A] > [B]",
        "[C, A, B]",
        "C > A > B",
        "C, A, B",
        "C A B",
        "C\nA\nB",
        "1. C\n2. A\n3. B",
        "Passage C, passage A, Passage B",
        "1. [C]\n2. [A]\n3. [B]",
    ],
)
def test_forms_of_a_permutation_by_letters(text: str) -> None:
    assert permutation(text, 3, LETTERS) == [2, 0, 1]


@pytest.mark.parametrize(
    ("text", "order", "kind"),
    [
        ("[3] > [1]", [2, 0, 1, 3], "missing"),
        ("[3] > [1] > [3] > [2] > [4]", [2, 0, 1, 3], "duplicates"),
        ("[3] > [1] > [5] > [2] > [4] > [0]", [2, 0, 1, 3], "out of range"),
        ("[3] > [3] > [7]", [2, 0, 1, 3], "duplicates+out of range+missing"),
        ("[3] > [99999] > [1] > [2] > [4]", [2, 0, 1, 3], "out of range"),
        (f"[3] > [{LONG}] > [1] > [2] > [4]", [2, 0, 1, 3], "out of range"),
        (f"{LONG} > 3 > 1", [2, 0, 1, 3], "out of range+missing"),
        ("3", [2, 0, 1, 3], "missing"),
        ("The best is [3]", [2, 0, 1, 3], "missing"),
        ("[3] > [1", [2, 0, 1, 3], "missing"),
        ("[3, 1", [2, 0, 1, 3], "missing"),
        ("[4] > [3] > [2] > [1] " * 900, [3, 2, 1, 0], "duplicates"),
    ],
)
def test_repairs(text: str, order: list[int], kind: str) -> None:
    assert permutation(text, 4) == Repaired(order, kind)


@pytest.mark.parametrize(
    "text",
    [
        "the 3 best are hard to tell",
        "I looked at 1,000 documents",
        "Of the top 10 none is good",
        "In 1999 there was 1 passage, and 2 more",
        "scores 0.9, 0.8, 0.7",
        "1-3",
        "[1-3]",
        "[see 3]",
        "-1",
        "3.5",
        "C > A > B",
        "passage three",
        "Sorry, I cannot rank these.",
        "1. A good one\n2. A bad one",
        "[]",
        ">",
    ],
)
def test_numbers_in_prose_are_no_ids(text: str) -> None:
    assert permutation(text, 5) == Failure("no label")


@pytest.mark.parametrize(
    "text", ["AB", "[AB]", "ABC > BCA", "[a] > [b]", "c > a", "a", "Passage b", "[3] > [1]", "CAB"]
)
def test_letters_are_whole_words_in_upper_case(text: str) -> None:
    assert permutation(text, 3, LETTERS) == Failure("no label")


@pytest.mark.parametrize("text", ["[9]", "[0] > [7]", "9", "Passage 6", "6 > 7", LONG])
def test_only_foreign_ids_are_a_failure(text: str) -> None:
    assert permutation(text, 5) == Failure("unknown label")


@pytest.mark.parametrize(
    ("text", "top", "result"),
    [
        ("Document 3, Document 1", 2, [2, 0, 1, 3]),
        ("[3] > [1] > [4] > [2]", 4, [2, 0, 3, 1]),
        ("[3] > [1] > [4] > [2]", 9, [2, 0, 3, 1]),
        ("Document 3", 2, Repaired([2, 0, 1, 3], "missing")),
        ("[3] > [3] > [1]", 2, Repaired([2, 0, 1, 3], "duplicates")),
        ("[3] > [8] > [1]", 2, Repaired([2, 0, 1, 3], "out of range")),
        ("[4] > [3] > [2] > [1]", 2, Repaired([3, 2, 0, 1], "too many")),
    ],
)
def test_only_the_best_were_asked_for(text: str, top: int, result: object) -> None:
    assert permutation(text, 4, top=top) == result


def test_labels_beyond_the_documents_shown_are_foreign() -> None:
    assert permutation("[C] > [D] > [A] > [B]", 3, LETTERS) == Repaired([2, 0, 1], "out of range")


# --- choice, preference, true or false, rating -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        "B",
        " B\n",
        "B.",
        "[B]",
        "(B)",
        '"B"',
        "“B”",
        "**B**",
        "Passage B",
        "passage B.",
        "**Passage B**.",
        "Passage: B",
        "Passage [B]",
        '"Passage B"',
        "Document B",
        "B: it answers the query",
        "B is better than A",
        "B. Unlike passage A, it answers",
        "B.It answers",
        "Passage B, not Passage A",
        "The most relevant one is Passage B.",
        "The most relevant one is B.",
        "I think it is Passage B",
        "The U.S. is in passage B",
        "E coli is what B is on",
        "B B [B]",
        "<think>A or C?</think> <answer>B</answer>",
        "<think>A</think>Passage B",
    ],
)
def test_a_label_is_chosen(text: str) -> None:
    assert choice(text, "ABCD") == 1


@pytest.mark.parametrize(
    "text", ["3", "[3]", "3.", "[3], [5]", "It is [3].", "Passage 3", "3, 5", "3. It answers", "**3**"]
)
def test_a_number_is_chosen(text: str) -> None:
    assert choice(text, NUMBERS) == 2


@pytest.mark.parametrize(
    ("text", "labels", "kind"),
    [
        ("Either A or B", "ABCD", "several labels"),
        ("The best are [2] and [3]", NUMBERS, "several labels"),
        ("The best are [2] and [7]", NUMBERS, "several labels"),
        ("F", "ABCD", "unknown label"),
        ("[F]", "ABCD", "unknown label"),
        ("It is Passage F", "ABCD", "unknown label"),
        ("[6]", NUMBERS, "unknown label"),
        ("[0]", NUMBERS, "unknown label"),
        (LONG, NUMBERS, "unknown label"),
        (f"[{LONG}]", NUMBERS, "unknown label"),
        ("b", "ABCD", "no label"),
        ("passage b", "ABCD", "no label"),
        ("AB", "ABCD", "no label"),
        ("BAD CAB", "ABCD", "no label"),
        ("[3]", "ABCD", "no label"),
        ("I would say none", LETTERS, "no label"),
        ("3 of them are relevant", NUMBERS, "no label"),
        ("the 3 best", NUMBERS, "no label"),
        ("3.5", NUMBERS, "no label"),
        ("none", NUMBERS, "no label"),
        ("[1]", (), "unknown label"),
    ],
)
def test_no_label_is_chosen(text: str, labels: str | list[str], kind: str) -> None:
    assert choice(text, labels) == Failure(kind)


def test_the_letter_i_is_a_label_but_the_pronoun_is_not() -> None:
    assert choice("I", LETTERS) == choice("Passage I is best", LETTERS) == choice("I.", LETTERS) == 8
    assert choice("I think C", LETTERS) == 2


def test_labels_may_be_words_and_case_tells() -> None:
    assert choice("Yes, it does", ("Yes", "No")) == 0
    assert choice("yes", ("Yes", "No")) == Failure("no label")
    assert choice("Nothing", ("Yes", "No")) == Failure("no label")
    assert choice(" Yes", (" Yes", " No")) == 0


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("Passage A", 1.0),
        ("B", 0.0),
        ("Passage A and not Passage B", 1.0),
        ("tie", 0.5),
        ("Tie.", 0.5),
        ("A tie", 0.5),
        ("**Both**", 0.5),
        ("Passage both", 0.5),
        ("Both passages", 0.5),
        ("equal", 0.5),
        ("Equally relevant.", 0.5),
        ("<answer>Equal</answer>", 0.5),
        ("Both A and B", Failure("several labels")),
        ("Both are good", Failure("no label")),
        ("The better one is C", Failure("no label")),
        ("C", Failure("unknown label")),
        ("a", Failure("no label")),
    ],
)
def test_preferences(text: str, value: object) -> None:
    assert preference(text, ("A", "B")) == value


# --- scores of a group -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text",
    [
        '{"[1]": 5, "[2]": 0, "[3]": 7.5}',
        '{"1": 5, "2": 0, "3": 7.5}',
        '{"doc 1": 5, "Document 2": 0, "passage_3": 7.5}',
        '{"[1]": "5", "[2]": "0", "[3]": " 7.5 "}',
        '{"[3]": 7.5, "[1]": 5, "[2]": 0}',
        '{"[1]": 5, "[2]": 0, "[3]": 7.5,}',
        '{"[1]": 5, "[2]": 0, "[3]": 7.5',
        '"[1]": 5, "[2]": 0, "[3]": 7.5}',
        "{'[1]': 5, '[2]': 0, '[3]': 7.5}",
        "{1: 5, 2: 0, 3: 7.5}",
        "{[1]: 5, [2]: 0, [3]: 7.5}",
        "1: 5\n2: 0\n3: 7.5",
        "[1]: 5\n[2]: 0\n[3]: 7.5.",
        "**[1]**: 5, **[2]**: 0, **[3]**: 7.5",
        "Doc 1: 5; Doc 2: 0; Doc 3: 7.5",
        "［1］：5，［2］：0，［3］：7.5",
        "[5, 0, 7.5]",
        '["5", 0, 7.5,]',
        '[{"id": 1, "score": 5}, {"id": "2", "score": "0"}, {"id": "[3]", "score": 7.5}]',
        '[{"doc": "doc 1", "rating": 5}, {"doc": 2.0, "rating": 0}, {"doc": 3, "rating": 7.5},]',
        '[{"id": 1, "score": 5}, {"id": 2, "score": 0}, {"id": 3, "score": 7.5}',
        '{"id": 1, "score": 5}\n{"id": 2, "score": 0}\n{"id": 3, "score": 7.5}',
        '[{"[1]": 5}, {"[2]": 0}, {"[3]": 7.5}]',
        '{"scores": {"[1]": 5, "[2]": 0, "[3]": 7.5}}',
        '{"results": [{"id": 1, "score": 5}, {"id": 2, "score": 0}, {"id": 3, "score": 7.5}]}',
        '{"[1]": 1, "[2]": 1, "[3]": 1} No. {"[1]": 5, "[2]": 0, "[3]": 7.5}',
        'Seen at 12:30. {"[1]": 5, "[2]": 0, "[3]": 7.5} The best is [3], then [1, 2].',
        '```json\n{"[1]": 5, "[2]": 0, "[3]": 7.5}\n```\nNot [1, 2, 3].',
        '```\n{"[1]": 5, "[2]": 0, "[3]": 7.5}',
        '<reason>{"[1]": 1}</reason><answer>{"[1]": 5, "[2]": 0, "[3]": 7.5}</answer>',
        '<think>{"[1]": 1}</think>{"[1]": 5, "[2]": 0, "[3]": 7.5, "note": "well"}',
    ],
)
def test_forms_of_scores(text: str) -> None:
    assert group_scores(text, 3, 0, 10) == [5, 0, 7.5]


@pytest.mark.parametrize(
    ("text", "scores", "kind"),
    [
        ('{"[1]": 5}', [5, None], "missing"),
        ('{"[1]": 5, "[2]": null}', [5, None], "missing"),
        ('{"[1]": 5, "[2]": true}', [5, None], "missing"),
        ('{"[1]": 5, "[2]": NaN}', [5, None], "missing"),
        ('{"[1]": 5, "[2]": Infinity}', [5, None], "missing"),
        ('{"[1]": 5, "[2]": "-Infinity"}', [5, None], "missing"),
        ('{"[1]": 5, "[2]": 1e999}', [5, None], "missing"),
        (f'{{"[1]": 5, "[2]": {LONG}}}', [5, None], "missing"),
        (f'{{"[1]": 5, "[2]": "{LONG}"}}', [5, None], "missing"),
        ('{"[1]": 5, "[2]": "high"}', [5, None], "missing"),
        ('{"[1]": 5, "[2]": [3]}', [5, None], "missing"),
        ("[5, false]", [5, None], "missing"),
        ("[1]: 5, [2]: good", [5, None], "missing"),
        ('{"[1]": 5, "[2]": 3, "[7]": 9}', [5, 3], "out of range"),
        ('{"[1]": 5, "[2]": 3, "[0]": 9}', [5, 3], "out of range"),
        (f'{{"[1]": 5, "[2]": 3, "[{LONG}]": 9}}', [5, 3], "out of range"),
        ('{"[1]": 12, "[2]": -3}', [10, 0], "out of range"),
        ("[12345, 3]", [10, 3], "out of range"),
        ('{"[1]": 5, "[1]": 6, "[2]": 3}', [5, 3], "duplicates"),
        ('{"[1]": 5, "1": 6, "[3]": 1}', [5, None], "duplicates+out of range+missing"),
        ("[1]: 5, [1]: 6, [2]: 3", [5, 3], "duplicates"),
        ("at 12:30 it was. [1]: 5", [5, None], "missing"),
    ],
)
def test_scores_are_mended_and_missing_ones_stay_missing(text: str, scores: list[float | None], kind: str) -> None:
    assert group_scores(text, 2, 0, 10) == Repaired(scores, kind)


@pytest.mark.parametrize(
    "text",
    [
        "all good",
        "{}",
        "[]",
        "[5]",
        "[5, 3, 1]",
        "[[1, 5], [2, 3]]",
        '["[1]", "[2]"]',
        "[true, false]",
        '{"[1]": true, "[2]": NaN}',
        '{"[7]": 5}',
        "at 12:30",
        "[1] > [2]",
        "[1]: v5",
        "[1]: 1.2.3",
        "5",
        "[" * 5000 + "]" * 5000,
        '{"a":' * 5000 + "1" + "}" * 5000,
    ],
)
def test_no_scores(text: str) -> None:
    assert group_scores(text, 2, 0, 10) == Failure("no scores")


def test_a_group_of_one() -> None:
    assert group_scores("[7]", 1, 0, 10) == group_scores("[1]: 7", 1, 0, 10) == [7]
    assert group_scores('{"[1]": 7', 1, 0, 10) == [7]


# --- any text --------------------------------------------------------------------------------------------------------

PARSERS: dict[str, Callable[[str], Any]] = {
    "permutation": lambda text: permutation(text, 5),
    "letters": lambda text: permutation(text, 5, LETTERS),
    "top": lambda text: permutation(text, 20, top=10),
    "choice": lambda text: choice(text, LETTERS),
    "number": lambda text: choice(text, NUMBERS),
    "preference": lambda text: preference(text, ("A", "B")),
    "scores": lambda text: group_scores(text, 5, 0, 10),
}
FAILURES = {"unclosed reasoning", "empty", "no label", "several labels", "unknown label", "no scores"}
REPAIRS = ("duplicates", "out of range", "too many", "missing")

PIECES = [
    *(
        "<think>",
        "</think>",
        "<answer>",
        "</answer>",
        "```",
        "```json\n",
        "\n",
        " ",
        ", ",
        " > ",
        ": ",
        ".",
        "-",
        "*",
        '"',
    ),
    *(
        "[",
        "]",
        "{",
        "}",
        "[1]",
        "[3, 1]",
        '"[2]": 5',
        '"id": 1, ',
        '"score": 3',
        "Passage ",
        "documents ",
        " and ",
        "doc 1",
    ),
    *(
        "1",
        "2",
        "7",
        "99999",
        "0.5",
        "true",
        "false",
        "null",
        "NaN",
        "Infinity",
        "1e999",
        "A",
        "B",
        "I think",
        "AB",
        "b",
    ),
    *(
        "²",
        "➀",
        "⑩",
        "٣",
        "३",
        "３",
        "½",
        "tie",
        "both",
        "1. ",
        "2) ",
        "- ",
        "\ud800",
        "\u0301",
        "\x00",
        "\ufdfa",
        LONG,
    ),
]
texts = st.one_of(st.text(max_size=60), st.lists(st.sampled_from(PIECES), max_size=25).map("".join))


def _lawful_repair(result: object) -> Any:
    """What a repaired answer holds, its kinds being known and in order."""
    if not isinstance(result, Repaired):
        return result
    kinds = result.kind.split("+")
    assert kinds == [kind for kind in REPAIRS if kind in kinds]
    return result.value


@given(text=texts, n=st.integers(0, 30), letters=st.booleans(), top=st.one_of(st.none(), st.integers(1, 31)))
@example(text="[1]" * 5000, n=3, letters=False, top=None)
def test_any_text_gives_a_permutation_or_a_failure(text: str, n: int, letters: bool, top: int | None) -> None:
    n = min(n, 23) if letters else n
    result = _lawful_repair(permutation(text, n, LETTERS if letters else None, top))
    assert result.kind in FAILURES if isinstance(result, Failure) else sorted(result) == list(range(n))


@given(text=texts, labels=st.sampled_from([LETTERS, "AB", NUMBERS, ["Yes", "No"], ["a.b", "(", "\\d"], []]))
def test_any_text_gives_a_known_label_or_a_failure(text: str, labels: list[str]) -> None:
    result = choice(text, labels)
    assert result.kind in FAILURES if isinstance(result, Failure) else 0 <= result < len(labels)


@given(text=texts)
def test_any_text_gives_a_preference_or_a_failure(text: str) -> None:
    result = preference(text, ("A", "B"))
    assert result.kind in FAILURES if isinstance(result, Failure) else result in {0.0, 0.5, 1.0}


@given(text=texts, n=st.integers(0, 12))
def test_any_text_gives_scores_on_the_scale_or_a_failure(text: str, n: int) -> None:
    result = _lawful_repair(group_scores(text, n, -1, 10))
    if isinstance(result, Failure):
        assert result.kind in FAILURES
    else:
        assert len(result) == n
        assert all(score is None or (type(score) is float and -1 <= score <= 10) for score in result)
        assert any(score is not None for score in result)


@given(order=st.permutations(range(23)), joint=st.sampled_from([" > ", ">", ", ", " ", "\n"]), letters=st.booleans())
def test_what_was_written_is_read(order: list[int], joint: str, letters: bool) -> None:
    labels = LETTERS if letters else [str(i) for i in range(1, 24)]
    assert permutation(joint.join(f"[{labels[i]}]" for i in order), 23, labels) == order
    assert permutation(joint.join(f"Passage {labels[i]}" for i in order), 23, labels) == order
    assert permutation(joint.join(labels[i] for i in order), 23, labels) == order
    assert choice(labels[order[0]], labels) == order[0]


@given(scores=st.lists(st.floats(0, 10), min_size=1, max_size=20), named=st.booleans())
def test_scores_that_were_written_are_read(scores: list[float], named: bool) -> None:
    written = json.dumps({f"[{i}]": score for i, score in enumerate(scores, start=1)} if named else scores)
    result = group_scores(f"<think>so</think><answer>{written}</answer>", len(scores), 0, 10)
    assert isinstance(result, list)
    assert all(math.isclose(read or 0.0, score) for read, score in zip(result, scores, strict=True))


HOSTILE = [
    *(
        "[",
        "]",
        "[]",
        "{",
        "{}",
        "[{",
        "[1",
        "[1,",
        "[[1]",
        "1,",
        "1, ",
        "1 > ",
        "1 ",
        "1,000",
        ",000",
        "> ",
        " ",
        "\n",
        "1\n",
    ),
    *(
        '"',
        "'",
        "```",
        "<think>",
        "</think>",
        "<answer>",
        "<answer></answer>",
        "9",
        "1.",
        "1. ",
        "- ",
        "I ",
        "A ",
        "A, ",
    ),
    *(
        "Passage ",
        "passages 1, ",
        "document",
        '{"[1]":',
        '"[1]": 5, ',
        '"id": 1, ',
        '"id": 1, "score":',
        "1 : ",
        "''1'':",
    ),
    *(
        "\u0301\u0323",
        "a\u0323\u0301",
        "\ufdfa",
        "➀",
        "٣",
        "-",
        "*",
        "tie ",
        "true ",
        "0.",
        "\\",
        "\\u",
        '{"a":',
        "1e9",
    ),
]


@pytest.mark.parametrize("name", PARSERS)
def test_long_hostile_texts_take_no_long_time(name: str) -> None:
    started = time.perf_counter()
    for piece in HOSTILE:
        for text in (piece * (200_000 // len(piece)), "[2] " + piece * 5_000 + " [1]"):
            PARSERS[name](text)
    assert time.perf_counter() - started < 60, "quadratic time would take many minutes"

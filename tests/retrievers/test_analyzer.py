"""Index terms: bm25s's for English, whole words with their marks elsewhere, bigrams where nothing separates words."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rerankbench.errors import ConfigError
from rerankbench.retrievers.analyzer import LANGUAGES, UNSTEMMED, Analyzer


@given(st.text(max_size=60))
def test_english_is_tokenised_as_bm25s_does(text: str) -> None:
    import bm25s

    expected = bm25s.tokenize([text], stopwords="en", return_ids=False, show_progress=False, allow_empty=True)
    assert [Analyzer().terms(text)] == expected


@given(st.text(max_size=60), st.sampled_from(["de", "zh", "th", "hi", "ar"]))
def test_terms_are_pieces_of_the_lower_cased_text(text: str, language: str) -> None:
    terms = Analyzer(language=language, stopwords=False).terms(text)
    assert all(term and term in text.lower() and not any(map(str.isspace, term)) for term in terms)


@given(st.text(alphabet="汉字假名かなカナ", min_size=2, max_size=20))
def test_a_run_without_spaces_becomes_its_bigrams(text: str) -> None:
    terms = Analyzer(language="ja").terms(text)
    assert terms == [text[i : i + 2] for i in range(len(text) - 1)]


@pytest.mark.parametrize(
    ("options", "text", "expected"),
    [
        ({"language": "zh"}, "我爱北京 a HTTP2 猫", ["我爱", "爱北", "北京", "http2", "猫"]),
        ({"language": "th"}, "น้ำแข็ง", ["น้ำ", "ำแ", "แข็", "ข็ง"]),
        ({"language": "ko"}, "고양이가 잔다", ["고양이가", "잔다"]),
        ({"language": "hi"}, "हिन्दी में", ["हिन्दी", "में"]),
        ({"language": "de"}, "Der Bär und die Maus", ["bär", "maus"]),
        ({"language": "de", "stopwords": False}, "Der Bär", ["der", "bär"]),
        ({"language": "de", "stemmer": True}, "Häuser", ["haus"]),
        ({"stemmer": True}, "The running cats", ["run", "cat"]),
        ({}, "the cat's I/O 42", ["cat", "42"]),
        ({}, "", []),
    ],
)
def test_terms(options: dict[str, Any], text: str, expected: list[str]) -> None:
    assert Analyzer(**options).terms(text) == expected


@pytest.mark.parametrize("language", sorted(LANGUAGES))
def test_every_stemmer_named_exists(language: str) -> None:
    assert Analyzer(language=language, stemmer=True).terms("abc") != []


def test_unknown_languages_are_refused_by_name() -> None:
    with pytest.raises(ConfigError, match=r"^language: unknown language 'eng'; did you mean 'en'"):
        Analyzer(language="eng")
    for language in UNSTEMMED:
        with pytest.raises(ConfigError, match=r"^stemmer: "):
            Analyzer(language=language, stemmer=True)

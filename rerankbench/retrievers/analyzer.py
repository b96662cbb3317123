"""From text to index terms, explicit in the configuration: words, stop words, stems; bigrams where words are not
separated by spaces (the CJK analysis of Lucene)."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rerankbench.errors import ConfigError, nearest

LANGUAGES = {
    "ar": "arabic", "ca": "catalan", "da": "danish", "de": "german", "el": "greek", "en": "english", "es": "spanish",
    "eu": "basque", "fi": "finnish", "fr": "french", "ga": "irish", "hi": "hindi", "hu": "hungarian",
    "hy": "armenian", "id": "indonesian", "it": "italian", "lt": "lithuanian", "ne": "nepali", "nl": "dutch",
    "no": "norwegian", "pt": "portuguese", "ro": "romanian", "ru": "russian", "sr": "serbian", "sv": "swedish",
    "ta": "tamil", "tr": "turkish", "yi": "yiddish",
}  # fmt: skip
"""ISO 639-1 codes with the Snowball stemmer of that name."""

UNSTEMMED = {
    "bg", "bn", "cs", "et", "fa", "gu", "he", "hr", "ja", "km", "kn", "ko", "lo", "lv", "ml", "mr", "my", "pa", "pl",
    "sk", "sl", "sw", "te", "th", "uk", "ur", "vi", "zh",
}  # fmt: skip
"""Languages that are tokenised but have no Snowball stemmer."""

_STOPWORDS = {
    "en": "EN", "da": "DANISH", "de": "GERMAN", "es": "SPANISH", "fr": "FRENCH", "it": "ITALIAN", "nl": "DUTCH",
    "no": "NORWEGIAN", "pt": "PORTUGUESE", "ru": "RUSSIAN", "sv": "SWEDISH", "tr": "TURKISH",
}  # fmt: skip

_ENGLISH = re.compile(r"(?u)\b\w\w+\b")  # bm25s's and scikit-learn's
_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"


@dataclass(frozen=True, kw_only=True)
class Analyzer:
    """Lower-cased words of two characters or more.

    language: ISO 639-1. stemmer: reduce words with the language's Snowball stemmer. stopwords: leave out bm25s's stop
    words of the language, where it has a list. Runs of Han, Kana, Thai, Lao, Khmer or Burmese become bigrams of
    characters with their marks, unless the language is English, which is tokenised exactly as bm25s does.
    """

    language: str = "en"
    stemmer: bool = False
    stopwords: bool = True

    def __post_init__(self) -> None:
        if self.language not in LANGUAGES and self.language not in UNSTEMMED:
            raise ConfigError(
                "language",
                f"unknown language {self.language!r}; {nearest(self.language, {*LANGUAGES, *UNSTEMMED})}",
            )
        if self.stemmer and self.language not in LANGUAGES:
            raise ConfigError("stemmer", f"there is no Snowball stemmer for {self.language!r}")

    def terms(self, text: str) -> list[str]:
        """The index terms of a text, in order, repeated as they occur."""
        words = self._words(text.lower())
        if stop := self._stop:
            words = [word for word in words if word not in stop]
        return self._stem(words) if self.stemmer else words

    @functools.cached_property
    def _words(self) -> Callable[[str], list[str]]:
        return _ENGLISH.findall if self.language == "en" else _any_language

    @functools.cached_property
    def _stop(self) -> Collection[str]:
        if not self.stopwords or self.language not in _STOPWORDS:
            return frozenset()
        from bm25s import stopwords

        return frozenset(getattr(stopwords, f"STOPWORDS_{_STOPWORDS[self.language]}"))

    @functools.cached_property
    def _stem(self) -> Callable[[list[str]], list[str]]:
        import Stemmer

        stem: Callable[[list[str]], list[str]] = Stemmer.Stemmer(LANGUAGES[self.language]).stemWords
        return stem


def _any_language(text: str) -> list[str]:
    """Words with their combining marks; bigrams where the script puts no spaces between words."""
    word, run, unit = _patterns()
    terms: list[str] = []
    for match in word.finditer(text):
        piece = match.group()
        if run.fullmatch(piece):
            units = unit.findall(piece)
            terms += [a + b for a, b in pairwise(units)] or units
        elif len(piece) > 1:
            terms.append(piece)
    return terms


@functools.cache
def _patterns() -> tuple[Any, Any, Any]:
    import regex

    run = rf"(?:[{_UNSPACED}]\p{{M}}*)+"
    return regex.compile(rf"{run}|(?:(?![{_UNSPACED}])[\w\p{{M}}])+"), regex.compile(run), regex.compile(r".\p{M}*")

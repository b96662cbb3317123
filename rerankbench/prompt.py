"""Prompts as configuration: messages in Jinja2, rendered with a query and documents.

A template is rendered with marks in place of the query and the documents, so the text of a document is never read as a
template, and whoever tokenizes the result can truncate a document without touching the instruction or the query.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import groupby
from string import ascii_uppercase
from typing import Annotated, Any, Literal

from annotated_types import Ge

from rerankbench.errors import ConfigError, key_of
from rerankbench.store import content_hash

QUERY: Literal["q"] = "q"
DOCUMENT: Literal["d"] = "d"
_MARK = re.compile("\ue000([qd])(\\d*)\ue001")
_LABEL_LIKE = re.compile(r"\[(\w{1,4})\]")


@dataclass(frozen=True, slots=True)
class Piece:
    """A part of a rendered prompt: `text` of the template, or a slot for the query or for document `index`."""

    text: str
    inserted: Literal["", "q", "d"] = ""
    index: int = 0


@dataclass(frozen=True, kw_only=True, eq=False)
class Prompt:
    """What a language model is shown, and how its answer begins.

    messages: role and content (Jinja2: `query`, `document`, `documents` with `.label` and `.text`, `n`, `top`,
    `instruction`); a message with `each: true` is repeated, together with its neighbours of that kind, for every
    document. start: the forced beginning of the answer. labels: the answers that are scored. values: the value of each
    label. label_style: documents are labelled 1, 2, … or A, B, …. document_tokens: the most tokens of a document; null
    divides what the context leaves. min_document_tokens: it is an error if the context leaves a document fewer.
    plain_start: the end of the prompt where there is no chat template. chat: false leaves the model's chat template
    out, which suits likelihoods of text. raw: one message, the whole text as it is, special tokens included.
    """

    messages: Sequence[Mapping[str, Any]]
    start: str = ""
    labels: Sequence[str] | None = None
    values: Sequence[float] | None = None
    label_style: Literal["numbers", "letters"] = "numbers"
    instruction: str = ""
    document_tokens: Annotated[int, Ge(1)] | None = None
    min_document_tokens: Annotated[int, Ge(0)] = 8
    plain_start: str = ""
    chat: bool = True
    raw: bool = False

    def __post_init__(self) -> None:
        for index, message in enumerate(self.messages):
            if set(message) - {"role", "content", "each"} or "content" not in message:
                raise ConfigError(f"messages[{index}]", "needs content; may have role and each")
        if not self.messages or (self.raw and len(self.messages) != 1):
            raise ConfigError("messages", "must be one message" if self.raw else "must not be empty")
        if self.labels is not None and len({label.strip() for label in self.labels}) != len(self.labels):
            raise ConfigError("labels", "must be different from one another")
        if self.values is not None and len(self.values) != len(self.labels or ()):
            raise ConfigError("values", "must be one for each label")
        _ = self._templates

    def document_labels(self, n: int) -> list[str]:
        """The labels of n documents. Raises ConfigError for more than 26 letters."""
        if self.label_style == "numbers":
            return [str(i) for i in range(1, n + 1)]
        if n > len(ascii_uppercase):
            raise ConfigError(key_of(self, "label_style"), f"letters label up to 26 documents, got {n}")
        return list(ascii_uppercase[:n])

    @property
    def variables(self) -> set[str]:
        """The variables that the messages use."""
        from jinja2 import Environment, meta

        parse = Environment().parse
        return {v for m in self.messages for v in meta.find_undeclared_variables(parse(str(m["content"])))}

    def render(self, n: int, top: int | None = None) -> list[tuple[str, list[Piece]]]:
        """Role and pieces of each message for n documents. Raises ConfigError unless all of them are shown."""
        labels = self.document_labels(n)
        documents = [{"label": label, "text": f"\ue000d{i}\ue001"} for i, label in enumerate(labels)]
        common = {"query": "\ue000q\ue001", "documents": documents, "n": n, "instruction": self.instruction}
        if top is not None:
            common["top"] = top
        if n:
            common["document"] = documents[0]["text"]
        each = [{"document": document["text"], "label": document["label"]} for document in documents]
        rendered: list[tuple[str, list[Piece]]] = []
        for repeated, block in groupby(range(len(self.messages)), key=lambda i: bool(self.messages[i].get("each"))):
            indices = list(block)
            for values in each if repeated else [{}]:
                for index in indices:
                    text = self._text(index, {**common, **values})
                    rendered.append((str(self.messages[index].get("role", "user")), pieces_of(text)))
        shown = {piece.index for _, pieces in rendered for piece in pieces if piece.inserted == DOCUMENT}
        if len(shown) < n:
            raise ConfigError(key_of(self, "messages"), f"show {len(shown)} of the {n} documents of a request")
        return rendered

    def _text(self, index: int, values: Mapping[str, Any]) -> str:
        """A rendered message. Raises ConfigError where it uses what this request does not have."""
        from jinja2 import TemplateError

        try:
            return str(self._templates[index].render(values))
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            problem = f"cannot be rendered for {values['n']} documents: {error}"
            raise ConfigError(key_of(self, f"messages[{index}].content"), problem) from error

    def fingerprint(self) -> str:
        """Of everything in it."""
        return content_hash("prompt", asdict(self))

    @functools.cached_property
    def _templates(self) -> list[Any]:
        from jinja2 import StrictUndefined, TemplateError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, keep_trailing_newline=True)
        templates = []
        for index, message in enumerate(self.messages):
            try:
                templates.append(environment.from_string(str(message["content"])))
            except TemplateError as error:
                raise ConfigError(f"messages[{index}].content", f"is not a template: {error}") from error
        return templates


def neutral(text: str) -> str:
    """A query or document that cannot be mistaken for a label or a mark: `[3]` becomes `(3)`."""
    return _LABEL_LIKE.sub(r"(\1)", text.replace("\ue000", " ").replace("\ue001", " "))


def pieces_of(text: str) -> list[Piece]:
    """The pieces of a text with marks, such as a chat template rendered with `marked` messages."""
    pieces, last = [], 0
    for mark in _MARK.finditer(text):
        pieces.append(Piece(text[last : mark.start()]))
        pieces.append(Piece("", QUERY) if mark[1] == QUERY else Piece("", DOCUMENT, int(mark[2])))
        last = mark.end()
    pieces.append(Piece(text[last:]))
    return [piece for piece in pieces if piece.text or piece.inserted]


def marked(pieces: Sequence[Piece]) -> str:
    """The text with its marks, to be rendered by a chat template."""
    return "".join(p.text or ("\ue000q\ue001" if p.inserted == QUERY else f"\ue000d{p.index}\ue001") for p in pieces)


def shares(lengths: Sequence[int], budget: int) -> list[int]:
    """Tokens that each document may keep: equal shares of `budget`, and what short ones leave goes to the long ones.

    lengths: tokens of each document [n].
    """
    kept = list(lengths)
    if sum(kept) <= budget:
        return kept
    left, shortest_first = budget, sorted(range(len(kept)), key=lambda i: lengths[i])
    for position, i in enumerate(shortest_first):
        kept[i] = min(lengths[i], left // (len(kept) - position))
        left -= kept[i]
    return kept

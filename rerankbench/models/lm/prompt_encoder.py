"""From a prompt to token ids: chat template, documents cut by tokens, labels resolved to single tokens.

Every part is tokenised by itself and the ids are joined. So a document cannot close the turn it stands in (its text is
read with special tokens disabled), a cut never moves what follows, and the place of every document is known.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rerankbench.errors import ConfigError
from rerankbench.models.lm.joining import joinable
from rerankbench.models.lm.language_model import Filled
from rerankbench.models.model import Model
from rerankbench.prompt import DOCUMENT, QUERY, Piece, Prompt, marked, neutral, pieces_of, shares


class Filler:
    """Fills prompts for one tokenizer.

    context: tokens that an input and its answer may have together. encoder: the prompt goes to an encoder, with the
    tokenizer's special tokens around it, and the forced start of the answer to a decoder.
    """

    def __init__(self, model: Model, context: int | None, encoder: bool = False) -> None:
        from tokenizers import Tokenizer
        from transformers import AutoTokenizer

        self.backend: Any = model.load(AutoTokenizer.from_pretrained)
        if not self.backend.is_fast:
            raise ConfigError("model.path", f"{model.location} has no fast tokenizer (tokenizer.json)")
        self._template_reader, self._first_space = joinable(self.backend.backend_tokenizer)
        self._text_reader = Tokenizer.from_str(self._template_reader.to_str())
        self._text_reader.encode_special_tokens = True
        limit = int(self.backend.model_max_length)
        self.context = model.max_length or min(context or 1 << 20, limit)
        self.encoder = encoder
        self.has_template = bool(self.backend.chat_template)
        before, after = self._around()
        self._before = before
        self._after = after if encoder else []
        self._read: dict[tuple[bool, str], list[int]] = {}

    def fill(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, new_tokens: int = 0
    ) -> tuple[Filled, bool]:
        """The filled prompt, and whether a document was cut. Raises ConfigError where it cannot fit."""
        pieces = self.pieces(prompt, len(documents), top)
        texts = [neutral(text) for text in documents]
        ids: list[list[int]] = []
        lead = "" if self._begins_special(pieces[0].text) else self._first_space
        for i, piece in enumerate(pieces):
            if piece.inserted:
                text = neutral(query) if piece.inserted == QUERY else texts[piece.index]
                ids.append(self._encode(lead + text, special=False))
                lead = ""
                continue
            # A space at the end of a template goes to the text behind it: `: ` + `what` does not read as `: what` does.
            given = lead + piece.text
            text = given[:-1] if i + 1 < len(pieces) and given.endswith(" ") else given
            lead = " " if text != given else ""
            ids.append(self._encode(text, special=True))
        ids, cut = self._cut(prompt, pieces, ids, new_tokens)
        return self._joined(prompt, pieces, ids), cut

    @functools.lru_cache(maxsize=256)  # noqa: B019 (a filler lives as long as its model)
    def pieces(self, prompt: Prompt, n: int, top: int | None) -> tuple[Piece, ...]:
        """The whole prompt as one list of pieces: chat template or plain text, and the start of the answer."""
        rendered = prompt.render(n, top)
        if prompt.raw:
            text = marked(rendered[0][1])
        elif self._chats(prompt):
            text = self._chat([(role, marked(pieces)) for role, pieces in rendered])
        else:
            text = "\n\n".join(marked(pieces) for _, pieces in rendered) + prompt.plain_start
        return tuple(pieces_of(text if self.encoder else text + prompt.start))

    def label_ids(self, tail: str, labels: Sequence[str]) -> list[int]:
        """The token that each label adds behind `tail`, the end of the prompt.

        A label follows a word or a colon with a space, anything else (a line end, a chat header, a bracket) without.
        Raises ConfigError where a label adds not exactly one token, or two labels add the same.
        """
        end = tail[-1:]
        gap = " " if (end.isalnum() or end in tuple(":.)>")) and not self._ends_special(tail) else ""
        gap = gap if tail else self._first_space
        before = self._encode(tail, special=True)
        found: dict[int, str] = {}
        for label in (label.strip() for label in labels):
            joint = self._encode(tail + gap + label, special=True)
            # Where the end of the tail would be read otherwise with a word behind it (two line ends), the label by
            # itself is what follows the ids that the model is given.
            added = joint[len(before) :] if joint[: len(before)] == before else self._encode(gap + label, special=True)
            if len(added) != 1:
                raise ConfigError("prompt.labels", f"{label!r} is not one token of its own here; choose another label")
            if added[0] in found:
                raise ConfigError("prompt.labels", f"{label!r} and {found[added[0]]!r} are the same token")
            found[added[0]] = label
        return list(found)

    def continuation_ids(self, tail: str, text: str) -> list[int]:
        """The ids of a text that follows `tail`, with a space between unless `tail` ends with white space."""
        gap = "" if tail[-1:].isspace() or self._ends_special(tail) else " "
        gap = gap if tail else self._first_space
        return self._encode(gap + text, special=False) if text else []

    def extended(self, prompt: Filled, said: str, forced: str) -> Filled:
        """The prompt with more of the answer: plain text, then text that may hold special tokens."""
        added = () if self.encoder else (*self._encode(said, special=False), *self._encode(forced, special=True))
        last_line = (prompt.tail + said + forced).rpartition("\n")[2]
        return replace(prompt, ids=(*prompt.ids, *added), tail=last_line, start=prompt.start + said + forced)

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        return str(self.backend.decode(list(ids), skip_special_tokens=True))

    def _cut(
        self, prompt: Prompt, pieces: Sequence[Piece], ids: list[list[int]], new_tokens: int
    ) -> tuple[list[list[int]], bool]:
        """The ids with documents cut to what `document_tokens` and the context leave them."""
        places = [i for i, piece in enumerate(pieces) if piece.inserted == DOCUMENT]
        limit = prompt.document_tokens or 1 << 30
        lengths = [min(len(ids[i]), limit) for i in places]
        fixed = sum(len(part) for i, part in enumerate(ids) if i not in set(places))
        room = self.context - new_tokens - fixed - len(self._begin(prompt)) - len(self._after)
        kept = shares(lengths, max(0, room))
        starved = [k for k, length in zip(kept, lengths, strict=True) if k < min(length, prompt.min_document_tokens)]
        if room < 0 or starved:
            raise ConfigError(
                "model.max_length",
                f"the prompt does not fit: {fixed} tokens of instruction and query and {new_tokens} for the answer "
                f"leave {max(0, room)} of {self.context} tokens to {len(places)} documents; show fewer at a time",
            )
        cut = False
        for i, length in zip(places, kept, strict=True):
            cut = cut or length < len(ids[i])
            ids[i] = ids[i][:length]
        return ids, cut

    def _joined(self, prompt: Prompt, pieces: Sequence[Piece], ids: Sequence[Sequence[int]]) -> Filled:
        joined = self._begin(prompt)
        places: dict[str, list[tuple[int, int]]] = {"": [], QUERY: [], DOCUMENT: []}
        for piece, part in zip(pieces, ids, strict=True):
            places[piece.inserted].append((len(joined), len(joined) + len(part)))
            joined += part
        documents = places[DOCUMENT]
        joined += self._after
        return Filled(
            ids=tuple(joined),
            cuts=documents[0] if documents else (),
            documents=tuple(documents),
            queries=tuple(places[QUERY]),
            tail="" if pieces[-1].inserted else pieces[-1].text,
            start=prompt.start,
        )

    def _chats(self, prompt: Prompt) -> bool:
        return self.has_template and prompt.chat and not prompt.raw

    def _begin(self, prompt: Prompt) -> list[int]:
        """The special tokens in front; a chat template has its own, and so has a raw prompt for a decoder."""
        return [] if not self.encoder and (prompt.raw or self._chats(prompt)) else list(self._before)

    def _chat(self, messages: Sequence[tuple[str, str]]) -> str:
        """The chat template's text with the assistant's header; a system message joins the user's where it must."""
        from jinja2 import TemplateError

        given = [{"role": role, "content": content} for role, content in messages]
        options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        try:
            return str(self.backend.apply_chat_template(given, **options))
        except TemplateError:
            if given[0]["role"] == "system" and len(given) > 1:
                joined = f"{given[0]['content']}\n\n{given[1]['content']}"
                given = [{**given[1], "content": joined}, *given[2:]]
        try:
            return str(self.backend.apply_chat_template(given, **options))
        except TemplateError as error:
            raise ConfigError("prompt.messages", f"do not suit the model's chat template: {error}") from error

    def _encode(self, text: str, special: bool) -> list[int]:
        key = (special, text)
        if key not in self._read:
            if len(self._read) > 200_000:  # bounds memory; a text read again is only slower
                self._read.clear()
            reader = self._template_reader if special else self._text_reader
            self._read[key] = list(reader.encode(text, add_special_tokens=False).ids)
        return self._read[key]

    def _around(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer puts before and after one text."""
        bare = self._template_reader.encode("a", add_special_tokens=False).ids
        ids = self._template_reader.encode("a", add_special_tokens=True).ids
        start = next(i for i in range(len(ids)) if ids[i : i + len(bare)] == bare)
        return list(ids[:start]), list(ids[start + len(bare) :])

    def _begins_special(self, text: str) -> bool:
        return any(text.startswith(str(token)) for token in self.backend.all_special_tokens)

    def _ends_special(self, tail: str) -> bool:
        return any(tail.endswith(str(token)) for token in self.backend.all_special_tokens)

"""From a prompt to token ids: chat template, documents truncated by tokens, labels resolved to single tokens.

Every part is tokenized by itself and the ids are joined. So a document cannot close the turn it stands in (its text is
tokenized with special tokens disabled), truncation never changes what follows, and each document's span is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from cachetools import LRUCache

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.lm.joining import joinable
from rerankbench.models.lm.language_model import EncodedPrompt
from rerankbench.models.model import Model
from rerankbench.prompt import DOCUMENT, QUERY, Piece, Prompt, marked, neutral, pieces_of, shares


class PromptEncoder:
    """Encodes prompts with one tokenizer.

    context: tokens that an input and its answer may have together. encoder_decoder: the prompt goes to an encoder, with
    the tokenizer's special tokens around it, and the forced start of the answer to a decoder.
    """

    def __init__(self, model: Model, context: int | None, encoder_decoder: bool = False) -> None:
        from tokenizers import Tokenizer
        from transformers import AutoTokenizer

        self.model = model
        self.tokenizer: Any = model.load(AutoTokenizer.from_pretrained)
        if not self.tokenizer.is_fast:
            raise ConfigError(key_of(model, "path"), f"{model.location} has no fast tokenizer (tokenizer.json)")
        self._template_tokenizer, self._first_space = joinable(self.tokenizer.backend_tokenizer)
        self._text_tokenizer = Tokenizer.from_str(self._template_tokenizer.to_str())
        self._text_tokenizer.encode_special_tokens = True
        limit = int(self.tokenizer.model_max_length)
        self.context = model.max_length or min(context or 1 << 20, limit)
        self.encoder_decoder = encoder_decoder
        before, after = self._special_tokens()
        self._before = before
        self._after = after if encoder_decoder else []
        self._ids: LRUCache[tuple[str, bool], list[int]] = LRUCache(200_000)
        self._pieces: LRUCache[tuple[Prompt, int, int | None], tuple[Piece, ...]] = LRUCache(256)

    def encode(
        self, prompt: Prompt, query: str, documents: Sequence[str], top: int | None = None, max_new_tokens: int = 0
    ) -> tuple[EncodedPrompt, bool]:
        """The encoded prompt, and whether a document was truncated. Raises ConfigError where it cannot fit."""
        pieces = self.pieces(prompt, len(documents), top)
        texts = [neutral(text) for text in documents]
        ids: list[list[int]] = []
        lead = "" if self._begins_special(pieces[0].text) else self._first_space
        for i, piece in enumerate(pieces):
            if piece.inserted:
                text = neutral(query) if piece.inserted == QUERY else texts[piece.index]
                ids.append(self._tokenize(lead + text, special=False))
                lead = ""
                continue
            # A space at the end of a template's text goes to the text behind it: tokens of words begin with a space.
            whole = lead + piece.text
            text = whole[:-1] if i + 1 < len(pieces) and whole.endswith(" ") else whole
            lead = " " if text != whole else ""
            ids.append(self._tokenize(text, special=True))
        ids, truncated = self._truncate(prompt, pieces, ids, max_new_tokens)
        return self._join(prompt, pieces, ids), truncated

    def pieces(self, prompt: Prompt, n: int, top: int | None) -> tuple[Piece, ...]:
        """The whole prompt as one list of pieces: chat template or plain text, and the start of the answer."""
        key = (prompt, n, top)
        if key not in self._pieces:
            rendered = prompt.render(n, top)
            if prompt.raw:
                text = marked(rendered[0][1])
            elif self._uses_chat_template(prompt):
                text = self._chat(prompt, [(role, marked(pieces)) for role, pieces in rendered])
            else:
                text = "\n\n".join(marked(pieces) for _, pieces in rendered) + prompt.plain_start
            self._pieces[key] = tuple(pieces_of(text if self.encoder_decoder else text + prompt.start))
        return self._pieces[key]

    def label_ids(self, prompts: Sequence[EncodedPrompt], labels: Sequence[str]) -> list[list[int]]:
        """The token that each label adds behind each prompt, [N][L].

        Raises ConfigError where a label adds not exactly one token, or two labels add the same.
        """
        by_prefix: dict[str, list[int]] = {}
        for prompt in prompts:
            if prompt.answer_prefix not in by_prefix:
                by_prefix[prompt.answer_prefix] = self._label_ids(prompt, labels)
        return [by_prefix[prompt.answer_prefix] for prompt in prompts]

    def _label_ids(self, prompt: EncodedPrompt, labels: Sequence[str]) -> list[int]:
        """A label follows a word or a colon with a space, anything else (line end, chat header, bracket) without."""
        prefix, key = prompt.answer_prefix, key_of(prompt.template, "labels")
        end = prefix[-1:]
        gap = " " if (end.isalnum() or end in tuple(":.)>")) and not self._ends_special(prefix) else ""
        gap = gap if prefix else self._first_space
        before = self._tokenize(prefix, special=True)
        label_of: dict[int, str] = {}
        for label in (label.strip() for label in labels):
            joint = self._tokenize(prefix + gap + label, special=True)
            # Where the end of the prefix has other tokens with a word behind it (two line ends), the label by itself
            # is what follows the ids that the model is given.
            prefixed = joint[: len(before)] == before
            added = joint[len(before) :] if prefixed else self._tokenize(gap + label, special=True)
            if len(added) != 1:
                raise ConfigError(key, f"{label!r} is not one token of its own here; choose another label")
            if added[0] in label_of:
                raise ConfigError(key, f"{label!r} and {label_of[added[0]]!r} are the same token")
            label_of[added[0]] = label
        return list(label_of)

    def continuation_ids(self, prefix: str, text: str) -> list[int]:
        """The ids of a text that follows `prefix`, with a space between unless `prefix` ends with white space."""
        gap = "" if prefix[-1:].isspace() or self._ends_special(prefix) else " "
        gap = gap if prefix else self._first_space
        return self._tokenize(gap + text, special=False) if text else []

    def continuations(
        self, prompts: Sequence[EncodedPrompt], texts: Sequence[str]
    ) -> tuple[list[list[int]], list[int]]:
        """The ids of each text behind its prompt, and the indices of those that are not empty."""
        pairs = zip(prompts, texts, strict=True)
        added = [self.continuation_ids(prompt.answer_prefix, text) for prompt, text in pairs]
        return added, [index for index, ids in enumerate(added) if ids]

    def extended(self, prompt: EncodedPrompt, generated: str, forced: str) -> EncodedPrompt:
        """The prompt with more of the answer: plain text, then text that may hold special tokens."""
        start = prompt.start + generated + forced
        if self.encoder_decoder:
            return replace(prompt, start=start, answer_prefix=start)
        added = (*self._tokenize(generated, special=False), *self._tokenize(forced, special=True))
        last_line = (prompt.answer_prefix + generated + forced).rpartition("\n")[2]
        return replace(prompt, ids=(*prompt.ids, *added), start=start, answer_prefix=last_line)

    def decode(self, ids: Sequence[int]) -> str:
        """Text without special tokens."""
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=True))

    def _truncate(
        self, prompt: Prompt, pieces: Sequence[Piece], ids: list[list[int]], max_new_tokens: int
    ) -> tuple[list[list[int]], bool]:
        """The ids with documents truncated to what `document_tokens` and the context leave them."""
        places = [i for i, piece in enumerate(pieces) if piece.inserted == DOCUMENT]
        limit = prompt.document_tokens or 1 << 30
        lengths = [min(len(ids[i]), limit) for i in places]
        fixed = sum(len(part) for i, part in enumerate(ids) if i not in set(places))
        left = self.context - max_new_tokens - fixed - len(self._begin(prompt)) - len(self._after)
        budgets = shares(lengths, max(0, left))
        least = prompt.min_document_tokens
        if left < 0 or any(budget < min(n, least) for budget, n in zip(budgets, lengths, strict=True)):
            raise ConfigError(
                key_of(self.model, "max_length"),
                f"the prompt does not fit: {fixed} tokens of instruction and query and {max_new_tokens} for the answer "
                f"leave {max(0, left)} of {self.context} tokens to {len(places)} documents; show fewer at a time",
            )
        truncated = any(budget < len(ids[i]) for i, budget in zip(places, budgets, strict=True))
        for i, budget in zip(places, budgets, strict=True):
            ids[i] = ids[i][:budget]
        return ids, truncated

    def _join(self, prompt: Prompt, pieces: Sequence[Piece], ids: Sequence[Sequence[int]]) -> EncodedPrompt:
        joined = self._begin(prompt)
        spans: dict[str, list[tuple[int, int]]] = {"": [], QUERY: [], DOCUMENT: []}
        for piece, part in zip(pieces, ids, strict=True):
            spans[piece.inserted].append((len(joined), len(joined) + len(part)))
            joined += part
        documents = spans[DOCUMENT]
        joined += self._after
        ending = "" if pieces[-1].inserted else pieces[-1].text
        return EncodedPrompt(
            ids=tuple(joined),
            prefix_lengths=documents[0] if documents else (),
            documents=tuple(documents),
            queries=tuple(spans[QUERY]),
            answer_prefix=prompt.start if self.encoder_decoder else ending,
            start=prompt.start,
            template=prompt,
        )

    def _uses_chat_template(self, prompt: Prompt) -> bool:
        return bool(self.tokenizer.chat_template) and prompt.chat and not prompt.raw

    def _begin(self, prompt: Prompt) -> list[int]:
        """The special tokens in front; a chat template has its own, and so has a raw prompt for a decoder."""
        has_own = not self.encoder_decoder and (prompt.raw or self._uses_chat_template(prompt))
        return [] if has_own else list(self._before)

    def _chat(self, prompt: Prompt, messages: Sequence[tuple[str, str]]) -> str:
        """The chat template's text with the assistant's header; a system message joins the user's where it must."""
        from jinja2 import TemplateError

        given = [{"role": role, "content": content} for role, content in messages]
        options = {"tokenize": False, "add_generation_prompt": True, "enable_thinking": False}
        try:
            return str(self.tokenizer.apply_chat_template(given, **options))
        except TemplateError:
            if given[0]["role"] == "system" and len(given) > 1:
                joined = f"{given[0]['content']}\n\n{given[1]['content']}"
                given = [{**given[1], "content": joined}, *given[2:]]
        try:
            return str(self.tokenizer.apply_chat_template(given, **options))
        except TemplateError as error:
            problem = f"do not suit the model's chat template: {error}"
            raise ConfigError(key_of(prompt, "messages"), problem) from error

    def _tokenize(self, text: str, special: bool) -> list[int]:
        key = (text, special)
        if key not in self._ids:
            tokenizer = self._template_tokenizer if special else self._text_tokenizer
            self._ids[key] = list(tokenizer.encode(text, add_special_tokens=False).ids)
        return self._ids[key]

    def _special_tokens(self) -> tuple[list[int], list[int]]:
        """The special tokens that the tokenizer adds before and after a text."""
        bare = self._template_tokenizer.encode("a", add_special_tokens=False).ids
        ids = self._template_tokenizer.encode("a", add_special_tokens=True).ids
        start = next(i for i in range(len(ids)) if ids[i : i + len(bare)] == bare)
        return list(ids[:start]), list(ids[start + len(bare) :])

    def _begins_special(self, text: str) -> bool:
        return any(text.startswith(str(token)) for token in self.tokenizer.all_special_tokens)

    def _ends_special(self, text: str) -> bool:
        return any(text.endswith(str(token)) for token in self.tokenizer.all_special_tokens)

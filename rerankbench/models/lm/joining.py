"""Tokenizers that give the parts of a text the tokens that they have in the whole."""

from __future__ import annotations

import json
from typing import Any


def joinable(backend: Any) -> tuple[Any, str]:
    """A copy of a `tokenizers.Tokenizer` that adds no space before a text, and the space it would have added.

    SentencePiece gives the first word of every text a space; where a text is tokenized in parts, only the first part
    may have it.
    """
    from tokenizers import Tokenizer

    state = json.loads(backend.to_str())
    added = False
    for name in ("normalizer", "pre_tokenizer"):
        for step in _steps(state.get(name)):
            if step["type"] == "Prepend" and step["prepend"]:
                added, step["prepend"] = True, ""
            if step["type"] == "Metaspace" and step.get("prepend_scheme") != "never":
                added, step["prepend_scheme"] = True, "never"
            if step["type"] == "ByteLevel" and step.get("add_prefix_space"):
                added, step["add_prefix_space"] = True, False
    reader = Tokenizer.from_str(json.dumps(state))
    reader.no_truncation()
    reader.no_padding()
    return reader, " " if added else ""


def _steps(node: Any) -> list[dict[str, Any]]:
    """The steps of a normalizer or pre-tokenizer, which may be a sequence of others."""
    if not node:
        return []
    inner = node.get("normalizers") or node.get("pretokenizers") or []
    return [node] if not inner else [step for part in inner for step in _steps(part)]

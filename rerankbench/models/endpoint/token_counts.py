"""Where the tokens of a text end: enough to cut a document for a model whose tokenizer is on a server."""

from __future__ import annotations

import re
from collections.abc import Callable

from rerankbench.errors import ConfigError
from rerankbench.models.model import Model

TokenEnds = Callable[[str], list[int]]
"""The position in a text at which each of its tokens ends, ascending."""

_PIECE = re.compile(r"[ \n]?(?:[A-Za-z\u00c0-\u024f]{1,5}|\d{1,3}|\s+|.)", re.DOTALL)


def estimated_ends(text: str) -> list[int]:
    """An estimate, rather too many tokens than too few: up to five Latin letters, three digits, or one character."""
    return [piece.end() for piece in _PIECE.finditer(text)]


def exact_ends(tokenizer: str, key: str = "tokenizer") -> TokenEnds:
    """By the tokenizer in this folder or hub id. Raises ConfigError, with the key, where there is none."""
    from transformers import AutoTokenizer

    try:
        backend = Model(path=tokenizer).load(AutoTokenizer.from_pretrained).backend_tokenizer
    except ConfigError as error:
        raise ConfigError(key, error.problem) from error
    except AttributeError as error:
        raise ConfigError(key, f"{tokenizer} has no fast tokenizer (tokenizer.json)") from error
    backend.no_truncation()
    backend.no_padding()
    return lambda text: [end for _, end in backend.encode(text, add_special_tokens=False).offsets]

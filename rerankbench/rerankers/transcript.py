"""Prompts and raw answers for a person to read, one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rerankbench.rerankers.requests import Request


class Transcript:
    """Appends to a file as answers come, so that nothing is lost in a crash."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def add(self, request: Request, prompt: str | None, answer: Any) -> None:
        """One exchange; `prompt` is None where the answer came from the store, which holds the parsed answer."""
        line = {
            "query": request.query.id,
            "asked": type(request).__name__.lower(),
            "documents": [candidate.document.id for candidate in request.candidates],
            **({"stored": answer} if prompt is None else {"prompt": prompt, "answer": answer}),
        }
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line, ensure_ascii=False) + "\n")

"""`rerankbench rerank`: queries with documents in, ranked lists out, a JSON object a line."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from rerankbench.benchmarks.readers import well_formed
from rerankbench.errors import DataError, UserError
from rerankbench.library import _load, read_documents


def rerank_lines(overrides: Sequence[str], folders: Sequence[Path], source: int, sink: TextIO) -> None:
    """Answer each line {"query": …, "documents": […]} of a file descriptor with {"query": …, "ranking": […]}.

    Lines that arrived together are reranked together: a pipe is fast, and a single line is answered at once. Documents
    are as `TextReranker.rank_all` takes them; other keys of a line are copied to its answer. Raises DataError, with the
    line, for one in another form; those before it are answered.
    """
    reranker = _load(overrides, folders)
    for batch in _arriving(source):
        wrong: UserError | None = None
        records = []
        for number, line in batch:
            try:
                records.append(_record(line, number))
            except UserError as error:
                wrong = error
                break
        ranked = reranker.rank_all([(record["query"], record["documents"]) for record in records])
        for record, ranking in zip(records, ranked, strict=True):
            rows = [{"index": one.index, "id": one.id, "score": one.score, "text": one.text} for one in ranking]
            others = {key: value for key, value in record.items() if key != "documents"}
            answer = json.dumps({**others, "ranking": rows}, ensure_ascii=False)
            print(well_formed(answer), file=sink, flush=True)
        if wrong is not None:
            raise wrong


def _arriving(source: int) -> Iterator[list[tuple[int, bytes]]]:
    """The whole lines of each read, numbered from 1, blank ones left out."""
    number, rest = 0, b""
    while data := os.read(source, 1 << 20):
        *lines, rest = (rest + data).split(b"\n")
        if batch := [(number + i, line) for i, line in enumerate(lines, 1) if line.strip()]:
            yield batch
        number += len(lines)
    if rest.strip():
        yield [(number + 1, rest)]


def _record(line: bytes, number: int) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError("stdin", f"not JSON ({error})", number) from None
    if not isinstance(record, dict) or not isinstance(record.get("query"), str):
        raise DataError("stdin", 'expected {"query": text, "documents": [text, …]}', number)
    if not isinstance(record.get("documents"), list):
        raise DataError("stdin", "documents must be a list", number)
    try:
        read_documents(record["documents"])
    except DataError as error:
        raise DataError("stdin", str(error), number) from None
    return record


def main(overrides: Sequence[str], folders: Sequence[Path]) -> None:
    """From standard input to standard output."""
    rerank_lines(overrides, folders, sys.stdin.fileno(), sys.stdout)

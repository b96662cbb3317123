"""Candidate lists that carry their texts: the JSON of rank_llm and of Rankify.

rank_llm: {"query": {"text", "qid"}, "candidates": [{"docid", "score", "doc": {...}}]}.
Rankify: {"question", "answers", "ctxs": [{"id", "title", "text", "score", "has_answer"}]}.
A file holds one such record, a list of them, or one a line; plain or gzipped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rerankbench.benchmarks.corpus import joined_fields, metadata_of
from rerankbench.benchmarks.readers import (
    ID_KEYS,
    QUERY_ID_KEYS,
    byte_lines,
    decoded,
    finite,
    identifier,
    other_fields,
    ranked,
    well_formed,
)
from rerankbench.errors import DataError
from rerankbench.types import Document, Qrels, Query, Run


@dataclass(kw_only=True)
class CandidateLists:
    """What a file of candidate lists holds."""

    queries: list[Query] = field(default_factory=list)
    run: Run = field(default_factory=dict)
    """Best first: by score descending, ties in the order of the file."""
    documents: dict[str, Document] = field(default_factory=dict)
    """Empty where the lists have ids without texts."""
    qrels: Qrels = field(default_factory=dict)
    """Grade 1 where Rankify has `has_answer`, else 0; empty where no list has it."""
    repeated: int = 0
    """How many candidates were repeated in their list; the first one is used."""


def read_candidate_lists(path: Path, fields: Sequence[str] = ("title", "text")) -> CandidateLists:
    """The lists of a file. Raises DataError. Lists without a query id are numbered from 0."""
    lists = CandidateLists()
    for position, (line, record) in enumerate(_records(path)):
        where = "" if line else f"record {position}: "
        if isinstance(record, dict) and "candidates" in record:
            query = _rank_llm_query(record, path, line, where)
            items, id_key = record["candidates"], "docid"
        elif isinstance(record, dict) and "ctxs" in record:
            query = _rankify_query(record, position, path, line, where)
            items, id_key = record["ctxs"], "id"
        else:
            problem = "not a candidate list (expected query and candidates, or question and ctxs)"
            raise DataError(path, where + problem, line)
        if query.id in lists.run:
            raise DataError(path, f"{where}query {query.id!r} was given before", line)
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise DataError(path, f"{where}the candidates must be a list of objects", line)
        lists.queries.append(query)
        _add(lists, query.id, items, id_key, fields, path, line, where)
    if not lists.queries:
        raise DataError(path, "holds no candidate list")
    return lists


def _add(
    lists: CandidateLists,
    query_id: str,
    items: list[dict[str, Any]],
    id_key: str,
    fields: Sequence[str],
    path: Path,
    line: int | None,
    where: str,
) -> None:
    scores: dict[str, float] = {}
    scored = any(item.get("score") is not None for item in items)
    for position, item in enumerate(items):
        document_id = identifier(item.get(id_key), path, line, f"{where}{id_key} of candidate {position}")
        if document_id in scores:
            lists.repeated += 1
            continue
        # lists without any score are in order of rank
        score = item.get("score") if scored else len(items) - position
        scores[document_id] = finite(score, path, line, f"{where}candidate {document_id!r}: ")
        content = item.get("doc") if id_key == "docid" else item
        if isinstance(content, str):
            content = {"text": content}
        if isinstance(content, dict) and (text := well_formed(joined_fields(content, fields, path, line))):
            metadata = metadata_of(content, fields, *ID_KEYS, "score", "has_answer")  # no judgments in what scorers see
            document = lists.documents.setdefault(document_id, Document(document_id, text, metadata))
            if document.text != text:
                raise DataError(path, f"{where}document {document_id!r} was given before with another text", line)
        if "has_answer" in item:
            lists.qrels.setdefault(query_id, {})[document_id] = int(bool(item["has_answer"]))
    lists.run[query_id] = ranked(scores)


def _rank_llm_query(record: dict[str, Any], path: Path, line: int | None, where: str) -> Query:
    query = record.get("query")
    if not isinstance(query, dict) or not isinstance(query.get("text"), str):
        raise DataError(path, f"{where}the query needs text and qid", line)
    query_id = identifier(query.get("qid"), path, line, f"{where}qid")
    return Query(query_id, well_formed(query["text"]), metadata=other_fields(query, ("qid", "text")))


def _rankify_query(record: dict[str, Any], position: int, path: Path, line: int | None, where: str) -> Query:
    if not isinstance(record.get("question"), str):
        raise DataError(path, f"{where}the question must be text", line)
    number = next((record[key] for key in QUERY_ID_KEYS if record.get(key) is not None), position)
    query_id = identifier(number, path, line, f"{where}query id")
    metadata = other_fields(record, (*QUERY_ID_KEYS, "question", "ctxs"))
    return Query(query_id, well_formed(record["question"]), metadata=metadata)


def _records(path: Path) -> Iterator[tuple[int | None, Any]]:
    """The records of the file; with their lines where it has one a line."""
    numbered = list(byte_lines(path))
    if numbered and not numbered[0][1].lstrip().startswith(b"["):
        try:
            json.loads(numbered[0][1])
        except ValueError:
            pass  # the first record spans several lines, so the file is one record
        else:
            for number, line in numbered:
                yield number, _parsed(path, decoded(path, line, number), number)
            return
    if numbered:
        start = numbered[0][0]
        # blank lines are put back, for the line numbers of errors
        rows = dict(numbered)
        text = "\n".join(decoded(path, rows.get(n, b""), n) for n in range(start, numbered[-1][0] + 1))
        whole = _parsed(path, text, start)
        yield from ((None, record) for record in (whole if isinstance(whole, list) else [whole]))


def _parsed(path: Path, text: str, line: int) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(path, f"not JSON ({error.msg})", line + error.lineno - 1) from None
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"not JSON ({error})", line) from None

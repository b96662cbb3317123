"""Readers of query, judgment and run files: BEIR's JSON lines and tables, and TREC's topics, qrels and runs."""

from __future__ import annotations

import gzip
import json
import math
import re
import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from rerankbench.errors import DataError
from rerankbench.types import Qrels, Query, Run

ID_KEYS = ("_id", "id", "docid", "doc_id")
QUERY_ID_KEYS = ("_id", "id", "qid", "query_id")
HEADERS = {"query-id", "query_id", "queryid", "qid", "query", "topic", "id", "_id", "doc_id", "docid", "corpus-id"}
WHITE_SPACE = re.compile(r"[ \t\r\n\f\v]+")
INTEGER = re.compile(r"[+-]?[0-9]+(\.0*)?")
BOM = b"\xef\xbb\xbf"


def byte_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a plain or gzipped file that are not blank, with their numbers from 1; no byte order mark.

    Lines end at LF or CRLF only, so that a text may hold the other separators of Unicode. Raises DataError.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            with gzip.open(raw) if packed else raw as file:
                for number, line in enumerate(file, 1):
                    if number == 1 and line.startswith(BOM):
                        line = line[len(BOM) :]
                    line = line.rstrip(b"\r\n")
                    if line and not line.isspace():
                        yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise DataError(path, f"broken gzip file ({error})") from None
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror or error})") from None


def decoded(path: Path, line: bytes, number: int) -> str:
    """The line as text. Raises DataError where it is not UTF-8."""
    try:
        return line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(path, f"not UTF-8 at byte {error.start + 1} of the line; convert the file", number) from None


def lines(path: Path) -> Iterator[tuple[int, str]]:
    """As `byte_lines`, decoded."""
    for number, line in byte_lines(path):
        yield number, decoded(path, line, number)


def json_object(path: Path, line: bytes, number: int) -> dict[str, Any]:
    """The JSON object of one line. Raises DataError where there is none."""
    text = decoded(path, line, number)
    try:
        record = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(path, f"not JSON ({error})", number) from None
    if not isinstance(record, dict):
        raise DataError(path, f"expected a JSON object, found {type(record).__name__}", number)
    return record


def identifier(value: Any, path: Path | str, line: int | None, what: str = "id") -> str:
    """An id as text; numbers are taken. Raises DataError for what run files cannot hold: none, or white space in it."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str) or not value:
        raise DataError(path, f"{what} must be text or an integer, not {value!r}", line)
    if WHITE_SPACE.search(value):
        raise DataError(path, f"{what} {value!r} has white space in it, which run files cannot hold", line)
    if not value.isascii() and well_formed(value) != value:
        raise DataError(path, f"{what} {value!r} is not valid Unicode", line)
    return value


def well_formed(text: str) -> str:
    """The text with lone surrogates, which JSON can contain and UTF-8 cannot, replaced by U+FFFD."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    return text


def other_fields(record: Mapping[str, Any], taken: Collection[str]) -> dict[str, Any]:
    """Metadata: the fields of a record that are not `taken`, and what is in its object `metadata`."""
    fields = {name: value for name, value in record.items() if name not in taken}
    inner = fields.pop("metadata", None)
    if isinstance(inner, dict):
        return {**fields, **inner}
    return fields if inner is None else {**fields, "metadata": inner}


def is_header(columns: list[str]) -> bool:
    """Whether the first line of a table names its columns."""
    return columns[0].lower() in HEADERS


def read_queries(path: Path) -> list[Query]:
    """The queries of a file in the order of the file: JSON lines, `id<TAB>text`, or TREC topics (their titles).

    Repeated queries are merged. Raises DataError, also where one id has two texts.
    """
    first = next((line for _, line in byte_lines(path)), None)
    if first is None:
        raise DataError(path, "holds no query")
    if first.lstrip().startswith(b"<"):
        numbered = _topics(path)
    elif first.lstrip().startswith(b"{"):
        numbered = _json_queries(path)
    else:
        numbered = _tabbed_queries(path)
    queries: dict[str, Query] = {}
    for number, query in numbered:
        if queries.setdefault(query.id, query).text != query.text:
            raise DataError(path, f"query {query.id!r} was given before with another text", number)
    return list(queries.values())


def _json_queries(path: Path) -> Iterator[tuple[int, Query]]:
    for number, line in byte_lines(path):
        record = json_object(path, line, number)
        key = next((key for key in QUERY_ID_KEYS if key in record), None)
        if key is None:
            raise DataError(path, f"the query has no id (one of {', '.join(QUERY_ID_KEYS)})", number)
        text, instruction = record.get("text", record.get("query")), record.get("instruction", "")
        if not isinstance(text, str):
            raise DataError(path, "the query has no text", number)
        if not isinstance(instruction, str):
            raise DataError(path, f"instruction must be text, not {type(instruction).__name__}", number)
        metadata = record.get("metadata")
        if metadata is not None and not isinstance(metadata, dict):
            raise DataError(path, f"metadata must be an object, not {type(metadata).__name__}", number)
        others = other_fields(record, (key, "text", "query", "instruction"))
        query_id = identifier(record[key], path, number, "query id")
        yield number, Query(query_id, well_formed(text), well_formed(instruction), others)


def _tabbed_queries(path: Path) -> Iterator[tuple[int, Query]]:
    for position, (number, line) in enumerate(lines(path)):
        query_id, tab, text = line.partition("\t")
        if not tab:
            raise DataError(path, "expected query id, tab, text", number)
        if position or not is_header([query_id]):
            yield number, Query(identifier(query_id.strip(), path, number, "query id"), text.strip())


def _topics(path: Path) -> Iterator[tuple[int, Query]]:
    rows = list(lines(path))
    numbers = [number for number, _ in rows]
    whole = "\n".join(text for _, text in rows)
    for topic in re.finditer(r"<top>(.*?)(?:</top>|(?=<top>)|\Z)", whole, re.DOTALL | re.IGNORECASE):
        number = numbers[whole.count("\n", 0, topic.start())]
        parts = {
            tag.lower(): " ".join(text.split()) for tag, text in re.findall(r"<(\w+)>\s*(?:\w+:)?([^<]*)", topic[1])
        }
        if not parts.get("num") or not parts.get("title"):
            raise DataError(path, "the topic needs <num> and <title>", number)
        metadata = {tag: text for tag, text in parts.items() if tag not in ("num", "title") and text}
        query_id = identifier(parts["num"], path, number, "topic number")
        yield number, Query(query_id, parts["title"], metadata=metadata)


def read_qrels(path: Path) -> Qrels:
    """Judgments: three columns (query, document, grade; BEIR) or four (query, iteration, document, grade; TREC).

    A header is optional. Repeated judgments are merged. Raises DataError for a grade that is not an integer and for
    two grades of one document.
    """
    qrels: Qrels = {}
    names = ""
    for number, line in lines(path):
        columns = WHITE_SPACE.split(line.strip())
        if not names:
            names = {3: "query, document, grade", 4: "query, iteration, document, grade"}.get(len(columns), "")
            if not names:
                raise DataError(path, f"expected 3 columns (BEIR) or 4 (TREC), found {len(columns)}", number)
            if is_header(columns):
                continue
        if len(columns) != names.count(",") + 1:
            raise DataError(path, f"found {len(columns)} columns (fields are: {names})", number)
        query_id, document_id, grade = columns[0], columns[-2], columns[-1]
        if not INTEGER.fullmatch(grade):
            raise DataError(path, f'grade "{grade}" is not an integer (fields are: {names})', number)
        value = int(grade.partition(".")[0])
        before = qrels.setdefault(query_id, {}).setdefault(document_id, value)
        if before != value:
            raise DataError(
                path, f"document {document_id!r} has grades {before} and {value} for query {query_id!r}", number
            )
    if not qrels:
        raise DataError(path, "holds no judgment")
    return qrels


def read_run(path: Path) -> Run:
    """A TREC run (query, Q0, document, rank, score, tag), by score descending; ties keep the order of the file.

    The rank column is not used, as in trec_eval. Raises DataError.
    """
    run: dict[str, dict[str, float]] = {}
    for number, line in lines(path):
        columns = WHITE_SPACE.split(line.strip())
        if len(columns) != 6:
            raise DataError(
                path, f"found {len(columns)} columns (fields are: query, Q0, document, rank, score, tag)", number
            )
        query_id, _, document_id, _, score, _ = columns
        ranking = run.setdefault(query_id, {})
        if document_id in ranking:
            raise DataError(path, f"document {document_id!r} is ranked twice for query {query_id!r}", number)
        ranking[document_id] = finite(score, path, number)
    return {query_id: ranked(ranking) for query_id, ranking in run.items()}


def finite(score: Any, path: Path, line: int | None, where: str = "") -> float:
    """The score as a number. Raises DataError where it is not one."""
    try:
        value = float(score)
    except (TypeError, ValueError, OverflowError):
        value = math.nan
    if not math.isfinite(value):
        raise DataError(path, f"{where}score {score!r} is not a number", line)
    return value


def ranked(scores: Mapping[str, float]) -> list[tuple[str, float]]:
    """Documents with scores, best first; ties keep their order."""
    return sorted(scores.items(), key=lambda pair: -pair[1])

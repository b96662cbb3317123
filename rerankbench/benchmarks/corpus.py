"""Corpora: one held in memory, and one streamed from a file that may be larger than memory."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

from rerankbench.benchmarks.readers import (
    ID_KEYS,
    byte_lines,
    decoded,
    identifier,
    json_object,
    other_fields,
    well_formed,
)
from rerankbench.errors import ConfigError, DataError, nearest
from rerankbench.store import content_hash
from rerankbench.types import Document

log = logging.getLogger("rerankbench")

TEXT_KEYS = ("text", "contents", "content", "segment", "body", "passage")
"""Where collections keep the text of a document; the field `text` means the first of them that is there."""


def text_key(record: Mapping[str, Any]) -> str:
    """The key of a record that the field `text` means."""
    if record.get("text") is not None:
        return "text"
    return next((key for key in TEXT_KEYS if record.get(key) is not None), "text")


def metadata_of(record: Mapping[str, Any], fields: Sequence[str], *taken: str) -> dict[str, Any]:
    """What a record holds besides its title, its text, the `fields` that are joined into the text, and `taken`."""
    return other_fields(record, (*taken, "title", "text", text_key(record), *fields))


def joined_fields(record: Mapping[str, Any], fields: Sequence[str], path: Path | str, line: int | None = None) -> str:
    """The fields of a record in the order asked for, joined by a space as BEIR does; absent ones are skipped."""
    parts = []
    for field in fields:
        value = record.get(text_key(record) if field == "text" else field)
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            value = " ".join(value)
        if isinstance(value, int | float):
            value = str(value)
        if isinstance(value, str):
            parts.append(value.strip())
        elif value is not None:
            raise DataError(path, f"field {field!r} holds {type(value).__name__}, expected text", line)
    return " ".join(part for part in parts if part)


def check_fields(fields: Sequence[str], available: Collection[str], key: str) -> None:
    """Raises ConfigError, with `key`, for a field that no document has; only a title may be missing."""
    names = {*available, "text"} if set(TEXT_KEYS) & set(available) else set(available)
    for field in fields:
        if field not in names and (field != "title" or fields == ("title",)):
            raise ConfigError(key, f"no document has a field {field!r}; {nearest(field, names)}")


class MemoryCorpus:
    """Documents held in memory, in their order."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self._documents = {document.id: document for document in documents}

    def __iter__(self) -> Iterator[Document]:
        return iter(self._documents.values())

    def __len__(self) -> int:
        return len(self._documents)

    def fetch(self, ids: Collection[str]) -> dict[str, Document]:
        """The documents with these ids, as far as they exist."""
        return {document_id: self._documents[document_id] for document_id in ids if document_id in self._documents}

    def fingerprint(self) -> str:
        """A hash of all ids and texts."""
        return content_hash([(document.id, document.text) for document in self])


@dataclass(frozen=True)
class FileCorpus:
    """The documents of a file, plain or gzipped: JSON lines, or a table `id<TAB>text` or `id<TAB>title<TAB>text`.

    Fields that are not in the text become metadata. Only the ids are held in memory, and only while iterating. All
    methods raise DataError for a bad line.
    """

    path: Path
    fields: tuple[str, ...] = ("title", "text")

    def __iter__(self) -> Iterator[Document]:
        seen: dict[str, int] = {}
        repeated = 0
        for number, line in byte_lines(self.path):
            document = self._parse(line, number)
            text_hash = hash(document.text)
            before = seen.get(document.id)
            if before is None:
                seen[document.id] = text_hash
                yield document
            elif before == text_hash:
                repeated += 1
            else:
                first = self._first_line_of(document.id)
                raise DataError(self.path, f"document {document.id!r} has another text in line {first}", number)
        if repeated:
            log.warning("%s: %d repeated documents (same id, same text) were read once", self.path, repeated)

    def fetch(self, ids: Collection[str]) -> dict[str, Document]:
        """The documents with these ids, in the order of the file: one pass that ends with the last of them."""
        wanted = {document_id.encode("utf-8", "surrogatepass") for document_id in ids}
        documents: dict[str, Document] = {}
        for number, line in byte_lines(self.path) if wanted else ():
            leading = self._leading_id.match(line)
            if leading and leading[1] not in wanted:
                continue  # most lines end here, unparsed
            document = self._parse(line, number)
            if document.id.encode() in wanted and document.id not in documents:
                documents[document.id] = document
                if len(documents) == len(wanted):
                    break
        return documents

    def fingerprint(self) -> str:
        """A hash of the bytes of the file and of the fields taken."""
        return content_hash("file", self.sha256, self.fields)

    @cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file as it lies there."""
        return file_sha256(self.path)

    def check(self, key: str) -> None:
        """Read the first documents. Raises ConfigError, with `key`, for a field they lack, DataError for a bad line."""
        if isinstance(self._layout, int):
            names = {"title", "text"} if self._layout == 3 else {"text"}
        else:
            first = islice(byte_lines(self.path), 100)
            names = {name for number, line in first for name in json_object(self.path, line, number)}
        check_fields(self.fields, names - set(ID_KEYS), key)

    @cached_property
    def _layout(self) -> str | int:
        """The key that holds the ids in JSON lines, or the number of columns of a table."""
        first = next(byte_lines(self.path), None)
        if first is None:
            raise DataError(self.path, "holds no document")
        number, line = first
        if not line.lstrip().startswith(b"{"):
            columns = line.count(b"\t") + 1
            if columns not in (2, 3):
                raise DataError(
                    self.path, f"expected JSON, or a table of 2 or 3 columns by tab; found {columns}", number
                )
            return columns
        record = json_object(self.path, line, number)
        key = next((key for key in ID_KEYS if key in record), None)
        if key is None:
            raise DataError(self.path, f"the document has no id (one of {', '.join(ID_KEYS)})", number)
        return key

    @cached_property
    def _leading_id(self) -> re.Pattern[bytes]:
        """Matches a line whose id can be read without parsing the rest of it."""
        if isinstance(self._layout, int):
            return re.compile(rb"([^\t]*)\t")
        return re.compile(rb'\s*\{\s*"' + self._layout.encode() + rb'"\s*:\s*"([^"\\]*)"')

    def _parse(self, line: bytes, number: int) -> Document:
        if isinstance(self._layout, int):
            columns = decoded(self.path, line, number).split("\t")
            if len(columns) != self._layout:
                raise DataError(self.path, f"found {len(columns)} columns, {self._layout} in the first line", number)
            record: dict[str, Any] = {"title": columns[1] if len(columns) == 3 else None, "text": columns[-1]}
            document_id, metadata = columns[0], {}
        else:
            record = json_object(self.path, line, number)
            if self._layout not in record:
                raise DataError(self.path, f"the document has no {self._layout!r}", number)
            document_id, metadata = record[self._layout], metadata_of(record, self.fields, self._layout)
        text = joined_fields(record, self.fields, self.path, number)
        if b"\\u" in line:
            text = well_formed(text)
        return Document(identifier(document_id, self.path, number, "document id"), text, metadata)

    def _first_line_of(self, document_id: str) -> int:
        return next(n for n, line in byte_lines(self.path) if self._parse(line, n).id == document_id)


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex. Raises DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise DataError(path, f"cannot be read ({error.strerror or error})") from None

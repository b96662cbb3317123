"""Benchmarks from files: a folder in BEIR layout, TREC-style files, or candidate lists that carry their texts."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from rerankbench.benchmarks.benchmark import Benchmark, BenchmarkOptions, Corpus, assemble
from rerankbench.benchmarks.candidate_lists import CandidateLists, read_candidate_lists
from rerankbench.benchmarks.corpus import FileCorpus, MemoryCorpus, file_sha256
from rerankbench.benchmarks.readers import read_qrels, read_queries, read_run
from rerankbench.errors import ConfigError, DataError, key_of, nearest
from rerankbench.types import Qrels, Query

log = logging.getLogger("rerankbench")

UNSPACED = re.compile(r"[\u0900-\u097f\u0e00-\u0e7f\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]")
QRELS_SUFFIXES = (".tsv", ".txt", ".qrels")


@dataclass(frozen=True, kw_only=True)
class Local(BenchmarkOptions):
    """Queries, documents and judgments from files, plain or gzipped.

    path: a folder with `corpus.jsonl`, `queries.jsonl` and `qrels/<split>.tsv` (BEIR), or with `qrels/<split>.txt`,
    `qrels.<split>.txt` or `qrels.txt` (TREC; the last is split `test`); or a file of candidate lists with texts.
    corpus_file, queries_file, qrels_file: single files instead, instead of those in `path`; `qrels_file` is
    used whatever the split. candidates_file: a TREC run, or candidate lists with texts (rank_llm, Rankify).
    File names are looked up in the folder `path` first, then in the working directory.
    """

    path: str | None = None
    corpus_file: str | None = None
    queries_file: str | None = None
    qrels_file: str | None = None
    candidates_file: str | None = None

    def load(self) -> Benchmark:
        """Raises ConfigError for a split that does not exist, DataError for a file that cannot be used."""
        folder, candidates_path = self._places()
        files: dict[str, Path] = {}
        lists, run = CandidateLists(), None
        if candidates_path is not None:
            files["candidates"] = candidates_path
            if _is_json(candidates_path):
                lists = read_candidate_lists(candidates_path, self.fields)
                run = lists.run
            else:
                run = read_run(candidates_path)

        qrels = self._qrels(folder, lists, files)
        queries = self._queries(folder, lists, files)
        corpus = self._corpus(folder, lists, files)
        self._check_language(corpus)
        hashes = {
            role: corpus.sha256 if role == "corpus" and isinstance(corpus, FileCorpus) else file_sha256(path)
            for role, path in files.items()
        }
        description: Mapping[str, Any] = {
            "files": {role: str(path) for role, path in files.items()},
            "sha256": hashes,
            "queries_in_file": len(queries),
            "judged_queries": len(qrels),
            "judged_pairs": sum(len(grades) for grades in qrels.values()),
        }
        name = folder.name if folder else (candidates_path or files["corpus"]).name.partition(".")[0]
        return assemble(
            self,
            name=name or "local",
            queries=queries,
            qrels=qrels,
            corpus=corpus,
            candidates=run,
            missing={"repeated_candidates": lists.repeated} if run is not None else {},
            description=description,
        )

    def _places(self) -> tuple[Path | None, Path | None]:
        """The folder and the candidate lists; `path` may be either."""
        if self.path is None:
            if self.corpus_file is None and self.candidates_file is None:
                raise ConfigError(key_of(self, "path"), f"is not set; give a folder, as in {key_of(self, 'path')}=DIR")
            return None, self._file(self.candidates_file, None) if self.candidates_file else None
        path = existing(Path(self.path).expanduser())
        if path.is_dir():
            return path.resolve(), self._file(self.candidates_file, path) if self.candidates_file else None
        if not _is_json(path):
            raise DataError(path, "is neither a folder nor candidate lists (.json, .jsonl)")
        if self.candidates_file is not None:
            raise ConfigError(key_of(self, "candidates_file"), f"{key_of(self, 'path')} names candidate lists already")
        return None, path

    def _file(self, name: str, folder: Path | None) -> Path:
        path = Path(name).expanduser()
        if folder is not None and (folder / path).is_file():
            return folder / path
        if existing(path if folder is None or path.is_file() else folder / path).is_dir():
            raise DataError(path, "is a folder, expected a file")
        return path

    def _named(self, role: str, name: str | None, folder: Path | None, default: str) -> Path | None:
        """The file of a role: the one that an option names, else the usual one of the folder."""
        if name is not None:
            return self._file(name, folder)
        if folder is None:
            return None
        for path in (folder / default, folder / f"{default}.gz"):
            if path.is_file():
                return path
        key = key_of(self, f"{role}_file")
        raise DataError(folder / default, f"no such file, nor .gz; set {key} if it has another name")

    def _qrels(self, folder: Path | None, lists: CandidateLists, files: dict[str, Path]) -> Qrels:
        if self.qrels_file is not None:
            files["qrels"] = self._file(self.qrels_file, folder)
        elif folder is not None:
            splits = splits_of(folder)
            if not splits:
                raise DataError(folder / "qrels", "no judgments; expected qrels/<split>.tsv or qrels.txt")
            if self.split not in splits:
                there = ", ".join(sorted(splits))
                hint = nearest(self.split, splits)
                problem = f"no split {self.split!r} in {folder}; {hint}"
                problem = problem if hint.endswith(there) else f"{problem} (there are: {there})"
                raise ConfigError(key_of(self, "split"), problem)
            files["qrels"] = splits[self.split]
        elif lists.qrels:
            return lists.qrels
        else:
            raise ConfigError(key_of(self, "qrels_file"), "is not set, and nothing else holds judgments")
        return read_qrels(files["qrels"])

    def _queries(self, folder: Path | None, lists: CandidateLists, files: dict[str, Path]) -> list[Query]:
        path = self._named("queries", self.queries_file, folder, "queries.jsonl")
        if path is not None:
            files["queries"] = path
            return read_queries(path)
        if lists.queries:
            return lists.queries
        raise ConfigError(key_of(self, "queries_file"), "is not set, and nothing else holds queries")

    def _corpus(self, folder: Path | None, lists: CandidateLists, files: dict[str, Path]) -> FileCorpus | MemoryCorpus:
        path = self._named("corpus", self.corpus_file, folder, "corpus.jsonl")
        if path is not None:
            files["corpus"] = path
            corpus = FileCorpus(path, tuple(self.fields))
            corpus.check(key_of(self, "fields"))
            return corpus
        if lists.documents:
            return MemoryCorpus(lists.documents.values())
        raise ConfigError(key_of(self, "corpus_file"), "is not set, and nothing else holds texts of documents")

    def _check_language(self, corpus: Corpus) -> None:
        letters = "".join(character for d in islice(corpus, 50) for character in d.text[:1000] if character.isalpha())
        if self.language == "en" and len(UNSPACED.findall(letters)) > len(letters) / 2:
            log.warning("the documents do not look English: set %s", key_of(self, "language"))


def splits_of(folder: Path) -> dict[str, Path]:
    """The judgment files of a folder by split: `qrels/<split>.tsv|txt|qrels`, `qrels.<split>.txt`, `qrels.txt`."""
    splits: dict[str, Path] = {}
    inside = sorted((folder / "qrels").glob("*")) if (folder / "qrels").is_dir() else []
    for path in [*inside, *sorted(folder.glob("qrels*"))]:
        stem = path.name.removesuffix(".gz")
        suffix = Path(stem).suffix
        if not path.is_file() or suffix not in QRELS_SUFFIXES or stem.startswith("."):
            continue
        split = stem.removesuffix(suffix)
        if path.parent == folder:
            split = split.removeprefix("qrels").removeprefix(".") or "test"
        splits.setdefault(split, path)
    return splits


def existing(path: Path) -> Path:
    """The path, if it exists. Raises DataError with the nearest name beside its first part that does not."""
    if path.exists():
        return path
    part = path
    while not part.parent.exists():
        part = part.parent
    there = sorted(child.name for child in part.parent.iterdir()) if part.parent.is_dir() else []
    raise DataError(path, f"no such file or folder; in {part.parent}: {nearest(part.name, there)}")


def _is_json(path: Path) -> bool:
    return path.name.removesuffix(".gz").endswith((".json", ".jsonl"))

"""The embedded benchmark: find the function that a sentence describes, in Python's own standard library."""

from __future__ import annotations

import ast
import hashlib
import inspect
import platform
import re
import sysconfig
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from rerankbench.benchmarks.benchmark import Benchmark, BenchmarkOptions, assemble
from rerankbench.benchmarks.corpus import MemoryCorpus, check_fields, joined_fields
from rerankbench.errors import ConfigError, key_of, nearest
from rerankbench.types import Document, Qrels, Query

SKIPPED = {
    "test", "tests", "idle_test", "idlelib", "turtledemo", "lib2to3", "site-packages", "dist-packages", "__pycache__",
    "antigravity", "this", "ensurepip", "pydoc_data",
}  # fmt: skip
"""Folders and modules that are not the library's public face."""

SPLITS = {"train": range(70), "dev": range(70, 80), "test": range(80, 100)}
"""By the SHA-256 of the query text, modulo 100."""

SENTENCE_END = re.compile(r"(?<!e\.g)(?<!i\.e)(?<!etc)(?<!vs)[.!?](?=\s|$)")
SIGNATURE = re.compile(r"->|^[\w.]+\s*\(")
"""How old docstrings begin that repeat the signature where others summarise."""

MIN_QUERY_WORDS = 4
MIN_TEXT_WORDS = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """A documented module, class or function: its qualified name, signature, summary sentence and the rest."""

    name: str
    signature: str
    summary: str
    rest: str


@dataclass(frozen=True, kw_only=True)
class PyDocs(BenchmarkOptions):
    """Known-item API search, built without a download from the docstrings of the running interpreter.

    Every public module, class and function of the standard library is a document: title = qualified name and
    signature, text = the docstring without its first sentence, which is the query. Dropped are those whose first
    sentence has fewer than 4 words or is a signature, and those whose text has fewer than 20 words. Equal docstrings
    are one document (the first by qualified name); equal sentences are one query with several relevant documents.
    """

    def load(self) -> Benchmark:
        """About a second: the sources are parsed, nothing is imported. Raises ConfigError."""
        if self.split not in SPLITS:
            raise ConfigError(
                key_of(self, "split"), f"pydocs has no split {self.split!r}; {nearest(self.split, SPLITS)}"
            )
        check_fields(tuple(self.fields), ("title", "text"), key_of(self, "fields"))
        entries = standard_library()
        documents = []
        queries: dict[str, Query] = {}
        qrels: Qrels = {}
        for entry in entries:
            record = {"title": entry.name + entry.signature, "text": entry.rest}
            documents.append(Document(entry.name, joined_fields(record, self.fields, "pydocs")))
            query = queries.setdefault(entry.summary, Query(entry.name, entry.summary))
            qrels.setdefault(query.id, {})[entry.name] = 1
        in_split = [query for query in queries.values() if split_of(query.text) == self.split]
        everything = "\0".join(f"{e.name}\0{e.signature}\0{e.summary}\0{e.rest}" for e in entries)
        return assemble(
            self,
            name="pydocs",
            queries=in_split,
            qrels={query.id: qrels[query.id] for query in in_split},
            corpus=MemoryCorpus(documents),
            description={
                "python": platform.python_version(),
                "documents": len(documents),
                "queries": {split: sum(split_of(text) == split for text in queries) for split in SPLITS},
                "sha256": hashlib.sha256(everything.encode()).hexdigest(),
            },
        )


def split_of(query: str) -> str:
    """The split of a query text, the same on every machine."""
    bucket = int(hashlib.sha256(query.encode()).hexdigest(), 16) % 100
    return next(split for split, buckets in SPLITS.items() if bucket in buckets)


@cache
def standard_library() -> tuple[Entry, ...]:
    """The entries that pass the rule of `PyDocs`, by qualified name."""
    entries: dict[str, Entry] = {}
    for module, path in _modules(Path(sysconfig.get_path("stdlib"))):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for sources with old-style escapes
            try:
                tree = ast.parse(path.read_bytes())
            except (SyntaxError, ValueError):  # templates, and samples of what does not parse
                continue
        for entry in _entries(tree, module):
            entries.setdefault(entry.name, entry)
    first: dict[tuple[str, str], Entry] = {}
    for name in sorted(entries):
        entry = entries[name]
        words = len(entry.summary.split()), len(entry.rest.split())
        if words[0] >= MIN_QUERY_WORDS and words[1] >= MIN_TEXT_WORDS and not SIGNATURE.search(entry.summary):
            first.setdefault((entry.summary, entry.rest), entry)
    return tuple(first.values())


def _modules(folder: Path, prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, Path]]:
    """The public modules below the folder, with their dotted names."""
    for path in sorted(folder.iterdir()):
        name = path.stem if path.suffix == ".py" else path.name
        if name == "__init__" and prefix:
            yield ".".join(prefix), path
        elif not name.isidentifier() or name.startswith("_") or name in SKIPPED:
            continue
        elif path.suffix == ".py":
            yield ".".join((*prefix, name)), path
        elif path.is_dir():
            yield from _modules(path, (*prefix, name))


def _entries(node: ast.AST, name: str) -> Iterator[Entry]:
    """The entries of a module, class or function, and of what is public in it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        if docstring := ast.get_docstring(node, clean=False):
            summary, rest = summary_and_rest(docstring)
            yield Entry(name, _signature(node), summary, rest)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            if not child.name.startswith("_"):
                yield from _entries(child, f"{name}.{child.name}")
        elif isinstance(child, ast.If | ast.Try | ast.ExceptHandler):  # what is defined for one platform only
            yield from _entries(child, name)


def _signature(node: ast.AST) -> str:
    """`(a, b=1) -> int`; for a class that of its constructor; nothing for a module."""
    if isinstance(node, ast.ClassDef):
        inits = [n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"]
        return _signature(inits[0]) if inits else ""
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return ""
    arguments = re.sub(r"^(self|cls)(, )?", "", ast.unparse(node.args))
    return f"({arguments})" + (f" -> {ast.unparse(node.returns)}" if node.returns else "")


def summary_and_rest(docstring: str) -> tuple[str, str]:
    """The first sentence of the first paragraph, and what follows it; white space is normalised in both."""
    first, _, others = inspect.cleandoc(docstring).partition("\n\n")
    paragraph = " ".join(first.split())
    end = SENTENCE_END.search(paragraph)
    cut = end.end() if end else len(paragraph)
    return paragraph[:cut].strip(), " ".join(f"{paragraph[cut:]} {others}".split())

"""A million documents on a small machine: time and memory of indexing, searching and using the index again.

Run: python scripts/bench/million.py [--documents 1000000] [--queries 200] [--folder DIR]

Writes a synthetic collection in BEIR layout (about 40 words a document, drawn with a seed from a vocabulary whose
frequencies fall like Zipf's law; each query is four words of one document, which is its relevant one) and runs
`rerankbench eval benchmark=local retriever=bm25 reranker=identity` on it: once with an empty store, once more
unchanged (the first-stage run comes from the store), and once with another retriever.k (the index comes from the
store). Exits 1 if a run fails, if nothing was reused, or if the peak of memory is 4 GB or more.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from time import perf_counter

import numpy as np

VOCABULARY = 300_000
BAR_MB = 4096
RUNS = [("empty store", 100, "index built"), ("again", 100, "first-stage run reused"), ("k=50", 50, "index reused")]
"""Name, retriever.k, and what the log must say."""


def words() -> list[str]:
    """Pronounceable words, all different: three to five syllables, by number."""
    syllables = [consonant + vowel for consonant in "bcdfghjklmnprstvz" for vowel in "aeiou"]
    found = []
    for number in range(VOCABULARY):
        rest, word = number, ""
        while rest or len(word) < 6:
            rest, place = divmod(rest, len(syllables))
            word += syllables[place]
        found.append(word)
    return found


def write_collection(folder: Path, documents: int, queries: int) -> None:
    """`corpus.jsonl`, `queries.jsonl` and `qrels/test.tsv`, the same for the same numbers."""
    draw = np.random.default_rng(0)
    vocabulary = words()
    frequencies = np.cumsum(1 / (np.arange(VOCABULARY) + 2.7))
    asked = set(draw.choice(documents, queries, replace=False).tolist())
    (folder / "qrels").mkdir(parents=True)
    with (
        (folder / "corpus.jsonl").open("w") as corpus,
        (folder / "queries.jsonl").open("w") as query_file,
        (folder / "qrels" / "test.tsv").open("w") as qrels,
    ):
        qrels.write("query-id\tcorpus-id\tscore\n")
        for start in range(0, documents, 10_000):
            lengths = draw.poisson(40, min(10_000, documents - start)) + 4
            drawn = np.searchsorted(frequencies, draw.random(lengths.sum()) * frequencies[-1])
            for i, row in enumerate(np.split(drawn, np.cumsum(lengths)[:-1]), start):
                text = " ".join(vocabulary[word] for word in row)
                corpus.write(json.dumps({"_id": f"d{i}", "title": "", "text": text}) + "\n")
                if i in asked:
                    query = " ".join(vocabulary[word] for word in draw.choice(row, 4, replace=False))
                    query_file.write(json.dumps({"_id": f"q{i}", "text": query}) + "\n")
                    qrels.write(f"q{i}\td{i}\t1\n")


def evaluate(collection: Path, store: Path, run_dir: Path, k: int) -> tuple[int, float, float]:
    """Run `rerankbench eval` in a process of its own: its exit code, wall seconds and peak memory in MiB."""
    command = [str(Path(sys.executable).with_name("rerankbench")), "eval", "benchmark=local", "retriever=bm25"]
    command += ["reranker=identity", "tracking=none", f"benchmark.path={collection}", f"retriever.k={k}"]
    command += [f"store.dir={store}", f"run_dir={run_dir}"]
    began = perf_counter()
    with (run_dir.with_suffix(".out")).open("w") as output:
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)  # unlike RUSAGE_CHILDREN, of this child alone
    seconds = perf_counter() - began
    return os.waitstatus_to_exitcode(status), seconds, usage.ru_maxrss / (1 << 20 if sys.platform == "darwin" else 1024)


def main() -> int:
    """Write the collection, run three times, print a line for each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--folder", type=Path, help="keep everything in this new folder (default: a temporary one)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="million-") as temporary:
        folder: Path = options.folder or Path(temporary)
        began = perf_counter()
        write_collection(folder / "collection", options.documents, options.queries)
        size = (folder / "collection" / "corpus.jsonl").stat().st_size / 1e6
        print(f"{options.documents:,} documents ({size:.0f} MB) written in {perf_counter() - began:.0f} s", flush=True)
        failed = False
        for number, (name, k, expected) in enumerate(RUNS):
            run_dir = folder / f"run{number}"
            code, seconds, peak = evaluate(folder / "collection", folder / "store", run_dir, k)
            if code:
                print(f"{name}: exit code {code}\n{run_dir.with_suffix('.out').read_text()}")
                return 1
            cost = json.loads((run_dir / "cost.json").read_text())
            said = " ".join((run_dir / "log.txt").read_text().replace("(", "").replace(")", "").split())
            happened = next((what for what in ("first-stage run reused", "reused", "built") if what in said), "nothing")
            happened = {"reused": "index reused", "built": "index built"}.get(happened, happened)
            failed |= happened != expected or peak >= BAR_MB
            print(
                f"{name:<12} {seconds:6.1f} s (retrieve {cost['seconds']['retrieve']:.1f} s), peak {peak:.0f} MiB "
                f"(cost.json {cost['peak_memory_mb']:.0f}): {happened}",
                flush=True,
            )
        print("FAILED" if failed else f"peak under {BAR_MB} MiB, store used as it should be")
        return int(failed)


if __name__ == "__main__":
    sys.exit(main())

"""A small collection whose relevance can be learnt: a document is relevant that holds the query's noun."""

from __future__ import annotations

import json
import random
from pathlib import Path

NOUNS = ["cat", "dog", "mat", "garden", "roses", "stock"]
FILLERS = ["the", "a", "of", "red", "black", "fell"]


def save_collection(folder: Path, train: int = 40, dev: int = 12, test: int = 12, seed: int = 0) -> Path:
    """A BEIR folder with so many queries of each split; every query shares fillers with most documents."""
    chance = random.Random(seed)
    (folder / "qrels").mkdir(parents=True)
    documents = []
    for index in range(60):
        words = [NOUNS[index % len(NOUNS)], *chance.choices(FILLERS, k=5)]
        chance.shuffle(words)
        documents.append({"_id": f"d{index}", "title": "", "text": f"{' '.join(words)} ."})
    queries, rows, seen = [], {}, set()
    for split, count in (("train", train), ("dev", dev), ("test", test)):
        rows[split] = ["query-id\tcorpus-id\tscore"]
        made = 0
        while made < count:
            noun = chance.choice(NOUNS)
            text = f"{' '.join(chance.choices(FILLERS, k=3))} {noun}"
            if text in seen:
                continue
            seen.add(text)
            name = f"{split}{made}"
            made += 1
            queries.append({"_id": name, "text": text})
            rows[split] += [f"{name}\t{d['_id']}\t1" for d in documents if noun in d["text"].split()]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(d) + "\n" for d in documents), encoding="utf-8")
    (folder / "queries.jsonl").write_text("".join(json.dumps(q) + "\n" for q in queries), encoding="utf-8")
    for split, lines in rows.items():
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return folder

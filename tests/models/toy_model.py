"""Tiny networks with random weights, saved as transformers saves them, and texts that they can read."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

from rerankbench.models.model import Model
from rerankbench.rerankers.requests import Pointwise
from rerankbench.types import Candidate, Document, Query

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "cat", "dog", "mat", "the", "a", "garden", "of", "roses", "stock", "fell"]
WORDS += ["red", "black", ".", ",", "!"]
LENGTH = 32


def tokenizer(special: bool = True) -> Any:
    """A word-level tokenizer; BERT's special tokens around its texts, or none."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.WordLevel({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    if special:
        backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_max_length=LENGTH,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def save(folder: Path, kind: str = "BertModel", outputs: int = 1, special: bool = True, seed: int = 0) -> str:
    """Save a checkpoint of this transformers class to the folder, and return its path."""
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    torch.manual_seed(seed)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=LENGTH,
        num_labels=outputs,
        initializer_range=0.5,  # so large that texts get clearly different vectors
    )
    getattr(transformers, kind)(config).save_pretrained(folder)
    tokenizer(special).save_pretrained(folder)
    return str(folder)


def on_cpu(path: str, **options: Any) -> Model:
    """The model in float32 on the CPU."""
    return Model(path=path, dtype="float32", device="cpu", **options)


def texts(seed: int, n: int, longest: int = 24) -> list[str]:
    """Random texts, from none to `longest` words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS[4:], k=draw.randint(0, longest))) for _ in range(n)]


def requests(seed: int, n: int) -> list[Pointwise]:
    """Requests of four queries about n documents, short enough to be read whole."""
    queries = [Query(f"q{i}", f"cat {text}") for i, text in enumerate(texts(seed, 4, 4))]
    documents = [Document(f"d{i}", text) for i, text in enumerate(texts(seed + 1, n, 20))]
    return [Pointwise(queries[i % 4], Candidate(document, i, 0.0)) for i, document in enumerate(documents)]

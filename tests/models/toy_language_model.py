"""Tiny language models with random weights and real tokenizers, trained on a few words."""

from __future__ import annotations

import random
from pathlib import Path
from string import ascii_uppercase
from typing import Any

from rerankbench.models.model import Model
from rerankbench.prompt import Prompt

WORDS = ["cat", "dog", "mat", "garden", "of", "roses", "stock", "fell", "red", "black", "the", "a", "question",
         "Passage", "Query", "Answer", "relevant", "what", "is"]  # fmt: skip
LABELS = ["Yes", "No", "yes", "no", "true", "false", "Passage", *ascii_uppercase]
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<pad>", "<|im_start|>", "<|im_end|>"]
CONTEXT = 256

YES_NO = Prompt(
    messages=[{"role": "user", "content": "Passage: {{ document }}\n\nQuery: {{ query }}\n\nRelevant?"}],
    labels=["Yes", "No"],
    plain_start="\nAnswer:",
)
PAIR = Prompt(
    messages=[{"content": 'Query "{{ query }}" A: "{{ documents[0].text }}" B: "{{ documents[1].text }}"'}],
    start="Passage",
    labels=["A", "B"],
    label_style="letters",
)
LIST = Prompt(
    messages=[
        {"content": "{{ query }}\n{% for d in documents %}[{{ d.label }}] {{ d.text }}\n{% endfor %}Best first."}
    ],
    start="[",
    label_style="letters",
)
QUESTION = Prompt(messages=[{"content": "Passage: {{ document }}"}], plain_start="\nQuestion:")

MONOT5 = Prompt(
    messages=[{"content": "Query: {{ query }} Document: {{ document }} Relevant:"}], raw=True, labels=["true", "false"]
)


def _corpus() -> list[str]:
    draw = random.Random(0)
    words = [*WORDS, *LABELS, "Passage:", "Query:"]
    return [" ".join(draw.choices(words, k=12)) for _ in range(400)] + LABELS * 50


def bpe(sentencepiece: bool = False) -> Any:
    """Byte-level BPE as GPT-2's, or BPE that marks the beginnings of words as Llama 2's; with ChatML's tokens."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    backend = Tokenizer(models.BPE(unk_token="<pad>" if sentencepiece else None, byte_fallback=sentencepiece))
    alphabet = []
    if sentencepiece:
        backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
        backend.pre_tokenizer = pre_tokenizers.Split("▁", "merged_with_next")
        backend.decoder = decoders.Metaspace()
        alphabet = [*"▁\n:.?\"'[]()<>|/0123456789", *map(chr, range(65, 91)), *map(chr, range(97, 123))]
    else:
        digits = pre_tokenizers.Digits(individual_digits=True)
        backend.pre_tokenizer = pre_tokenizers.Sequence([digits, pre_tokenizers.ByteLevel(add_prefix_space=False)])
        backend.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=500, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    backend.train_from_iterator(_corpus(), trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token="<pad>",
        eos_token="<|im_end|>",
        additional_special_tokens=["<|im_start|>"],
        model_max_length=CONTEXT,
    )


def unigram() -> Any:
    """A Unigram tokenizer as T5's, which puts </s> behind a text."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    words = [(f"▁{word}", -2.0) for word in (*WORDS, *LABELS)]
    letters = [(chr(i), -6.0) for i in range(33, 127)]
    pieces = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", -20.0), ("▁", -4.0), *dict(words).items(), *letters]
    backend = Tokenizer(models.Unigram(pieces, unk_id=2))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Metaspace()
    backend.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, pad_token="<pad>", eos_token="</s>", unk_token="<unk>", model_max_length=CONTEXT
    )


def save_llama(folder: Path, chat: bool = True, sentencepiece: bool = False, **config: Any) -> str:
    """Save a Llama of two layers and its tokenizer; the path."""
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    tokenizer = bpe(sentencepiece)
    tokenizer.chat_template = CHATML if chat else None
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    options = {"num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "initializer_range": 0.3, **config}
    ends = {"pad_token_id": 0, "bos_token_id": None, "eos_token_id": tokenizer.eos_token_id}
    network = transformers.LlamaForCausalLM(
        transformers.LlamaConfig(vocab_size=len(tokenizer), **sizes, **options, **ends)
    )
    # What a checkpoint may say of generation, and what a greedy answer must not follow.
    network.generation_config.update(repetition_penalty=1.5, no_repeat_ngram_size=2)
    network.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def save_t5(folder: Path) -> str:
    """Save a T5 of two layers and its tokenizer; the path."""
    import torch
    import transformers

    transformers.logging.disable_progress_bar()
    torch.manual_seed(0)
    tokenizer = unigram()
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
    ends = {"pad_token_id": 0, "eos_token_id": 1, "decoder_start_token_id": 0}
    config = transformers.T5Config(vocab_size=len(tokenizer), **sizes, **ends)
    transformers.T5ForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def on_cpu(path: str, **options: Any) -> Model:
    """The model in float32 on the CPU."""
    import torch

    torch.set_num_threads(1)  # so small that threads only wait for one another
    return Model(path=path, dtype="float32", device="cpu", **options)


def texts(seed: int, n: int, longest: int = 24) -> list[str]:
    """Random texts, from none to `longest` words."""
    draw = random.Random(seed)
    return [" ".join(draw.choices(WORDS, k=draw.randint(0, longest))) for _ in range(n)]

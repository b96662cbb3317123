"""Tiny networks and a training loop as a stage runs it: backward, hook, optimiser, hook."""

from __future__ import annotations

from typing import Any

import torch

KINDS = ["bert", "bert_score", "llama", "llama_score"]


def network(kind: str, seed: int = 0) -> Any:
    """A random network without dropout: an encoder or a causal model, with or without a scoring head."""
    import transformers

    torch.manual_seed(seed)
    if kind.startswith("bert"):
        config: Any = transformers.BertConfig(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=32,
            num_labels=1,
            initializer_range=0.3,
            hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0,
        )
    else:
        config = transformers.LlamaConfig(
            vocab_size=40,
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            intermediate_size=24,
            max_position_embeddings=32,
            num_labels=1,
            initializer_range=0.3,
            pad_token_id=0,
        )
    classes = {
        "bert": "BertModel",
        "bert_score": "BertForSequenceClassification",
        "bert_words": "BertForMaskedLM",
        "llama": "LlamaForCausalLM",
        "llama_score": "LlamaForSequenceClassification",
    }
    net = getattr(transformers, classes[kind])(config).eval()
    if kind == "bert_words":  # the same base as under the scoring head
        net.bert.load_state_dict(network("bert_score", seed).bert.state_dict(), strict=False)
    return net


def batch(seed: int = 0) -> dict[str, torch.Tensor]:
    """Four inputs of eleven tokens; in BERT's terms, a text of five and one of six."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(1, 40, (4, 11), generator=generator)
    return {"input_ids": ids, "attention_mask": torch.ones_like(ids)}


def outputs(net: Any, seed: int = 0, **more: Any) -> torch.Tensor:
    """The logits, or the hidden states where there are none."""
    output = net(**batch(seed), **more)
    values: torch.Tensor = output.logits if hasattr(output, "logits") else output.last_hidden_state
    return values


def optimizer_of(applied: Any, learning_rate: float = 0.05, weight_decay: float = 0.1) -> Any:
    """What the stage trains with."""
    trained = [p for p in applied.network.parameters() if p.requires_grad]
    return applied.optimizer(learning_rate, weight_decay) or torch.optim.AdamW(
        trained, lr=learning_rate, weight_decay=weight_decay
    )


def train(applied: Any, optimizer: Any, steps: range, total: int) -> None:
    """Train towards arbitrary outputs, another batch in each step."""
    for step in steps:
        backward(applied.network, optimizer, step)
        applied.before_step(optimizer, step, total)
        optimizer.step()
        applied.after_step(optimizer, step, total)


def backward(net: Any, optimizer: Any, step: int) -> None:
    """Gradients of a loss that depends on all parameters in use."""
    optimizer.zero_grad()
    values = outputs(net, seed=step + 100)
    weights = torch.linspace(-1, 1, values.numel()).view_as(values)
    (values.sin() * weights).sum().backward()


def values(net: Any) -> dict[str, torch.Tensor]:
    """A copy of all parameters."""
    return {name: parameter.detach().clone() for name, parameter in net.named_parameters()}


def changed(net: Any, before: dict[str, torch.Tensor]) -> set[str]:
    """The parameters that are not bitwise what they were."""
    return {name for name, parameter in net.named_parameters() if not torch.equal(parameter, before[name])}

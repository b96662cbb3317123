"""Generation as a function of the weights alone: the likeliest token, each time."""

from __future__ import annotations

from typing import Any


def only_greedy(network: Any) -> Any:
    """The network without its checkpoint's sampling, penalties and beams; which tokens begin and end a text remain.

    Qwen2.5, say, ships with a penalty on repetitions, which an order such as `[3] > [1] > [2]` is full of.
    """
    from transformers import GenerationConfig

    kept = ("bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id")
    own = network.generation_config
    network.generation_config = GenerationConfig(do_sample=False, **{name: getattr(own, name, None) for name in kept})
    return network

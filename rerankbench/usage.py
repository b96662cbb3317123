"""What answering requests cost: passes of networks, and tokens."""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass
class Usage:
    """What answering cost so far. Tokens are those the network read, special tokens included, padding apart."""

    forward_passes: int = 0
    prompt_tokens: int = 0
    padded_tokens: int = 0
    generated_tokens: int = 0
    truncated_inputs: int = 0
    reused_tokens: int = 0
    """Tokens of prompts that were not read again: a shared prefix was cached. They are part of `prompt_tokens`."""

    def as_dict(self) -> dict[str, int]:
        """The counts by name."""
        return asdict(self)

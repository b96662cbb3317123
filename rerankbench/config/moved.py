"""What earlier versions called by other names: targets that moved and keys that were renamed."""

from __future__ import annotations

RENAMED_KEYS = {"recompute": "activation_checkpointing", "below": "base_adapters"}


def renamed(place: str) -> str:
    """A dotted key with its parts as they are called now."""
    return ".".join(RENAMED_KEYS.get(part, part) for part in place.split("."))

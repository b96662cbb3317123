"""Saving a trained network for others to load."""

from __future__ import annotations

from pathlib import Path
from typing import Any


def save_network(network: Any, tokenizer: Any, folder: Path) -> None:
    """Weights, configuration and tokenizer, as transformers reads them; adapters have files of their own."""
    weights = {name: t for name, t in network.state_dict().items() if ".adapters." not in f".{name}"}
    network.save_pretrained(folder, state_dict=weights)
    tokenizer.save_pretrained(folder)

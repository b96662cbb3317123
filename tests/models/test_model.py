"""Which network, and how it runs: where it lies, its device, its format, its identity."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.models.encoders.embedder import Embedder
from rerankbench.models.model import Model
from tests.models.toy_model import on_cpu, save


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return Path(save(tmp_path_factory.mktemp("bert")))


@pytest.fixture
def copy(saved: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(saved, tmp_path / "copy"))


def test_a_path_is_a_folder_a_run_folder_or_a_hub_id(tmp_path: Path) -> None:
    (tmp_path / "run" / "checkpoint").mkdir(parents=True)
    assert Model(path=str(tmp_path)).location == str(tmp_path)
    assert Model(path=str(tmp_path / "run")).location == str(tmp_path / "run" / "checkpoint")
    assert Model(path="owner/name").location == "owner/name"
    for missing in (str(tmp_path / "missing"), "./missing", "~/missing-folder", "a/b/c"):
        with pytest.raises(ConfigError, match=r"^path: no such folder"):
            Model(path=missing).location  # noqa: B018


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({}, "path"),
        ({"path": "x", "max_length": 4}, "max_length"),
        ({"path": "x", "batch_tokens": 0}, "batch_tokens"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], key: str) -> None:
    with pytest.raises(ConfigError, match=rf"^model\.{key}: "):
        build(check({"_target_": Model, **options}, "model"), "model")


def test_the_fingerprint_is_of_weights_format_and_length_not_of_the_place(saved: Path, copy: Path) -> None:
    first = on_cpu(str(saved)).fingerprint
    assert on_cpu(str(copy), batch_tokens=64).fingerprint == first
    assert on_cpu(str(saved), max_length=16).fingerprint != first
    assert Model(path=str(saved), dtype="bfloat16", device="cpu").fingerprint != first
    weights = bytearray((copy / "model.safetensors").read_bytes())
    weights[-1] ^= 1
    (copy / "model.safetensors").write_bytes(weights)
    assert on_cpu(str(copy)).fingerprint != first


def test_device_and_format_are_what_was_asked_for(saved: Path) -> None:
    import torch

    model = Model(path=str(saved), dtype="bfloat16", device="cpu")
    assert Embedder(model).encoder.network.dtype == model.torch_dtype == torch.bfloat16
    assert Embedder(model).embed(["cat"]).dtype == torch.float32
    assert Model(path="x", device="cpu").torch_dtype in (torch.float32, torch.bfloat16)
    assert (Model(path="x", device="cpu").tokens_per_batch, Model(path="x", batch_tokens=99).tokens_per_batch) == (
        2048,
        99,
    )


@pytest.mark.parametrize("device", ["nonsense", "cuda:99"])
def test_a_device_that_is_not_there_is_refused(device: str) -> None:
    with pytest.raises(ConfigError, match=r"^device: [^\n]+$"):
        Model(path="x", device=device).torch_device  # noqa: B018


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("model.safetensors", b"no weights at all"),
        ("config.json", b'{"model_type": "nonsense"}'),
        ("tokenizer.json", b"{}"),
        ("model.safetensors", None),
        ("config.json", None),
    ],
)
def test_a_damaged_checkpoint_is_a_mistake_in_one_line(file: str, content: bytes | None, copy: Path) -> None:
    (copy / file).unlink()
    if content is not None:
        (copy / file).write_bytes(content)
    with pytest.raises(ConfigError, match=rf"^path: cannot load '{copy}': [^\n]+$"):
        Embedder(on_cpu(str(copy))).embed(["cat"])


def test_pickled_weights_are_not_loaded(copy: Path) -> None:
    import torch
    from safetensors.torch import load_file

    torch.save(load_file(copy / "model.safetensors"), copy / "pytorch_model.bin")
    (copy / "model.safetensors").unlink()
    with pytest.raises(ConfigError, match=r"model\.safetensors"):
        Embedder(on_cpu(str(copy))).embed(["cat"])


def test_a_length_beyond_the_learned_positions_is_refused(saved: Path) -> None:
    with pytest.raises(ConfigError, match=r"^max_length: .* at most 32 tokens"):
        Embedder(on_cpu(str(saved), max_length=64)).embed(["cat"])


def test_the_fingerprint_is_of_pickled_weights_and_code_too(saved: Path, copy: Path) -> None:
    first = on_cpu(str(saved)).fingerprint
    for name in ("pytorch_model.bin", "modeling_own.py"):
        (copy / name).write_bytes(b"1")
        second = on_cpu(str(copy)).fingerprint
        (copy / name).write_bytes(b"2")
        assert len({first, second, on_cpu(str(copy)).fingerprint}) == 3
        (copy / name).unlink()

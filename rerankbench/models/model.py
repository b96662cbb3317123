"""Which network, and how it runs: path, hub id or wheel; device and number format."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from rerankbench.errors import ConfigError, key_of
from rerankbench.models.wheel import Wheel
from rerankbench.store import content_hash

if TYPE_CHECKING:
    import torch

_LOADING = threading.RLock()
"""transformers changes torch's default number format, for all threads, while it loads a network."""


@dataclass(frozen=True, kw_only=True)
class Model:
    """A network by name; nothing is loaded before it is needed.

    path: a folder, a hub id, or a run folder with a `checkpoint/`; it precedes `wheel`. revision: of a hub id.
    dtype: `auto` is bfloat16 on CUDA and on CPUs with bf16 matrix instructions, else float32. device: `auto` is CUDA
    where there is one. max_length: tokens an input may have; null asks the checkpoint. batch_tokens: padded tokens in
    a batch; null chooses by device (small batches stay in a CPU's cache, large ones fill a GPU). adapters: folders of
    adapters, applied in this order (see `models/adapters/`); null applies those of the checkpoint.
    """

    path: str | None = None
    revision: str | None = None
    wheel: Wheel | None = None
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    device: str = "auto"
    max_length: Annotated[int, Ge(8)] | None = None
    batch_tokens: Annotated[int, Ge(8)] | None = None
    trust_remote_code: bool = False
    adapters: Sequence[str | Sequence[str]] | None = None

    def __post_init__(self) -> None:
        if self.path is None and self.wheel is None:
            raise ConfigError("path", "must name a folder, a hub id or a run folder")

    @functools.cached_property
    def location(self) -> str:
        """A local folder, or a hub id for transformers to resolve."""
        if self.path is None:
            assert self.wheel is not None
            return str(self.wheel.folder())
        folder = Path(self.path).expanduser()
        if (folder / "checkpoint").is_dir():
            return str(folder / "checkpoint")
        if not folder.is_dir() and (
            folder.is_absolute() or self.path.startswith((".", "~")) or self.path.count("/") > 1
        ):
            raise ConfigError(key_of(self, "path"), f"no such folder: {self.path}")
        return str(folder) if folder.is_dir() else self.path

    def load(self, load: Callable[..., Any], **arguments: Any) -> Any:
        """Call a `from_pretrained` with this model's source; its failure becomes a ConfigError that says what to do."""
        from safetensors import SafetensorError

        try:
            with _LOADING:
                source = {"revision": self.revision, "trust_remote_code": self.trust_remote_code}
                return load(self.location, **source, **arguments)
        except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
            first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise ConfigError(key_of(self, "path"), f"cannot load {self.location!r}: {first}") from error

    @functools.cached_property
    def config(self) -> Any:
        """The checkpoint's configuration."""
        from transformers import AutoConfig

        return self.load(AutoConfig.from_pretrained)

    @property
    def context(self) -> int | None:
        """Tokens that the network can attend to, as the checkpoint states it."""
        stated = getattr(self.config.get_text_config(), "max_position_embeddings", None)
        return int(stated) if stated else None

    @functools.cached_property
    def torch_device(self) -> torch.device:
        """The device that `device` means on this machine."""
        import torch

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        try:
            torch.empty(0, device=self.device)
            return torch.device(self.device)
        except (RuntimeError, AssertionError) as error:  # no such device, or a torch built without it
            raise ConfigError(key_of(self, "device"), str(error).splitlines()[0]) from error

    @functools.cached_property
    def torch_dtype(self) -> torch.dtype:
        """The number format that `dtype` means on this machine."""
        import torch

        if self.dtype != "auto":
            return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[self.dtype]
        if self.torch_device.type == "cuda":
            return torch.bfloat16 if torch.cuda.is_bf16_supported() else torch.float16
        return torch.bfloat16 if self.torch_device.type == "cpu" and _cpu_has_bf16() else torch.float32

    @property
    def tokens_per_batch(self) -> int:
        """Padded tokens in a batch: as configured, else 2,048 on a CPU and 65,536 on an accelerator."""
        return self.batch_tokens or (2048 if self.torch_device.type == "cpu" else 65536)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of the weights and of the number format: equal models give equal answers."""
        folder = Path(self.location)
        # Of a hub model the commit that was resolved: another upload under the same name is another model.
        commit = None if folder.is_dir() else getattr(self.config, "_commit_hash", None)
        source = _folder_hash(folder) if folder.is_dir() else [self.location, commit or self.revision]
        added = [_folder_hash(Path(path).expanduser()) for path in _flat(self.adapters or ())]
        given = [] if self.adapters is None else [self.adapters, added]
        return content_hash(source, str(self.torch_dtype), self.torch_device.type, self.max_length, *given)

    def applied_adapters(self) -> Sequence[str | Sequence[str]]:
        """The folders of adapters to apply: as configured, else those of the checkpoint, in their order."""
        if self.adapters is not None:
            return self.adapters
        return sorted(str(folder) for folder in (Path(self.location) / "adapters").glob("*/"))

    def described(self) -> dict[str, str]:
        """What the record of a run holds about the network."""
        location = self.path or (self.wheel.requirement if self.wheel else "")
        return {
            "location": location,
            "fingerprint": self.fingerprint,
            "dtype": str(self.torch_dtype),
            "device": str(self.torch_device),
        }


def _cpu_has_bf16() -> bool:
    """Whether bf16 matrix products are faster than fp32 here: AMX, or AVX512-BF16; emulation is many times slower."""
    import torch

    try:
        return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
    except AttributeError:  # private functions: a torch without them runs in float32
        return False


def _flat(paths: Sequence[str | Sequence[str]]) -> list[str]:
    return [path for item in paths for path in ([item] if isinstance(item, str) else item)]


_DECIDING = {".json", ".safetensors", ".bin", ".txt", ".model", ".jinja", ".py"}


def _folder_hash(folder: Path) -> str:
    """SHA-256 over the files that decide the answers.

    Of files over 1 GiB only the size, the time of their last change, and the first and last MiB.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.suffix not in _DECIDING or not file.is_file():
            continue
        size = file.stat().st_size
        digest.update(f"{file.relative_to(folder)} {size}".encode())
        with file.open("rb") as stream:
            if size > 1 << 30:
                digest.update(f"{file.stat().st_mtime_ns}".encode())  # a few tuned layers may lie in between
                digest.update(stream.read(1 << 20))
                stream.seek(-(1 << 20), 2)
            digest.update(stream.read(1 << 20) if size > 1 << 30 else stream.read())
    return digest.hexdigest()

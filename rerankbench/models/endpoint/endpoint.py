"""A model behind an HTTP API: where it is, what it is called, and how it is asked. It stands wherever a model does."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from rerankbench.errors import ConfigError
from rerankbench.store import content_hash

if TYPE_CHECKING:
    from rerankbench.models.endpoint.client import Client
    from rerankbench.models.endpoint.token_counts import TokenEnds
    from rerankbench.models.lm.language_model import LanguageModel
    from rerankbench.usage import Usage

_VARIABLE = re.compile(r"[A-Z][A-Z0-9]*(_[A-Z0-9]+)+")


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """An endpoint by its base address; nothing is asked before it is needed.

    name: the model's id there. api_key_env: the name of the environment variable that holds the key, which is nowhere
    else; null for none. context: tokens that a prompt and its answer may have together; null: documents are not cut.
    tokenizer: a folder or hub id by whose tokens documents are cut; null estimates. timeout: seconds to wait for an
    answer. retries: further tries after a failure that may pass. concurrency: requests under way at a time.
    top_logprobs: how many likely tokens are asked for; a label that is not among them is unknown. prefill: the server
    continues a forced start of the answer (vLLM); else the prompt asks for it. completions: the server has
    /completions with `echo` and `logprobs`, by which it can score a given text. extra_body: added to every request;
    a null takes a key out.
    """

    url: str
    name: str
    api_key_env: str | None = None
    context: int | None = None
    tokenizer: str | None = None
    timeout: float = 120.0
    retries: int = 4
    concurrency: int = 8
    top_logprobs: int = 20
    prefill: bool = False
    completions: bool = False
    extra_body: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise ConfigError("url", f"is no address: {error}") from error
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ConfigError("url", "must hold no user, password or query; the key goes by model.api_key_env")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("url", f"must be like http://localhost:8000/v1, got {self.url!r}")
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            # What was given may be the key itself: it is not repeated.
            problem = "must be the name of an environment variable, such as OPENAI_API_KEY; never the key itself"
            raise ConfigError("api_key_env", problem)
        for key, low in (("context", 8), ("retries", 0), ("concurrency", 1), ("top_logprobs", 1)):
            value = getattr(self, key)
            if value is not None and value < low:
                raise ConfigError(f"{key}", f"must be at least {low}, got {value}")
        if self.timeout <= 0:
            raise ConfigError("timeout", f"must be more than 0 seconds, got {self.timeout}")
        object.__setattr__(self, "url", self.url.rstrip("/"))

    @functools.cached_property
    def client(self) -> Client:
        """What sends the requests."""
        from rerankbench.models.endpoint.client import Client

        return Client(self)

    @functools.cached_property
    def token_ends(self) -> TokenEnds:
        """Where the tokens of a text end, by the tokenizer or by estimate."""
        from rerankbench.models.endpoint.token_counts import estimated_ends, exact_ends

        return exact_ends(self.tokenizer) if self.tokenizer else estimated_ends

    def body(self, **own: Any) -> dict[str, Any]:
        """The body of a request: the model, what is asked, and `extra_body`."""
        whole = {"model": self.name, **own, **(self.extra_body or {})}
        return {key: value for key, value in whole.items() if value is not None}

    def language_model(self, usage: Usage) -> LanguageModel:
        """The endpoint as a language model."""
        from rerankbench.models.endpoint.language_model import HttpLM

        return HttpLM(self, usage)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of what the answers depend on: place, model and options. Weights behind an API cannot be hashed."""
        parts = urlsplit(self.url)
        options = (self.context, self.tokenizer, self.top_logprobs, self.prefill, self.completions)
        return content_hash("endpoint", parts.netloc, parts.path, self.name, options, dict(self.extra_body or {}))

    def described(self) -> dict[str, str]:
        """What the record says of the model."""
        return {"location": self.url, "name": self.name, "fingerprint": self.fingerprint, "device": "endpoint"}

    def load(self, *_: Any, **__: Any) -> NoReturn:
        """Raises ConfigError: there are no weights here."""
        raise ConfigError("model", f"{self.url} only answers questions, and this needs the network itself: model=path")

"""A model behind an HTTP API: its address, its name and how requests are made. It can be used wherever a model can."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NoReturn
from urllib.parse import urlsplit

from annotated_types import Ge, Gt

from rerankbench.errors import ConfigError, key_of
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

    name: the model's id there. api_key_env: the name of the environment variable that holds the key, which is stored
    nowhere else; null for none. context: tokens of a prompt and its answer together; null: documents are not cut.
    tokenizer: a folder or hub id by whose tokens documents are cut; null estimates. timeout: seconds to wait for an
    answer. retries: further tries after a failure that may pass. concurrency: requests sent at the same time.
    top_logprobs: how many likely tokens are requested; a label that is not among them is unknown. prefill: the server
    continues a forced start of the answer (vLLM); else the prompt asks for it. completions: the server has
    /completions with `echo` and `logprobs`, by which it can score a given text. extra_body: added to every request;
    a null removes a key.
    """

    url: str
    name: str
    api_key_env: str | None = None
    context: Annotated[int, Ge(8)] | None = None
    tokenizer: str | None = None
    timeout: Annotated[float, Gt(0)] = 120.0
    retries: Annotated[int, Ge(0)] = 4
    concurrency: Annotated[int, Ge(1)] = 8
    top_logprobs: Annotated[int, Ge(1)] = 20
    prefill: bool = False
    completions: bool = False
    extra_body: Mapping[str, Any] | None = field(default_factory=dict)

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.url)
            _ = parts.port
        except ValueError as error:
            raise ConfigError("url", f"is no address: {error}") from error
        if parts.username is not None or parts.password is not None or parts.query or parts.fragment:
            raise ConfigError("url", "must hold no user, password or query; api_key_env names the key's variable")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError("url", f"must be like http://localhost:8000/v1, got {self.url!r}")
        if self.api_key_env is not None and not _VARIABLE.fullmatch(self.api_key_env):
            # What was given may be the key itself: it is not repeated.
            problem = "must be the name of an environment variable, such as OPENAI_API_KEY; never the key itself"
            raise ConfigError("api_key_env", problem)
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

        return exact_ends(self.tokenizer, key_of(self, "tokenizer")) if self.tokenizer else estimated_ends

    def body(self, **options: Any) -> dict[str, Any]:
        """The body of a request: the model, the options of this request, and `extra_body`."""
        body = {"model": self.name, **options, **(self.extra_body or {})}
        return {key: value for key, value in body.items() if value is not None}

    def language_model(self, usage: Usage) -> LanguageModel:
        """The endpoint as a language model."""
        from rerankbench.models.endpoint.language_model import EndpointLM

        return EndpointLM(self, usage)

    @functools.cached_property
    def fingerprint(self) -> str:
        """A hash of what the answers depend on: address, model and options. Weights behind an API cannot be hashed."""
        parts = urlsplit(self.url)
        options = (self.context, self.tokenizer, self.top_logprobs, self.prefill, self.completions)
        return content_hash("endpoint", parts.netloc, parts.path, self.name, options, dict(self.extra_body or {}))

    def described(self) -> dict[str, str]:
        """The model's entry in the record of a run."""
        return {"location": self.url, "name": self.name, "fingerprint": self.fingerprint, "device": "endpoint"}

    def load(self, *_: Any, **__: Any) -> NoReturn:
        """Raises ConfigError: there are no weights here."""
        raise ConfigError(
            key_of(self, ""), f"{self.url} only answers requests, this needs the network itself: model=path"
        )

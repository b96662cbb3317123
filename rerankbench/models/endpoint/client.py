"""JSON over HTTP: several requests side by side, tried again where that can help, and one clear line where it cannot.

The key is read from the environment for each request and goes into its header, nowhere else: no message and no record
shows a header, and no redirect is followed, which could carry the key to another host.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import random
import threading
import urllib.request
from collections.abc import Callable, Sequence
from email.utils import parsedate_to_datetime
from time import time
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

from rerankbench.errors import ConfigError
from rerankbench.models.endpoint.endpoint import Endpoint

FIRST_WAIT = 0.5
"""Seconds before the second try; they double with each try, up to LONGEST_WAIT."""
LONGEST_WAIT = 60.0
LONGEST_ASKED_WAIT = 600.0
"""Seconds that a server may ask to wait (Retry-After); one that asks for more has refused."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


class _TryAgainError(Exception):
    """Worth another try: `why`, in words, and the seconds that the server asks to wait, if it does."""

    def __init__(self, why: str, wait: float | None = None) -> None:
        super().__init__(why)
        self.wait = wait


class Client:
    """Sends requests to an endpoint, at most its `concurrency` at a time, each at most 1 + `retries` times."""

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._understood = False
        handlers: list[Any] = [_NoRedirect()]
        host = urlsplit(endpoint.url).hostname or ""
        if host in ("localhost", "::1") or host.startswith("127."):
            handlers.append(urllib.request.ProxyHandler({}))  # a proxy could not reach this machine's own servers
        self._opener = urllib.request.build_opener(*handlers)

    def post_all(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """The JSON answers to the bodies, in their order; None for one that could not be read, time after time.

        Raises ConfigError where the endpoint refuses, does not answer, or never answered in JSON.
        """
        answers = side_by_side(lambda body, stopped: self._post(path, body, stopped), bodies, self.endpoint.concurrency)
        self._understood = self._understood or any(answer is not None for answer in answers)
        if bodies and not self._understood:
            raise ConfigError(
                "model.url", f"{self.endpoint.url}/{path} answers, but not in JSON; is it the base address?"
            )
        return answers

    def models(self) -> list[str] | None:
        """The names of the models the endpoint offers, or None where it does not tell."""
        try:
            listed = self._send("models", None)["data"]
            return sorted(str(model["id"]) for model in listed)
        except (_TryAgainError, HTTPError, TypeError, KeyError):
            return None

    def _post(self, path: str, body: dict[str, Any], stopped: threading.Event) -> Any:
        data = json.dumps(body).encode()
        for attempt in range(self.endpoint.retries + 1):
            try:
                return self._send(path, data)
            except HTTPError as error:
                raise self._refusal(error, path) from None
            except _TryAgainError as again:
                wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) if again.wait is None else again.wait
                why = str(again)
                if wait > LONGEST_ASKED_WAIT:
                    raise ConfigError("model.url", f"the endpoint asks to wait {wait:.0f} seconds ({why})") from None
            if attempt < self.endpoint.retries and stopped.wait(wait * random.uniform(1.0, 1.25)):
                break
        if why == UNREADABLE:
            return None
        raise ConfigError(
            "model.url",
            f"no answer from {self.endpoint.url} after {self.endpoint.retries + 1} tries ({why}); "
            "finished answers are kept, the same command goes on from there",
        )

    def _send(self, path: str, data: bytes | None) -> Any:
        """One request. Raises _TryAgainError, or HTTPError for what trying again cannot mend."""
        request = urllib.request.Request(f"{self.endpoint.url}/{path}", data, {"Content-Type": "application/json"})
        if key := self._key():
            request.add_unredirected_header("Authorization", f"Bearer {key}")
        try:
            with self._opener.open(request, timeout=self.endpoint.timeout) as response:
                content = response.read()
        except HTTPError as error:
            if error.code in (408, 425, 429) or (error.code >= 500 and error.code != 501):
                wait = _asked_wait(error.headers.get("Retry-After"))
                error.close()
                raise _TryAgainError(f"{error.code} {error.reason}", wait) from None
            raise
        except http.client.IncompleteRead:
            raise _TryAgainError(UNREADABLE) from None
        except (OSError, http.client.HTTPException) as error:
            reason = error.reason if isinstance(error, URLError) else error
            raise _TryAgainError("timed out" if isinstance(reason, TimeoutError) else str(reason)) from None
        try:
            return json.loads(content)
        except ValueError:
            raise _TryAgainError(UNREADABLE) from None

    def _key(self) -> str:
        name = self.endpoint.api_key_env
        if name is None:
            return ""
        key = os.environ.get(name, "").strip()
        if not key:
            raise ConfigError("model.api_key_env", f"the environment variable {name} is not set")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise ConfigError(
                "model.api_key_env", f"the environment variable {name} holds no key: it has odd characters"
            )
        return key

    def _refusal(self, error: HTTPError, path: str) -> ConfigError:
        said = self._message(error)
        if error.code in (401, 403):
            if self.endpoint.api_key_env is None:
                problem = f"the endpoint wants a key ({error.code}); name the environment variable that holds it"
            else:
                problem = f"the endpoint refused the key in {self.endpoint.api_key_env} ({error.code})"
            return ConfigError("model.api_key_env", problem)
        name = self.endpoint.name
        if error.code == 404 and (models := self.models()) is not None and name not in models:
            offers = ", ".join(models[:20]) + (", …" if len(models) > 20 else "")
            return ConfigError("model.name", f"the endpoint has no model {name!r}; it offers: {offers or 'none'}")
        if error.code == 404 or 300 <= error.code < 400:
            problem = f"{self.endpoint.url}/{path} is not there ({error.code}); is it the base address?"
            return ConfigError("model.url", f"{problem} {said}".strip())
        key = "model.context" if "context" in said.lower() else "model"
        return ConfigError(key, f"the endpoint refused the request ({error.code}): {said or error.reason}")

    def _message(self, error: HTTPError) -> str:
        """What the endpoint says is wrong: one line, without the key, should it be so careless as to repeat it."""
        try:
            text = error.read(10_000).decode(errors="replace")
        except (OSError, http.client.HTTPException):
            return ""
        try:
            found = json.loads(text)
            while isinstance(found, dict):
                found = next((found[name] for name in ("error", "message", "detail") if name in found), "")
            text = str(found)
        except ValueError:
            pass
        line = "".join(c if c.isprintable() else " " for c in text).strip()
        key = self._key()
        return (line.replace(key, "***") if key else line)[:300]


UNREADABLE = "the answer cannot be read"


def _asked_wait(retry_after: str | None) -> float | None:
    """Seconds to wait, from a Retry-After header: a number or a date."""
    if retry_after is None:
        return None
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time())
    except ValueError:
        return None


def side_by_side(work: Callable[[Any, threading.Event], Any], items: Sequence[Any], threads: int) -> list[Any]:
    """What `work` returns for each item, in their order; the first exception ends it all.

    The threads are daemons, so that an interrupt need not wait for the network. `work` is given an event that is set
    when the results are no longer wanted.
    """
    waiting: queue.SimpleQueue[int] = queue.SimpleQueue()
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    stopped = threading.Event()
    for place in range(len(items)):
        waiting.put(place)

    def run() -> None:
        while not stopped.is_set():
            try:
                place = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                done.put((place, work(items[place], stopped), None))
            except BaseException as error:  # raised again where it is waited for
                done.put((place, None, error))

    for _ in range(min(threads, len(items))):
        threading.Thread(target=run, daemon=True).start()
    results: list[Any] = [None] * len(items)
    try:
        for _ in items:
            place, result, error = done.get()
            if error is not None:
                raise error
            results[place] = result
    finally:
        stopped.set()
    return results

"""JSON over HTTP: several requests at a time, retried where that can help, and one clear line where it cannot.

The key is read from the environment for each request and goes into its header, nowhere else: no message and no record
shows a header, and no redirect is followed, which could carry the key to another host.
"""

from __future__ import annotations

import json
import os
import queue
import random
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from http.client import IncompleteRead
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from urllib3 import BaseHTTPResponse, PoolManager, ProxyManager, Retry, make_headers
from urllib3.exceptions import HTTPError, InvalidHeader, NewConnectionError, TimeoutError
from urllib3.util import parse_url

from rerankbench.errors import ConfigError, key_of

if TYPE_CHECKING:
    from rerankbench.models.endpoint.endpoint import Endpoint

FIRST_WAIT = 0.5
"""Seconds before the second try; they double with each try, up to LONGEST_WAIT."""
LONGEST_WAIT = 60.0
LONGEST_REQUESTED_WAIT = 600.0
"""Seconds that a server may ask to wait (Retry-After); one that asks for more has refused."""
UNREADABLE = "the answer cannot be read"


class _RetryableError(Exception):
    """Worth another try: the reason in words, and the seconds that the server asks to wait, if it does."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class Client:
    """Sends requests to an endpoint, at most its `concurrency` at a time, each at most 1 + `retries` times.

    Connections are kept open and used again. urllib3's own retries are off: they cannot retry an unreadable body and
    sleep on after an interrupt.
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self._understood = False
        self._pool = _pool(endpoint)

    def post_all(self, path: str, bodies: Sequence[dict[str, Any]]) -> list[Any]:
        """The JSON answers to the bodies, in their order; None for one that stayed unreadable after all tries.

        Raises ConfigError where the endpoint refuses, does not answer, or never answered in JSON.
        """
        answers = run_concurrently(lambda body, stop: self._post(path, body, stop), bodies, self.endpoint.concurrency)
        self._understood = self._understood or any(answer is not None for answer in answers)
        if bodies and not self._understood:
            raise self._error("url", f"{self._url(path)} answers, but not in JSON; is it the base address?")
        return answers

    def models(self) -> list[str] | None:
        """The names of the models the endpoint offers, or None where it does not list them."""
        try:
            listed = _json(self._send("models", None))["data"]
            return sorted(str(model["id"]) for model in listed)
        except (_RetryableError, TypeError, KeyError):
            return None

    def _post(self, path: str, body: dict[str, Any], stop: threading.Event) -> Any:
        data = json.dumps(body).encode()
        for attempt in range(self.endpoint.retries + 1):
            try:
                response = self._send(path, data)
                if response.status >= 300:
                    self._refuse(response, path)
                return _json(response)
            except _RetryableError as error:
                reason = str(error)
                wait = min(LONGEST_WAIT, FIRST_WAIT * 2**attempt) if error.wait is None else error.wait
                if wait > LONGEST_REQUESTED_WAIT:
                    raise self._error("url", f"the endpoint asks to wait {wait:.0f} seconds ({reason})") from None
            if attempt < self.endpoint.retries and stop.wait(wait * random.uniform(1.0, 1.25)):
                break
        if reason == UNREADABLE:
            return None
        raise self._error(
            "url",
            f"no answer from {self.endpoint.url} after {self.endpoint.retries + 1} tries ({reason}); "
            "finished answers are stored, the same command resumes from there",
        )

    def _send(self, path: str, data: bytes | None) -> BaseHTTPResponse:
        """One request; the response with its body read. Raises _RetryableError."""
        headers = {"Content-Type": "application/json"}
        if key := self._key():
            headers["Authorization"] = f"Bearer {key}"
        options: dict[str, Any] = {"timeout": self.endpoint.timeout, "redirect": False, "retries": False}
        method = "GET" if data is None else "POST"
        try:
            response = self._pool.request(method, self._url(path), body=data, headers=headers, **options)
        except HTTPError as error:
            raise _RetryableError(_reason(error)) from None
        if response.status in (408, 425, 429) or (response.status >= 500 and response.status != 501):
            wait = _requested_wait(response.headers.get("Retry-After"))
            raise _RetryableError(f"{response.status} {response.reason}", wait)
        return response

    def _url(self, path: str) -> str:
        return f"{self.endpoint.url}/{path}"

    def _error(self, field: str, problem: str) -> ConfigError:
        return ConfigError(key_of(self.endpoint, field), problem)

    def _key(self) -> str:
        name = self.endpoint.api_key_env
        if name is None:
            return ""
        key = os.environ.get(name, "").strip()
        if not key:
            raise self._error("api_key_env", f"the environment variable {name} is not set")
        if not (key.isascii() and key.isprintable()) or " " in key:
            raise self._error("api_key_env", f"the environment variable {name} holds no key: it has odd characters")
        return key

    def _refuse(self, response: BaseHTTPResponse, path: str) -> NoReturn:
        """Raises ConfigError for a response that trying again cannot mend."""
        status, message, name = response.status, self._message(response), self.endpoint.name
        if status in (401, 403):
            if self.endpoint.api_key_env is None:
                problem = f"the endpoint wants a key ({status}); name the environment variable that holds it"
            else:
                problem = f"the endpoint refused the key in {self.endpoint.api_key_env} ({status})"
            raise self._error("api_key_env", problem)
        if status == 404 and (models := self.models()) is not None and name not in models:
            offers = ", ".join(models[:20]) + (", …" if len(models) > 20 else "")
            raise self._error("name", f"the endpoint has no model {name!r}; it offers: {offers or 'none'}")
        if status == 404 or status < 400:
            problem = f"{self._url(path)} is not there ({status}); is it the base address?"
            raise self._error("url", f"{problem} {message}".strip())
        field = "context" if "context" in message.lower() else ""
        raise self._error(field, f"the endpoint refused the request ({status}): {message or response.reason}")

    def _message(self, response: BaseHTTPResponse) -> str:
        """The endpoint's own error message: one line, without the key, should it be so careless as to repeat it."""
        text = response.data[:10_000].decode(errors="replace")
        with suppress(ValueError):
            found = json.loads(text)
            while isinstance(found, dict):
                found = next((found[name] for name in ("error", "message", "detail") if name in found), "")
            text = str(found)
        line = "".join(c if c.isprintable() else " " for c in text).strip()
        key = self._key()
        return (line.replace(key, "***") if key else line)[:300]


def _pool(endpoint: Endpoint) -> PoolManager:
    """Connections to the endpoint, through the environment's proxy unless that could not reach it."""
    options: dict[str, Any] = {"num_pools": 1, "maxsize": endpoint.concurrency, "block": True}
    parts = urlsplit(endpoint.url)
    host = parts.hostname or ""
    proxy = getproxies().get(parts.scheme)
    # A proxy could not reach this machine's own servers.
    if not proxy or host in ("localhost", "::1") or host.startswith("127.") or proxy_bypass(host):
        return PoolManager(**options)
    address = parse_url(proxy if "://" in proxy else f"http://{proxy}")
    headers = make_headers(proxy_basic_auth=unquote(address.auth)) if address.auth else None
    return ProxyManager(address._replace(auth=None).url, proxy_headers=headers, **options)


def _json(response: BaseHTTPResponse) -> Any:
    try:
        return json.loads(response.data)
    except ValueError:
        raise _RetryableError(UNREADABLE) from None


def _reason(error: HTTPError) -> str:
    """What went wrong on the way, in the system's words."""
    if isinstance(error, TimeoutError) and not isinstance(error, NewConnectionError):
        return "timed out"
    causes = [error.__cause__, *(arg for arg in error.args if isinstance(arg, Exception)), error]
    cause = next(cause for cause in causes if cause is not None)
    return UNREADABLE if isinstance(cause, IncompleteRead) else str(cause)


def _requested_wait(retry_after: str | None) -> float | None:
    """Seconds to wait, from a Retry-After header: a number or a date; None where it is missing or neither."""
    if retry_after is None:
        return None
    with suppress(ValueError):
        return max(0.0, float(retry_after))
    with suppress(InvalidHeader):
        return Retry().parse_retry_after(retry_after)
    return None


def run_concurrently(work: Callable[[Any, threading.Event], Any], items: Sequence[Any], threads: int) -> list[Any]:
    """What `work` returns for each item, in their order; the first exception stops all of it.

    The threads are daemons, so that an interrupt need not wait for the network. `work` is given an event that is set
    when the results are no longer wanted.
    """
    waiting = deque(enumerate(items))
    done: queue.SimpleQueue[tuple[int, Any, BaseException | None]] = queue.SimpleQueue()
    stop = threading.Event()

    def run() -> None:
        with suppress(IndexError):  # nothing is waiting any more
            while not stop.is_set():
                index, item = waiting.popleft()
                try:
                    done.put((index, work(item, stop), None))
                except BaseException as error:  # raised again in the thread that waits
                    done.put((index, None, error))

    for _ in range(min(threads, len(items))):
        threading.Thread(target=run, daemon=True).start()
    results: list[Any] = [None] * len(items)
    try:
        for _ in items:
            index, result, error = done.get()
            if error is not None:
                raise error
            results[index] = result
    finally:
        stop.set()
    return results

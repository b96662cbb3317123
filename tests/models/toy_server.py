"""A small HTTP server that behaves like the APIs of vLLM, Cohere and TEI, and misbehaves when told to."""

from __future__ import annotations

import json
import math
import re
import threading
import time
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from rerankbench.models.endpoint.endpoint import Endpoint

KEY = "sk-very-secret-4711"
MODEL = "toy"


class ToyServer:
    """Serves on 127.0.0.1 from entering to leaving.

    trouble: what happens to the next requests, one after the other: a status, (status, headers, text), "close", "cut",
    "malformed", "html", or None for a good answer. delay: seconds that every answer takes. key: the one it asks for.
    connections: how many were opened to it.
    """

    def __init__(self) -> None:
        self.trouble: deque[Any] = deque()
        self.delay = 0.0
        self.key: str | None = None
        self.log_probabilities = True
        self.seen: list[tuple[str, dict[str, str], Any]] = []
        self.busy = self.busiest = self.connections = 0
        self.lock = threading.Lock()

    def __enter__(self) -> ToyServer:
        self.server = _QuietServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"toy": self}))
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: Any) -> None:
        self.server.shutdown()
        self.server.server_close()

    def endpoint(self, **options: Any) -> Endpoint:
        """A configuration that points here."""
        return Endpoint(**{"url": self.url, "name": MODEL, "timeout": 5.0, "retries": 2, "context": 4096, **options})

    def bodies(self) -> list[Any]:
        """What was posted."""
        return [body for _, _, body in self.seen if body is not None]


def overlap(query: str, document: str) -> int:
    """Words in common."""
    return len({*query.lower().split()} & {*document.lower().split()})


class _QuietServer(ThreadingHTTPServer):
    def handle_error(self, *_: Any) -> None:
        pass  # a client that went away


class _Handler(BaseHTTPRequestHandler):
    toy: ToyServer
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self) -> None:
        super().setup()
        with self.toy.lock:
            self.toy.connections += 1

    def log_message(self, *_: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._handle(None)

    def do_POST(self) -> None:
        self._handle(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

    def _handle(self, body: Any) -> None:
        toy = self.toy
        with toy.lock:
            toy.seen.append((self.path, dict(self.headers), body))
            toy.busy += 1
            toy.busiest = max(toy.busiest, toy.busy)
            trouble = toy.trouble.popleft() if toy.trouble and body is not None else None
        time.sleep(toy.delay)
        with toy.lock:
            toy.busy -= 1
        if trouble == "close":
            self.close_connection = True
        elif trouble in ("cut", "malformed", "html"):
            text = {"cut": '{"choices": [', "malformed": '{"choices": [{"mess', "html": "<html>hello</html>"}[trouble]
            self._send(200, text, claimed=1000 if trouble == "cut" else None)
            self.close_connection = trouble == "cut"
        elif trouble is not None:
            status, headers, text = trouble if isinstance(trouble, tuple) else (trouble, {}, '{"error": "trouble"}')
            self._send(status, text, headers)
        elif toy.key is not None and self.headers.get("Authorization") != f"Bearer {toy.key}":
            self._send(401, json.dumps({"error": {"message": f"wrong key {self.headers.get('Authorization')}"}}))
        else:
            self._answer(body)

    def _answer(self, body: Any) -> None:
        path = self.path.removeprefix("/v1/")
        if path == "models":
            return self._send(200, json.dumps({"object": "list", "data": [{"id": MODEL}, {"id": "other"}]}))
        routes = {"chat/completions": _chat, "completions": _completions, "rerank": _rerank}
        if path not in routes:
            return self._send(404, '{"detail": "Not Found"}')
        if body.get("model") != MODEL:
            return self._send(404, json.dumps({"error": {"message": f"no model {body.get('model')}"}}))
        answer = routes[path](body)
        if not self.toy.log_probabilities:
            answer["choices"][0].pop("logprobs", None)
        return self._send(200, json.dumps(answer))

    def _send(self, status: int, text: str, headers: dict[str, str] | None = None, claimed: int | None = None) -> None:
        content = text.encode()
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(claimed or len(content)))
        self.end_headers()
        self.wfile.write(content)


def _chat(body: dict[str, Any]) -> dict[str, Any]:
    """Continues the forced start, or writes it where it was asked for; then Yes or No by words in common."""
    messages = body["messages"]
    prompt = next(m["content"] for m in reversed(messages) if m["role"] == "user")
    asked = re.search(r"Begin your answer with: (.*)", prompt)
    tokens = re.findall(r"\s*\S+", asked[1]) if asked else []
    shared = _shared(prompt)
    likely = {" Yes": -1.0 / (1 + shared), "Yes": -5.0, "No": math.log(0.3)} if shared else {"No": -0.1, "Nope": -3.0}
    answer = " Yes" if shared else "No"
    own = [*tokens, answer, f" to {len(prompt)}"][: body["max_tokens"]]
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": "".join(own)}, "finish_reason": "stop"}
    if body.get("logprobs"):
        top = [{"token": token, "logprob": score} for token, score in likely.items()][: body["top_logprobs"]]
        content = [
            {
                "token": token,
                "logprob": -0.1,
                "top_logprobs": top if token == answer else [{"token": token, "logprob": 0}],
            }
            for token in own
        ]
        choice["logprobs"] = {"content": content}
    cached = {"cached_tokens": 3}
    usage = {"prompt_tokens": len(prompt.split()), "completion_tokens": len(own), "prompt_tokens_details": cached}
    draws = [{**choice, "message": {"content": f"{''.join(own)} ({i})"}} for i in range(1, body.get("n") or 1)]
    return {"choices": [choice, *draws], "usage": usage}


def _shared(prompt: str) -> int:
    found = re.search(r"Passage: (.*)\n\nQuery: (.*)", prompt)
    return overlap(found[2], found[1]) if found else 1


def _completions(body: dict[str, Any]) -> dict[str, Any]:
    """A token a word, each with the log-probability -1/length; a beginning-of-text token, as vLLM echoes it."""
    prompt = ["<s>", *re.findall(r"\s*\S+", body["prompt"])]
    tokens = [*(prompt if body.get("echo") else []), " true"]
    scores = [None if t == "<s>" else -1.0 / len(t.strip()) for t in tokens]
    likely = [{" true": -0.2, " false": -2.0} if t == " true" else None for t in tokens]
    told = {"tokens": tokens, "token_logprobs": scores, "top_logprobs": likely, "text_offset": [0] * len(tokens)}
    choice = {"text": " true", "finish_reason": "length", "logprobs": told if body.get("logprobs") else None}
    return {"choices": [choice], "usage": {"prompt_tokens": len(prompt), "completion_tokens": 1}}


def _rerank(body: dict[str, Any]) -> Any:
    """Best first, so the order of the results is not the order of the documents."""
    documents = body.get("texts") or body["documents"]
    scores = [overlap(body["query"], text) + i / 1000 for i, text in enumerate(documents)]
    order = sorted(range(len(documents)), key=lambda i: -scores[i])
    if "texts" in body:
        return [{"index": i, "score": scores[i]} for i in order]
    results = [{"index": i, "relevance_score": scores[i]} for i in order[: body["top_n"]] if documents[i] != "lost"]
    return {"results": results, "usage": {"total_tokens": sum(len(text.split()) for text in documents)}}

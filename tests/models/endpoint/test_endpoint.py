"""Endpoints: what their configuration accepts, and what becomes of requests when servers and keys misbehave."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from rerankbench.config.build import build
from rerankbench.config.check import check
from rerankbench.errors import ConfigError
from rerankbench.models.endpoint import client as http_client
from rerankbench.models.endpoint.endpoint import Endpoint
from tests.models.toy_server import KEY, ToyServer


@pytest.fixture
def server() -> Iterator[ToyServer]:
    with ToyServer() as toy:
        yield toy


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_client, "FIRST_WAIT", 0.01)


def ask(endpoint: Endpoint, n: int = 1) -> list[str]:
    bodies = [endpoint.body(messages=[{"role": "user", "content": "x" * i}], max_tokens=9) for i in range(n)]
    answers = endpoint.client.post_all("chat/completions", bodies)
    return ["" if answer is None else answer["choices"][0]["message"]["content"] for answer in answers]


def configured(**options: object) -> Endpoint:
    """The endpoint that a configuration describes, under the key `model`."""
    target = "rerankbench.models.endpoint.endpoint.Endpoint"
    node = {"_target_": target, "url": "http://host/v1", "name": "m", **options}
    endpoint = build(check(node, "model"), "model")
    assert isinstance(endpoint, Endpoint)
    return endpoint


def said(i: int) -> str:
    return f" Yes to {i}"


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"url": "localhost:8000"}, "url"),
        ({"url": "ftp://host/v1"}, "url"),
        ({"url": "http://[::1"}, "url"),
        ({"url": "http://host:port/v1"}, "url"),
        ({"url": "https://me:hunter2@host/v1"}, "url"),
        ({"url": "https://host/v1?api_key=hunter2"}, "url"),
        ({"api_key_env": "sk-hunter2"}, "api_key_env"),
        ({"api_key_env": "hunter2hunter2hunter2"}, "api_key_env"),
        ({"timeout": 0.0}, "timeout"),
        ({"retries": -1}, "retries"),
        ({"concurrency": 0}, "concurrency"),
        ({"top_logprobs": 0}, "top_logprobs"),
        ({"context": 1}, "context"),
    ],
)
def test_a_wrong_configuration_is_refused_without_repeating_a_secret(options: dict[str, object], key: str) -> None:
    with pytest.raises(ConfigError) as refused:
        configured(**options)
    assert refused.value.key == f"model.{key}"
    assert "hunter2" not in str(refused.value)


def test_nothing_is_needed_or_imported_before_the_first_question() -> None:
    code = (
        "import sys\n"
        "from rerankbench.models.model import Model\n"
        "from rerankbench.usage import Usage\n"
        "from rerankbench.rerankers.scorers.bi_encoder import BiEncoder\n"
        "BiEncoder(model=Model(path='x'))\n"
        "assert not [name for name in sys.modules if name.startswith(('rerankbench.models.endpoint', 'urllib3'))]\n"
        "from rerankbench.models.endpoint.endpoint import Endpoint\n"
        "one = Endpoint(url='http://127.0.0.1:9/v1', name='m', api_key_env='ABSENT_KEY')\n"
        "one.fingerprint, one.described(), one.language_model(Usage())\n"
        "assert not {'torch', 'transformers', 'urllib3', 'openai'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], env={}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_fingerprint_is_of_what_the_answers_depend_on() -> None:
    def of(**options: object) -> str:
        return Endpoint(**{"url": "http://host/v1", "name": "m", **options}).fingerprint  # type: ignore[arg-type]

    same = [of(), of(url="http://host/v1/"), of(api_key_env="MY_KEY"), of(timeout=1.0, retries=0, concurrency=1)]
    assert len(set(same)) == 1
    others = [of(url="http://other/v1"), of(name="n"), of(context=99), of(prefill=True), of(extra_body={"seed": 1})]
    assert len({*same, *others}) == 1 + len(others)


def test_extra_keys_join_the_body_and_a_null_takes_one_out() -> None:
    endpoint = Endpoint(url="http://host/v1", name="m", extra_body={"seed": 1, "temperature": None})
    assert endpoint.body(temperature=0, stop=None, n=1) == {"model": "m", "n": 1, "seed": 1}


def test_who_needs_weights_is_told_that_there_are_none() -> None:
    with pytest.raises(ConfigError, match="model=path"):
        Endpoint(url="http://host/v1", name="m").load(print)


def test_answers_come_in_the_order_asked_and_no_more_are_under_way_than_allowed(server: ToyServer) -> None:
    server.delay = 0.02
    assert ask(server.endpoint(concurrency=3), 20) == [said(i) for i in range(20)]
    assert 2 <= server.busiest <= 3


def test_connections_are_used_again(server: ToyServer) -> None:
    endpoint = server.endpoint(concurrency=4)
    assert ask(endpoint, 200) == [said(i) for i in range(200)]
    assert server.connections <= 4
    server.trouble.extend([503, "malformed", (429, {"Retry-After": "0"}, "")])
    ask(endpoint, 20)
    assert server.connections <= 4


def test_a_closed_connection_is_replaced(server: ToyServer) -> None:
    endpoint = server.endpoint(concurrency=1, retries=0)
    server.trouble.append((200, {"Connection": "close"}, '{"choices": [{"message": {"content": "last"}}]}'))
    assert ask(endpoint) == ["last"]
    assert ask(endpoint) == [said(0)]
    assert server.connections == 2


def test_an_interrupt_does_not_wait_for_the_server(server: ToyServer) -> None:
    code = (
        "import signal, sys, threading\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # which a background job ignores
        "from rerankbench.models.endpoint.endpoint import Endpoint\n"
        "main = threading.main_thread().ident\n"
        "client = Endpoint(url=sys.argv[1], name='toy', timeout=60.0).client\n"
        "try:\n"
        "    threading.Timer(0.5, signal.pthread_kill, (main, signal.SIGINT)).start()\n"
        "    client.post_all('chat/completions', [{}] * 9)\n"
        "except KeyboardInterrupt:\n"
        "    print('interrupted')\n"
    )
    server.delay = 30.0
    began = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code, server.url], capture_output=True, text=True, check=True)
    assert done.stdout == "interrupted\n"
    assert time.perf_counter() - began < 15


def test_a_proxy_is_used_but_not_for_this_machine(server: ToyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "http://me:pass%40word@127.0.0.1:9")
    assert ask(server.endpoint()) == [said(0)]
    monkeypatch.setenv("http_proxy", server.url.replace("http://", "http://me:pass%40word@").removesuffix("/v1"))
    with pytest.raises(ConfigError, match=r"http://host\.invalid/v1/chat/completions is not there"):
        ask(server.endpoint(url="http://host.invalid/v1"))
    path, headers, _ = server.seen[-1]
    assert (path, headers["proxy-authorization"]) == ("http://host.invalid/v1/models", "Basic bWU6cGFzc0B3b3Jk")
    monkeypatch.setenv("no_proxy", "invalid")
    with pytest.raises(ConfigError, match="no answer"):
        ask(server.endpoint(url="http://host.invalid/v1", retries=0))


def test_what_may_pass_is_tried_again(server: ToyServer) -> None:
    server.trouble.extend([500, "close"])
    assert ask(server.endpoint(concurrency=1)) == [said(0)]
    server.trouble.extend(["malformed", "cut"])
    assert ask(server.endpoint(concurrency=1)) == [said(0)]
    assert len(server.seen) == 6


@pytest.mark.parametrize("as_date", [False, True])
def test_a_server_that_asks_to_wait_is_given_the_time(server: ToyServer, as_date: bool) -> None:
    wait = format_datetime(datetime.now(UTC) + timedelta(seconds=2), usegmt=True) if as_date else "0.5"
    server.trouble.append((429, {"Retry-After": wait}, "slow down"))
    began = time.perf_counter()
    assert ask(server.endpoint()) == [said(0)]
    assert time.perf_counter() - began > 0.45


def test_a_server_that_asks_to_wait_for_an_hour_has_refused(server: ToyServer) -> None:
    server.trouble.append((429, {"Retry-After": "3600"}, "come back later"))
    with pytest.raises(ConfigError, match="wait 3600 seconds"):
        ask(server.endpoint())


def test_tries_are_bounded_and_the_end_is_one_line(server: ToyServer) -> None:
    server.trouble.extend([503] * 10)
    with pytest.raises(ConfigError, match=r"url: no answer .* after 3 tries \(503 Service Unavailable\)"):
        ask(server.endpoint(concurrency=1))
    assert len(server.seen) == 3


def test_a_slow_server_times_out_and_a_dead_one_is_named(server: ToyServer) -> None:
    server.delay = 0.6
    with pytest.raises(ConfigError, match=r"after 2 tries \(timed out\)"):
        ask(server.endpoint(timeout=0.15, retries=1))
    with pytest.raises(ConfigError, match="refused"):
        ask(Endpoint(url="http://127.0.0.1:9/v1", name="m", retries=0))


def test_an_answer_that_stays_unreadable_is_a_failure_but_nothing_else_is_an_error(server: ToyServer) -> None:
    server.trouble.extend([None, "malformed", None])
    assert ask(server.endpoint(concurrency=1, retries=0), 3) == [said(0), "", said(2)]
    server.trouble.extend(["html"] * 4)
    with pytest.raises(ConfigError, match="not in JSON"):
        ask(server.endpoint(retries=0), 4)


def test_a_refusal_is_not_tried_again_and_ends_the_rest(server: ToyServer) -> None:
    server.trouble.extend([(400, {}, '{"error": {"message": "at most 99 tokens of context"}}')] * 50)
    with pytest.raises(ConfigError, match=r"context: .*refused the request \(400\): at most 99 tokens"):
        ask(server.endpoint(concurrency=2), 50)
    time.sleep(0.1)
    assert len(server.seen) <= 6


def test_an_unknown_model_is_answered_with_those_there_are(server: ToyServer) -> None:
    with pytest.raises(ConfigError, match=r"name: the endpoint has no model 'gone'; it offers: other, toy"):
        ask(server.endpoint(name="gone"))


def test_a_wrong_address_is_named(server: ToyServer) -> None:
    with pytest.raises(ConfigError, match=r"url: .*/v2/chat/completions is not there \(404\)"):
        ask(server.endpoint(url=server.url.replace("/v1", "/v2")))


def test_the_key_is_sent_and_a_wrong_one_is_not_shown(server: ToyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    server.key = KEY
    endpoint = server.endpoint(api_key_env="TOY_KEY")
    monkeypatch.setenv("TOY_KEY", f"{KEY}\n")
    assert ask(endpoint) == [said(0)]
    assert KEY not in repr((endpoint, vars(endpoint), vars(endpoint.client)))
    for wrong, match in (
        ("sk-wrong", r"refused the key in TOY_KEY \(401\)"),
        ("sk-wro\nng", "odd characters"),
        ("", "not set"),
    ):
        monkeypatch.setenv("TOY_KEY", wrong)
        with pytest.raises(ConfigError, match=match) as refused:
            ask(endpoint)
        assert refused.value.key == "api_key_env"
        assert not wrong or wrong not in str(refused.value)
        assert refused.value.__cause__ is None
    with pytest.raises(ConfigError, match="wants a key"):
        ask(server.endpoint())


def test_a_server_that_repeats_the_key_is_not_quoted(server: ToyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    server.trouble.append((400, {}, f"bad\x1b[31m request by {KEY}"))
    with pytest.raises(ConfigError) as refused:
        ask(server.endpoint(api_key_env="TOY_KEY"))
    assert str(refused.value).endswith("bad [31m request by ***")


def test_the_key_does_not_follow_a_redirect(server: ToyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOY_KEY", KEY)
    with ToyServer() as elsewhere:
        server.trouble.append((307, {"Location": f"{elsewhere.url}/chat/completions"}, ""))
        with pytest.raises(ConfigError, match="307"):
            ask(server.endpoint(api_key_env="TOY_KEY"))
        assert not elsewhere.seen


def test_threads_end_when_their_results_are_not_wanted() -> None:
    before = threading.active_count()

    def work(item: int, stopped: threading.Event) -> int:
        if item == 0:
            raise KeyError("first")
        stopped.wait(10)
        return item

    with pytest.raises(KeyError):
        http_client.run_concurrently(work, list(range(100)), 8)
    until = time.perf_counter() + 5
    while threading.active_count() > before and time.perf_counter() < until:
        time.sleep(0.01)
    assert threading.active_count() <= before

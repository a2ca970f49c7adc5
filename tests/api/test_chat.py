"""Models and chat completions (acceptance 16, 17, 18)."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

import httpx
import openai
import pytest

from postil.api import choir
from postil.errors import EngineError
from postil.serve import Request
from tests.api.served import BASE, Served, pump, refused

HI: Any = [{"role": "user", "content": "Hi"}]


def body(**more: Any) -> dict[str, Any]:
    return {"model": BASE, "messages": HI, **more}


def until(holds: Callable[[], bool]) -> None:
    for _ in range(500):
        if holds():
            return
        threading.Event().wait(0.02)
    raise AssertionError("it did not come true")


def test_models_are_listed_shown_and_deleted(server: Served, client: openai.OpenAI, key: str) -> None:
    name = server.model(key)
    assert {model.id for model in client.models.list()} == {BASE, name}
    assert client.models.retrieve(name).owned_by.startswith("org-")
    assert client.models.retrieve(BASE).id == BASE
    with pytest.raises(openai.PermissionDeniedError) as raised:
        client.models.delete(BASE)
    assert raised.value.code == "base_not_deletable"
    assert client.models.delete(name).deleted
    with pytest.raises(openai.NotFoundError) as missing:
        client.chat.completions.create(model=name, messages=HI)
    assert missing.value.code == "model_not_found"


def test_16_a_slash_in_a_name_comes_raw_or_encoded(server: Served, http: httpx.Client, key: str) -> None:
    name = server.model(key, name="ft:org/base:local::abc")
    assert http.get(f"/models/{name}").json()["id"] == name
    assert http.get("/models/ft:org%2Fbase:local::abc").json()["id"] == name
    refused(http.get("/models/ft:org%252Fbase:local::abc"), 404, "model_not_found")
    assert http.delete("/models/ft:org%2Fbase:local::abc").json()["deleted"] is True


def test_a_whole_answer(server: Served, client: openai.OpenAI, key: str) -> None:
    name = server.model(key)
    answer = client.chat.completions.create(
        model=name, messages=[{"role": "developer", "content": "Be brief"}, *HI], n=2, seed=5, max_completion_tokens=7,
        max_tokens=9, temperature=0.5, top_p=0.9, stop="END", presence_penalty=1, logit_bias={"5": -100}, user="u",
        metadata={"a": "b"}, store=False, service_tier="auto", logprobs=True, top_logprobs=1,
        extra_body={"chat_template_kwargs": {"enable_thinking": True}},
    )  # fmt: skip
    assert [choice.message.content for choice in answer.choices] == ["Hello there"] * 2
    assert answer.choices[0].finish_reason == "stop"
    assert answer.choices[0].logprobs
    assert answer.choices[0].logprobs.content
    assert answer.choices[0].logprobs.content[0].top_logprobs[0].token == "Hello"
    assert answer.usage
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    asked = server.engines[-1].asked[-2:]
    assert {one.seed for one in asked} == {5, 6}
    one = asked[0]
    assert (one.messages[0].role, one.max_tokens, one.temperature, one.stop) == ("system", 7, 0.5, ("END",))
    assert (one.logit_bias, one.thinking, one.logprobs) == ({5: -100.0}, True, 1)
    assert one.adapter
    assert (one.adapter / "adapter_config.json").exists()


def test_17_a_stream(client: openai.OpenAI) -> None:
    chunks = list(client.chat.completions.create(**body(), stream=True))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == "Hello there"
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert len({chunk.id for chunk in chunks}) == 1


def test_17_a_stream_with_usage(client: openai.OpenAI) -> None:
    options: Any = {"include_usage": True}
    chunks = list(client.chat.completions.create(**body(n=2), stream=True, stream_options=options))
    assert chunks[-1].choices == []
    assert chunks[-1].usage
    assert chunks[-1].usage.completion_tokens > 0
    assert all(chunk.usage is None for chunk in chunks[:-1])


def test_17_how_a_stream_is_framed(http: httpx.Client) -> None:
    with http.stream("POST", "/chat/completions", json=body(stream=True)) as answer:
        assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-accel-buffering"] == "no"
        assert answer.headers["transfer-encoding"] == "chunked"
        lines = [line for line in answer.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"
    assert all(json.loads(line[6:])["object"] == "chat.completion.chunk" for line in lines[:-1])


def test_17_pings_while_nothing_is_said(server: Served, http: httpx.Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choir, "PING_SECONDS", 0.05)
    go = threading.Event()
    server.gate = lambda request: None if go.wait(5) else pytest.fail()
    with http.stream("POST", "/chat/completions", json=body(stream=True)) as answer:
        lines = []
        for line in answer.iter_lines():
            lines.append(line)
            if line == ": ping":
                go.set()
    assert ": ping" in lines
    assert "data: [DONE]" in lines


def _breaks_after(pieces: int) -> Callable[[Request], None]:
    said = 0

    def gate(request: Request) -> None:
        nonlocal said
        said += 1
        if said > pieces:
            raise EngineError("engine_lost", reason="killed")

    return gate


def test_17_an_error_in_the_middle_is_raised_by_the_client(server: Served, client: openai.OpenAI) -> None:
    server.gate = _breaks_after(1)
    heard = []
    with pytest.raises(openai.APIError) as raised:
        for chunk in client.chat.completions.create(**body(), stream=True):
            heard.append(chunk)
    assert raised.value.code == "worker_lost"
    assert len(heard) == 2


def test_17_an_error_in_the_middle_has_no_done(server: Served, http: httpx.Client) -> None:
    server.gate = _breaks_after(1)
    text = http.post("/chat/completions", json=body(stream=True)).text
    assert "[DONE]" not in text
    assert text.strip().splitlines()[-1].startswith('data: {"error":')


@pytest.mark.parametrize("stream", [True, False])
def test_17_an_error_before_the_first_word_is_an_http_error(server: Served, http: httpx.Client, stream: bool) -> None:
    server.gate = _breaks_after(0)
    answer = http.post("/chat/completions", json=body(stream=stream))
    assert refused(answer, 503, "worker_lost")["type"] == "server_error"
    assert answer.headers["retry-after"]


def test_17_a_cut_connection_is_no_short_answer(server: Served, key: str) -> None:
    server.gate = lambda request: threading.Event().wait(0.05) and None
    listener = socket.create_server(("127.0.0.1", 0))

    def cut() -> None:
        came, _ = listener.accept()
        with came, socket.create_connection(("127.0.0.1", server.port)) as to:
            threading.Thread(target=pump, args=(came, to), daemon=True).start()
            data = b""
            while b"Hello" not in data:
                data = to.recv(1 << 16)
                came.sendall(data)
            came.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=cut, daemon=True).start()
    base = f"http://127.0.0.1:{listener.getsockname()[1]}/v1"
    client = openai.OpenAI(base_url=base, api_key=key, max_retries=0,
                           default_headers={"host": f"127.0.0.1:{server.port}"})  # fmt: skip
    server.says = lambda request: "Hello " + "there " * 50
    with pytest.raises((openai.APIConnectionError, httpx.RemoteProtocolError)):
        list(client.chat.completions.create(**body(), stream=True))
    listener.close()


@pytest.mark.parametrize("stream", [True, False])
def test_17_a_client_that_leaves_ends_the_answer(server: Served, key: str, stream: bool) -> None:
    said = 0

    def slowly(request: Request) -> None:
        nonlocal said
        said += 1
        threading.Event().wait(0.02)

    server.says = lambda request: "word " * 5000
    server.gate = slowly
    data = json.dumps(body(stream=stream)).encode()
    head = (f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {key}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n")  # fmt: skip
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + data)
        until(lambda: said > 3)
    until(lambda: server.engines[-1].health().running == 0)
    assert said < 500


def test_an_answer_that_is_cut_by_the_limit_says_so(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(**body(max_tokens=1))
    assert answer.choices[0].finish_reason == "length"


def test_an_empty_answer_is_an_answer(server: Served, client: openai.OpenAI) -> None:
    server.says = lambda request: ""
    assert client.chat.completions.create(**body()).choices[0].message.content == ""
    assert list(client.chat.completions.create(**body(), stream=True))[-1].choices[0].finish_reason == "stop"


def test_too_long_a_question(client: openai.OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        client.chat.completions.create(model=BASE, messages=[{"role": "user", "content": "word " * 3000}])
    assert (raised.value.code, raised.value.param) == ("context_length_exceeded", "messages")


def test_a_full_queue_is_503_and_says_when_to_come_again(
    server: Served, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.house.engine(BASE)
    monkeypatch.setattr(server.engines[-1], "_most", 0)
    answer = http.post("/chat/completions", json=body())
    refused(answer, 503, "engine_overloaded")
    assert answer.headers["retry-after"] == "2"


def test_engines_that_nobody_asks_give_their_memory_back_and_answer_again(
    server: Served, client: openai.OpenAI
) -> None:
    for _ in range(2):
        assert client.chat.completions.create(**body()).choices[0].message.content
        while not server.house.rest(0):  # the twin's thread may not have ended yet
            threading.Event().wait(0.01)
        assert not server.house.rest(0)


def test_a_model_that_is_held_is_not_called_until_it_is_allowed(server: Served, http: httpx.Client, key: str) -> None:
    name = server.model(key, outcome="worse")
    refused(http.post("/chat/completions", json={**body(), "model": name}), 403, "model_not_live")
    assert http.post("/postil/models/allow", json={"model": name, "reason": "seen"}).json()["live"] is True
    assert http.post("/chat/completions", json={**body(), "model": name}).status_code == 200
    assert [entry["action"] for entry in http.get("/postil/models/log", params={"model": name}).json()["data"]] == [
        "held", "overridden",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "tools"),
        ({"tool_choice": "required"}, "tool_choice"),
        ({"response_format": {"type": "json_object"}}, "response_format"), ({"modalities": ["audio"]}, "modalities"),
        ({"functions": [{"name": "f"}]}, "functions"), ({"reasoning_effort": "high"}, "reasoning_effort"),
        ({"prediction": {"type": "content", "content": "x"}}, "prediction"),
        ({"web_search_options": {}}, "web_search_options"),
        ({"audio": {"voice": "x", "format": "wav"}}, "audio"), ({"verbosity": "low"}, "verbosity"),
    ],
)  # fmt: skip
def test_18_what_is_not_implemented_is_named(http: httpx.Client, more: dict[str, Any], param: str) -> None:
    refused(http.post("/chat/completions", json=body(**more)), 400, "unsupported_parameter", param)


@pytest.mark.parametrize(
    ("more", "param"),
    [
        ({"n": 10**6}, "n"), ({"n": 0}, "n"), ({"max_tokens": 10**9}, "max_tokens"), ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["x"] * 10_000}, "stop"), ({"stop": 1}, "stop"),
        ({"temperature": 3}, "temperature"), ({"temperature": "1"}, "temperature"), ({"top_p": -0.1}, "top_p"),
        ({"top_logprobs": 21, "logprobs": True}, "top_logprobs"), ({"top_logprobs": 1}, "top_logprobs"),
        ({"messages": []}, "messages"), ({"messages": "x"}, "messages"), ({"messages": [1]}, "messages[0]"),
        ({"messages": [{"role": "odd", "content": "x"}]}, "messages[0].role"),
        ({"messages": [{"role": "user"}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": 1}]}, "messages[0].content"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "http://169.254.169.254/"}}]}]},
         "messages[0].content[0]"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "a", "url": "file:///etc/passwd"}]}]},
         "messages[0].content[0]"),
        ({"logit_bias": {"x": 1}}, "logit_bias.x"), ({"logit_bias": {"1": 200}}, "logit_bias.1"),
        ({"chat_template": "{{ 1 }}"}, "chat_template"),
        ({"chat_template_kwargs": {"chat_template": "{{ 1 }}"}}, "chat_template_kwargs.chat_template"),
        ({"chat_template_kwargs": {"enable_thinking": 1}}, "chat_template_kwargs.enable_thinking"),
        ({"odd": 1}, "odd"), ({"stream": "yes"}, "stream"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named(http: httpx.Client, more: dict[str, Any], param: str) -> None:
    refused(http.post("/chat/completions", json=body(**more)), 400, param=param)


def test_an_answer_with_an_idempotency_key_is_made_once(server: Served, http: httpx.Client) -> None:
    told = {"idempotency-key": "chat-1"}
    first = http.post("/chat/completions", json=body(), headers=told)
    count = len(server.engines[-1].asked)
    again = http.post("/chat/completions", json=body(), headers=told)
    assert again.json() == first.json()
    assert len(server.engines[-1].asked) == count


def test_a_day_s_tokens_are_used_up(server: Served) -> None:
    with server.http(server.key(tokens_per_day=8)) as limited:
        assert limited.post("/chat/completions", json=body()).status_code == 200
        answer = limited.post("/chat/completions", json=body())
        refused(answer, 429, "insufficient_quota")
        assert answer.headers["x-should-retry"] == "false"


def test_a_model_that_knows_labels_tells_how_likely_they_are(server: Served, client: openai.OpenAI) -> None:
    """The label is the answer; its rivals stand beside it, whole or as a stream."""
    server.chances = (("裙子", 0.75), ("杯子", 0.25))
    server.says = lambda request: "裙子"
    wanted = {"labels": [{"label": "裙子", "probability": 0.75}, {"label": "杯子", "probability": 0.25}]}
    said = client.chat.completions.create(**body()).choices[0].message
    assert said.content == "裙子"
    assert said.model_extra == {"x_postil": wanted}
    *_, last = client.chat.completions.create(**body(stream=True))
    assert last.choices[0].delta.model_extra == {"x_postil": wanted}
    assert last.choices[0].finish_reason == "stop"
    server.chances = ()
    assert not client.chat.completions.create(**body()).choices[0].message.model_extra

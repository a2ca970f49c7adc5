"""A judge at an address: it is asked as OpenAI's clients ask, tried again when that helps, and its key stays secret."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from postil.errors import EngineError, PostilError
from postil.evaluate import EndpointJudge
from postil.records import Message
from postil.secret import Address, Secret
from postil.settings import Settings, for_worker, judge_key

SECRET = "sk-very-secret-0123456789"
ASKED = (Message("user", "哪个好?"),)
Answer = Callable[[dict[str, Any]], tuple[int, dict[str, str], bytes]]


class Elsewhere:
    """A server that answers as it is told, and remembers what it was asked."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.bodies: list[dict[str, Any]] = []
        self.heads: list[dict[str, str]] = []
        self.paths: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer.bodies.append(body)
                outer.paths.append(self.path)
                outer.heads.append({name.lower(): value for name, value in self.headers.items()})
                status, headers, data = outer.answers.pop(0)(body) if outer.answers else said("A")(body)
                self.send_response(status)
                for name, value in {"content-length": str(len(data)), **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *told: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}/v1"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


def said(text: str) -> Answer:
    return lambda body: (200, {}, json.dumps({"choices": [{"message": {"content": text}}]}).encode())


def fails(status: int, **headers: str) -> Answer:
    return lambda body: (status, headers, f"bad key {SECRET}".encode())


@pytest.fixture
def there() -> Iterator[Elsewhere]:
    made = Elsewhere()
    yield made
    made.server.shutdown()
    made.server.server_close()


def judge(there: Elsewhere, waits: list[float] | None = None) -> EndpointJudge:
    sleep = (waits if waits is not None else []).append
    return EndpointJudge(Address(there.url), "gpt-x", lambda: Secret(SECRET), sleep=sleep)


def test_it_is_asked_as_openai_s_clients_ask(there: Elsewhere) -> None:
    there.answers = [said("Verdict: B")]
    assert judge(there).ask(ASKED) == "Verdict: B"
    assert there.paths == ["/v1/chat/completions"] and there.heads[0]["authorization"] == f"Bearer {SECRET}"
    assert there.bodies[0]["messages"] == [{"role": "user", "content": "哪个好?"}]
    assert (there.bodies[0]["model"], there.bodies[0]["temperature"]) == ("gpt-x", 0)
    whole = EndpointJudge(Address(there.url + "/chat/completions/"), "m", Secret)
    whole.ask(ASKED)
    assert there.paths[-1] == "/v1/chat/completions" and "authorization" not in there.heads[-1]


def test_it_is_tried_again_where_that_helps_and_waits_as_asked(there: Elsewhere) -> None:
    waits: list[float] = []
    there.answers = [fails(500), fails(429, **{"retry-after": "7"}), fails(503, **{"retry-after": "9999"}), said("A")]
    assert judge(there, waits).ask(ASKED) == "A"
    assert waits == [1.0, 7.0, 30.0]
    there.answers = [fails(500)] * 5
    with pytest.raises(EngineError) as refused:
        judge(there, waits).ask(ASKED)
    assert refused.value.code == "remote_refused" and refused.value.values["status"] == 500


@pytest.mark.parametrize("status", [400, 401, 403, 404, 301, 302, 307, 308])
def test_a_refusal_is_final_and_never_repeats_what_was_said(there: Elsewhere, status: int) -> None:
    there.answers = [fails(status, location=f"{there.url}/elsewhere")]
    with pytest.raises(EngineError) as refused:
        judge(there).ask(ASKED)
    code = "remote_moved" if status < 400 else "remote_refused"
    assert refused.value.code == code and "bad key" not in str(refused.value) + repr(refused.value.values)
    assert len(there.paths) == 1, "no redirect is followed"


@pytest.mark.parametrize("data", [
    b"", b"no json", b"[]", b'{"choices": []}', b'{"choices": [{"message": {"content": [1]}}]}',
])  # fmt: skip
def test_what_is_no_chat_completion_is_told_as_such(there: Elsewhere, data: bytes) -> None:
    there.answers = [lambda body: (200, {}, data)] * 5
    with pytest.raises(EngineError) as refused:
        judge(there).ask(ASKED)
    assert refused.value.code == "remote_not_understood"


def test_what_has_no_words_is_no_verdict(there: Elsewhere) -> None:
    there.answers = [lambda body: (200, {}, b'{"choices": [{"message": {"content": null}}]}')]
    assert judge(there).ask(ASKED) == ""


def test_nobody_there(there: Elsewhere) -> None:
    waits: list[float] = []
    made = EndpointJudge(Address("http://127.0.0.1:9/v1"), "m", lambda: Secret(SECRET), sleep=waits.append)
    with pytest.raises(EngineError) as refused:
        made.ask(ASKED)
    assert refused.value.code == "remote_unreachable" and waits == [1.0, 2.0, 4.0, 8.0]


@pytest.mark.parametrize(("url", "model", "code"), [
    ("", "m", "judge_not_set"), ("http://x/v1", "", "judge_not_set"), ("file:///etc/passwd", "m", "remote_address"),
    ("http://user:pw@x/v1", "m", "remote_address"), ("ftp://x", "m", "remote_address"), ("x", "m", "remote_address"),
    ("http://x/v1?key=1", "m", "remote_address"), ("http://", "m", "remote_address"),
    ("http://judge.example.com/v1", "m", "remote_open"),
])  # fmt: skip
def test_attack_18_32_only_a_plain_web_address_will_do(url: str, model: str, code: str) -> None:
    with pytest.raises(PostilError) as refused:
        EndpointJudge(Address(url), model, lambda: Secret(SECRET))
    assert refused.value.code == code


def test_attack_17_the_key_is_in_no_setting_and_no_worker(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("POSTIL_JUDGE_KEY", SECRET)
    assert judge_key().reveal() == SECRET and SECRET not in repr(Settings()) + json.dumps(Settings().as_json())
    assert SECRET not in json.dumps(for_worker())
    monkeypatch.delenv("POSTIL_JUDGE_KEY")
    file = tmp_path / "key"
    file.write_text(f"{SECRET}\n")
    monkeypatch.setenv("POSTIL_JUDGE_KEY_FILE", str(file))
    assert judge_key().reveal() == SECRET and SECRET not in json.dumps(for_worker())
    monkeypatch.setenv("POSTIL_JUDGE_KEY_FILE", str(tmp_path / "none"))
    assert not judge_key()

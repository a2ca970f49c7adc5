"""Recording a remote model: refusals, broken answers and interruptions first, then our own server as the remote one."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from postil import flow
from postil.__main__ import main
from postil.errors import DataError, EngineError, FileError
from postil.golden import Remote, record
from postil.settings import Settings, for_child
from tests.api.served import BASE, served

if TYPE_CHECKING:
    from tests.models import Build

KEY = "sk-secret-123"
Scripted = list[tuple[int, dict[str, str], bytes]]


def said(text: Any, finish: str = "stop") -> bytes:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    return json.dumps({"choices": [choice]}, ensure_ascii=False).encode()


GOOD = (200, {}, said("好的"))


class Service:
    """An address on this machine that answers as it is told, the last answer again and again."""

    def __init__(self) -> None:
        self.answers: Scripted = [GOOD]
        self.heard: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        service = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                service.headers.append({name.lower(): value for name, value in self.headers.items()})
                service.heard.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                answers = service.answers
                status, headers, body = answers.pop(0) if len(answers) > 1 else answers[0]
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/v1"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def remote(self, **more: Any) -> Remote:
        return Remote(self.url, "old-model", **{"per_minute": 1e6, **more})

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def service() -> Iterator[Service]:
    made = Service()
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTIL_REMOTE_KEY", KEY)


@pytest.fixture
def sheet(tmp_path: Path) -> Path:
    path = tmp_path / "问题.csv"
    path.write_text("问题\n" + "".join(f"第{i}个问题怎么办？\n" for i in range(12)), "utf-8")
    return path


def lines(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def fails(code: str, call: Callable[[], Any]) -> EngineError:
    with pytest.raises(EngineError) as raised:
        call()
    assert raised.value.code == code
    for lang in ("zh", "en"):
        assert KEY not in raised.value.cause(lang) + raised.value.remedy(lang)
    return raised.value


@pytest.mark.parametrize(
    ("endpoint", "code"),
    [
        ("", "remote_address"), ("file:///etc/passwd", "remote_address"), ("ftp://a/v1", "remote_address"),
        ("https://", "remote_address"), ("https://user:pass@a/v1", "remote_address"),
        ("https://a/v1?key=1", "remote_address"), ("http://a.example/v1", "remote_open"),
        ("http://127.0.0.1.example/v1", "remote_open"), ("a/v1", "remote_address"),
    ],
)  # fmt: skip
def test_an_address_that_is_not_asked(sheet: Path, tmp_path: Path, endpoint: str, code: str) -> None:
    fails(code, lambda: record(sheet, tmp_path / "g.jsonl", Remote(endpoint, "m")))


def test_a_key_that_is_none(sheet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: Service) -> None:
    monkeypatch.setenv("POSTIL_REMOTE_KEY", "sk\r\nHost: evil")
    fails("remote_key", lambda: record(sheet, tmp_path / "g.jsonl", service.remote()))
    assert not service.heard


def test_nobody_there(sheet: Path, tmp_path: Path) -> None:
    waited: list[float] = []
    remote = Remote("http://127.0.0.1:9/v1", "m", per_minute=1e9)
    fails("remote_unreachable", lambda: record(sheet, tmp_path / "g.jsonl", remote, sleep=waited.append))
    assert waited == [1.0, 2.0, 4.0, 8.0]


def test_a_key_is_sent_to_no_other_address(sheet: Path, tmp_path: Path, service: Service) -> None:
    other = Service()
    service.answers = [(302, {"Location": other.url + "/chat/completions"}, b"")]
    fails("remote_moved", lambda: record(sheet, tmp_path / "g.jsonl", service.remote()))
    other.close()
    assert not other.heard


@pytest.mark.parametrize("status", [401, 403, 404, 405])
def test_what_no_retry_mends_ends_it_at_once(sheet: Path, tmp_path: Path, service: Service, status: int) -> None:
    service.answers = [(status, {}, json.dumps({"error": {"message": f"bad \x1b[31m{KEY}"}}).encode())]
    error = fails("remote_refused", lambda: record(sheet, tmp_path / "g.jsonl", service.remote()))
    assert len(service.heard) == 1
    assert "\x1b" not in error.cause("en")
    assert "***" in error.cause("en")


def test_a_busy_service_is_asked_again_when_it_says(sheet: Path, tmp_path: Path, service: Service) -> None:
    waited: list[float] = []
    service.answers = [
        (429, {"Retry-After": "7"}, b""),
        (503, {}, b"<html>"),
        (429, {"Retry-After": "9999"}, b""),
        GOOD,
    ]
    found = record(sheet, tmp_path / "g.jsonl", service.remote(), sleep=waited.append)
    assert [second for second in waited if second >= 1] == [7.0, 2.0, 120.0]
    assert found["answered"] == 12


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"{}", b'{"choices": []}', b'{"choices": [1]}', b"\xff" * 9])
def test_an_answer_that_is_none_is_asked_for_again(sheet: Path, tmp_path: Path, service: Service, body: bytes) -> None:
    service.answers = [(200, {}, body), GOOD]
    assert record(sheet, tmp_path / "g.jsonl", service.remote(), sleep=lambda _: None)["answered"] == 12
    assert len(service.heard) == 13


def test_a_question_that_is_refused_is_left_out_and_told(sheet: Path, tmp_path: Path, service: Service) -> None:
    refusal = (400, {}, b'{"error": {"message": "inappropriate"}}')
    service.answers = [refusal, GOOD, (200, {}, said("")), (200, {}, said(None)), (200, {}, said("长", "length")), GOOD]
    found = record(sheet, tmp_path / "g.jsonl", service.remote())
    assert (found["answered"], len(found["refused"]), found["cut"]) == (9, 3, 1)
    assert found["refused"][0] == "第0个问题怎么办？"


def test_only_refusals_end_it(sheet: Path, tmp_path: Path, service: Service) -> None:
    service.answers = [(400, {}, b"")]
    fails("remote_refused", lambda: record(sheet, tmp_path / "g.jsonl", service.remote()))
    assert len(service.heard) == 5
    assert not (tmp_path / "g.jsonl").exists()


def test_an_interrupted_recording_goes_on(sheet: Path, tmp_path: Path, service: Service) -> None:
    output, part = tmp_path / "g.jsonl", tmp_path / "g.jsonl.part"

    def stop(event: Any) -> None:
        if event.data["done"] == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        record(sheet, output, service.remote(), emit=stop)
    assert not output.exists()
    part.write_text(part.read_text("utf-8")[:-20], "utf-8")  # the machine went down while it wrote
    found = record(sheet, output, service.remote())
    assert (found["from_earlier"], found["answered"], len(service.heard)) == (4, 12, 13)
    assert not part.exists()
    assert len(lines(output)) == 12


def test_answers_of_another_model_are_not_taken_for_this_ones(sheet: Path, tmp_path: Path, service: Service) -> None:
    with pytest.raises(ZeroDivisionError):
        record(sheet, tmp_path / "g.jsonl", service.remote(), emit=lambda event: 1 // 0)  # type: ignore[arg-type,return-value]
    assert record(sheet, tmp_path / "g.jsonl", Remote(service.url, "other", per_minute=1e6))["from_earlier"] == 0


def test_the_pace_is_kept(sheet: Path, tmp_path: Path, service: Service) -> None:
    waited: list[float] = []
    record(sheet, tmp_path / "g.jsonl", service.remote(per_minute=6), sleep=waited.append)
    assert len(waited) == 11
    assert all(9 < second <= 10 for second in waited)


def test_thoughts_and_repeated_questions(tmp_path: Path, service: Service) -> None:
    (tmp_path / "q.csv").write_text("问题\n甲怎么办\n乙怎么办\n甲怎么办\n", "utf-8")
    service.answers = [(200, {}, said("<think>\n嗯\n</think>\n\n好的"))]
    found = record(tmp_path / "q.csv", tmp_path / "g.jsonl", service.remote(system="简短", max_tokens=9))
    assert (found["questions"], found["repeated"]) == (2, 1)
    wanted = [{"role": "system", "content": "简短"}, {"role": "user", "content": "甲怎么办"}]
    assert lines(tmp_path / "g.jsonl")[0] == {"messages": [*wanted, {"role": "assistant", "content": "好的"}]}
    assert service.heard[0] == {"model": "old-model", "temperature": 0, "max_tokens": 9, "messages": wanted}


def test_the_files_own_faults(sheet: Path, tmp_path: Path, service: Service) -> None:
    with pytest.raises(FileError):
        record(tmp_path / "none.csv", tmp_path / "g.jsonl", service.remote())
    with pytest.raises(FileError) as raised:
        record(sheet, tmp_path / "g.xlsx", service.remote())
    assert raised.value.code == "golden_name"
    (tmp_path / "n.csv").write_text("数量,价格\n1,2\n3,4\n", "utf-8")
    with pytest.raises(DataError):
        record(tmp_path / "n.csv", tmp_path / "g.jsonl", service.remote())
    assert not service.heard


def test_the_key_stays_where_it_is(
    sheet: Path, tmp_path: Path, service: Service, capfd: pytest.CaptureFixture[str]
) -> None:
    arguments = ["golden", str(sheet), "--endpoint", service.url, "--model", "m", "--output", str(tmp_path / "g.jsonl")]
    assert main([*arguments, "--per-minute", "100000", "--json"]) == 0
    out, err = capfd.readouterr()
    assert service.headers[0]["authorization"] == f"Bearer {KEY}"
    assert json.loads(out.splitlines()[-1])["answered"] == 12
    assert KEY not in out + err + (tmp_path / "g.jsonl").read_text("utf-8") + json.dumps(Settings().as_json())
    assert "POSTIL_REMOTE_KEY" not in for_child()


def test_our_own_server_as_the_remote_one(
    base: Build, sheet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a fine-tuned model behind the API to a set that `evaluate --data` reads as examples."""
    shutil.copytree(base("llama3"), tmp_path / "home" / "models" / BASE)
    monkeypatch.setenv("POSTIL_HOME", str(tmp_path / "home"))
    with served(tmp_path / "server", tmp_path / "home") as server:
        server.says = lambda request: f"答复：{request.messages[-1].content}"
        monkeypatch.setenv("POSTIL_REMOTE_KEY", key := server.key())
        remote = Remote(f"{server.url}/v1/", server.model(key), per_minute=1e6)
        found = record(sheet, tmp_path / "golden.jsonl", remote)
        monkeypatch.setenv("POSTIL_REMOTE_KEY", server.key("read"))
        refused = fails("remote_refused", lambda: record(sheet, tmp_path / "other.jsonl", remote))
    assert refused.values["status"] == 403
    assert (found["answered"], found["refused"]) == (12, [])
    examples = flow.check(tmp_path / "golden.jsonl").examples
    assert [example.answer for example in examples] == [f"答复：第{i}个问题怎么办？" for i in range(12)]

"""Servers that are killed or asked to end, connections that are cut, and a disk that is full, as a client sees them."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from postil.settings import for_child
from postil.store import Store
from tests.api.served import BASE, Served, refused, rows, upload
from tests.jobs.shop import until

# 20,000 updates and no early end: 88 took a second, and the job had ended before its server did.
LONG: Any = {"x_postil": {"max_length": 64, "validation_rows": 4, "test_rows": 4, "checkpoint_every": 10,
                          "learning_rate": 0.001, "learning_rate_probe": False, "lora": {"r": 2},
                          "evaluations_per_epoch": 1, "patience": 1000},
             "hyperparameters": {"n_epochs": 50, "batch_size": 1}}  # fmt: skip


class Program:
    """`postil serve` in a process of its own, on data that stay."""

    key = ""

    def __init__(self, home: Path, data: Path) -> None:
        self._environment = {**for_child(), "POSTIL_HOME": str(home), "POSTIL_DATA": str(data), "POSTIL_LANG": "en"}
        self.data = data
        self.start()

    def start(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.log = (self.data.parent / "log.txt").open("ab")
        self.process = subprocess.Popen([sys.executable, "-m", "postil", "serve", "--port", str(self.port)],
                                        stdout=self.log, stderr=self.log, env=self._environment,
                                        cwd=Path(__file__).parents[2])  # fmt: skip
        until(self._answers, 60)
        self.key = self.key or re.findall(r"sk-postil-\S+", (self.data.parent / "log.txt").read_text())[0]

    def _answers(self) -> bool:
        assert self.process.poll() is None, (self.data.parent / "log.txt").read_text()
        with suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{self.port}/health").status_code == 200
        return False

    def http(self) -> httpx.Client:
        return httpx.Client(base_url=f"http://127.0.0.1:{self.port}/v1", timeout=60,
                            headers={"authorization": f"Bearer {self.key}"})  # fmt: skip

    def end(self, number: int) -> int:
        self.process.send_signal(number)
        code = self.process.wait(60)
        self.log.close()
        return code


@pytest.fixture
def program(home: Path, tmp_path: Path) -> Iterator[Program]:
    made = Program(home, tmp_path / "data")
    yield made
    if made.process.poll() is None:
        made.end(signal.SIGTERM)


@pytest.mark.slow
def test_fault_07_a_server_that_is_asked_to_end_lets_its_workers_save(program: Program) -> None:
    """It ends by itself with code 0 in less than half a minute; who listened is told; the job goes on later."""
    with program.http() as client:
        order = {"model": BASE, "training_file": upload(client, rows(400)), **LONG}
        reply = client.post("/fine_tuning/jobs", json=order)
        assert reply.status_code == 200, reply.text
        job = reply.json()["id"]
        told: list[str] = []
        with client.stream("GET", f"/postil/jobs/{job}/live") as stream:
            for line in stream.iter_lines():
                told.append(line)
                if re.search(r'"step": [2-9][0-9],', line) and program.process.poll() is None:
                    began = time.monotonic()
                    program.process.send_signal(signal.SIGTERM)
        assert [line for line in told if line.startswith("event: ")][-1] == "event: closing"
    assert program.process.wait(60) == 0
    assert time.monotonic() - began < 30
    store = Store(program.data)
    with store.database.read() as session:
        row = session.execute(text("SELECT status, claimed, last_checkpoint FROM jobs")).one()
    store.close()
    assert row[0] == "queued" and not row[1] and row[2] >= 10
    program.start()
    with program.http() as client:
        messages: list[str] = []

        def goes_on() -> bool:
            found = client.get(f"/fine_tuning/jobs/{job}/events", params={"limit": 100}).json()["data"]
            messages[:] = [event["message"] for event in found]
            steps = [re.match(r"Step ([0-9]+)/", message) for message in messages]
            return any(step and int(step[1]) > row[2] for step in steps)

        until(goes_on, 120, lambda: str(messages))
        assert client.post(f"/fine_tuning/jobs/{job}/cancel").json()["status"] == "cancelled"


@pytest.mark.full
def test_fault_17_a_killed_server_cuts_a_stream_and_an_upload(program: Program) -> None:
    """The client is told that it was cut. 200 MB are sent again: one file, and nothing left of the first try."""
    line = b'{"messages": [{"role": "user", "content": "' + b"x" * 1000 + b'"}]}\n'
    content = line * (200 * 10**6 // len(line))
    with program.http() as client:
        job = client.post("/fine_tuning/jobs", json={
            "model": BASE, "training_file": upload(client, rows(400)), **LONG}).json()["id"]  # fmt: skip
        sent = 0

        def half() -> Iterator[bytes]:
            nonlocal sent
            yield b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
            yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jsonl"\r\n\r\n'
            for begin in range(0, len(content), 1 << 20):
                if begin > len(content) // 2 and program.process.poll() is None:
                    program.end(signal.SIGKILL)
                sent += 1
                yield content[begin : begin + (1 << 20)]

        with client.stream("GET", f"/postil/jobs/{job}/live") as stream:
            lines = stream.iter_lines()
            next(lines)
            with pytest.raises(httpx.TransportError), program.http() as other:
                other.post("/files", content=half(), headers={"content-type": "multipart/form-data; boundary=b"})
            with pytest.raises(httpx.TransportError):  # no clean end, which could be taken for the whole
                list(lines)
    staging = program.data / "staging"
    assert sent > 50 and len(list(staging.iterdir())) == 1
    for rest in staging.iterdir():
        os.utime(rest, (0, 0))  # two hours later
    program.start()
    with program.http() as client:
        until(lambda: not list(staging.iterdir()))
        file = upload(client, content, purpose="user_data")
        found = client.get("/files", params={"purpose": "user_data"}).json()["data"]
        assert [(one["id"], one["bytes"]) for one in found] == [(file, len(content))]
        digest = hashlib.sha256()
        with client.stream("GET", f"/files/{file}/content") as answer:
            for piece in answer.iter_bytes():
                digest.update(piece)
        assert digest.digest() == hashlib.sha256(content).digest()
        client.post(f"/fine_tuning/jobs/{job}/cancel")


def test_fault_17_an_upload_that_is_cut_is_no_file(server: Served, key: str, http: httpx.Client) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n' + b"x" * 10_000
    head = (f"POST /v1/files HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nAuthorization: Bearer {key}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n")  # fmt: skip
    staging = server.store.directory / "staging"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall(head.encode() + body)
        until(lambda: list(staging.iterdir()), 20)
    until(lambda: not list(staging.iterdir()), 20)
    assert http.get("/files").json()["data"] == []
    for _ in range(2):  # a client that sends it again, as the clients of OpenAI do: one file
        sent = http.post("/files", data={"purpose": "user_data"}, files={"file": ("a", b"x" * 10_000)},
                         headers={"x-stainless-retry-count": "1"})  # fmt: skip
        assert sent.status_code == 200
    assert len(http.get("/files").json()["data"]) == 1


def test_fault_11_a_full_disk_is_told_and_the_server_stays(
    server: Served, http: httpx.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    def full(handle: int) -> None:
        if "staging" in str(Path(f"/proc/self/fd/{handle}").readlink()):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        sent = http.post("/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")})
    assert refused(sent, 503, "storage_full")["type"] == "server_error"
    assert http.get("/files").json()["data"] == []
    assert http.post("/files", data={"purpose": "user_data"}, files={"file": ("a", b"x")}).status_code == 200


def test_fault_11_a_database_without_room_is_told_and_the_server_stays(served_alone: Served) -> None:
    """As if the disk were full at a commit: the database may not grow any more."""
    with served_alone.http() as http:
        file = upload(http)
        with served_alone.store.database.write() as session:
            pages = session.execute(text("PRAGMA page_count")).scalar()
            session.execute(text(f"PRAGMA max_page_count={pages}"))
        order = {"model": BASE, "training_file": file, "metadata": {f"name{i}": "x" * 500 for i in range(16)}}
        codes = [http.post("/fine_tuning/jobs", json=order).status_code for _ in range(20)]
        assert codes[-1] == 503 and set(codes) <= {200, 503}
        made = len(http.get("/fine_tuning/jobs", params={"limit": 100}).json()["data"])
        with served_alone.store.database.write() as session:
            session.execute(text("PRAGMA max_page_count=1000000"))
        assert http.post("/fine_tuning/jobs", json=order).status_code == 200
        assert made == codes.count(200)


@pytest.fixture
def served_alone(home: Path, tmp_path: Path) -> Iterator[Served]:
    from tests.api.served import served

    with pytest.MonkeyPatch.context() as patch, served(tmp_path / "alone", home) as made:
        patch.setenv("POSTIL_HOME", str(home))
        yield made

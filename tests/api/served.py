"""A real server on a free port of this machine, with the engine's twin behind it."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import openai

from postil import flow
from postil.api.app import create_app
from postil.api.house import House
from postil.api.server import Server, addresses, configured
from postil.dataset import write_jsonl
from postil.errors import PostilError
from postil.jobs import Queue
from postil.serve import InMemory
from postil.serve import Request as Asked
from postil.settings import Settings
from postil.store import SCOPES, Store, new_id, now
from postil.store.models import add as add_model
from postil.store.tables import Checkpoint, Job

BASE = "tiny-llama3"


def judge(path: Path) -> str | None:
    """What the real one says, without a process of its own."""
    try:
        return None if flow.check(path).examples else "no examples"
    except PostilError as error:
        return f"line 1: {error}"


class Served:
    """The server and what stands behind it. Each test takes a project, and so sees only its own."""

    def __init__(
        self, directory: Path, home: Path, watch: Callable[[Store], Any] | None = None, engine: Any = None,
        outside: Callable[[Served, Any], Any] = lambda served, app: app,
        pages: Callable[[Any, House], Any] | None = None,
    ) -> None:  # fmt: skip
        self.home = home
        self.store = Store(directory / "data")
        self.queue = Queue(self.store)
        self.engines: list[InMemory] = []
        self.says: Callable[[Asked], str] = lambda request: "Hello there"
        self.gate: Callable[[Asked], None] = lambda request: None
        self.chances: tuple[tuple[str, float], ...] = ()
        self.asked: list[list[str]] = []
        self.house = House(self.store, self.queue, engine or self._engine, judge, self._ask, _settings(home))
        watcher = watch(self.store) if watch else None
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        named = addresses("127.0.0.1", self.port, "")
        self.app = create_app(
            self.house, lambda: named, begin=watcher.start if watcher else lambda: None,
            end=(lambda: watcher.stop(grace=10)) if watcher else lambda: None,
            pages=lambda app: pages(app, self.house) if pages else None,
        )  # fmt: skip
        self.server = Server(configured(outside(self, self.app), sockets=pages is not None), self.house)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        self.server.run(sockets=[self._socket])

    def start(self) -> None:
        self._thread.start()
        while not self.server.started:
            threading.Event().wait(0.01)

    def stop(self) -> None:
        self.house.closing.set()
        self.server.should_exit = True
        self._thread.join(20)
        self._socket.close()
        self.store.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def key(self, *scopes: str, project: str | None = None, **limits: int) -> str:
        return self.store.keys.create(project or new_id("proj_"), "test", scopes or SCOPES, **limits)[1]

    def http(self, key: str | None = None, **headers: str) -> httpx.Client:
        auth = {"authorization": f"Bearer {key or self.key()}"}
        return httpx.Client(base_url=f"{self.url}/v1", headers={**auth, **headers}, timeout=30)

    def openai(self, key: str | None = None, **options: Any) -> openai.OpenAI:
        told = {"max_retries": 0, "timeout": 30, "_strict_response_validation": True, **options}
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key or self.key(), **told)

    def project(self, key: str) -> str:
        found = self.store.keys.check(key)
        assert found
        return found.project

    def model(self, key: str, *, outcome: str = "better", name: str = "") -> str:
        """A fine-tuned model as a finished job leaves it."""
        project = self.project(key)
        name = name or f"ft:{BASE}:local:shop:{new_id('')[:8]}"
        directory = self.store.directory / "adapters" / new_id("a")
        directory.mkdir(parents=True)
        (directory / "adapter_config.json").write_text("{}")
        plan = {"plan": {"system": "Be brief.", "instruction": "Answer:", "max_new_tokens": 8}}
        (directory / "plan.json").write_text(json.dumps(plan))
        told = {"base": BASE, "base_sha256": "0" * 64, "adapter_sha256": "1" * 64}
        below = str(directory.relative_to(self.store.directory))
        with self.store.database.write() as session:
            add_model(session, project=project, name=name, directory=below,
                      result={"verdict": {"outcome": outcome}}, **told)  # fmt: skip
        return name

    def checkpoint(self, key: str, job_id: str, step: int) -> Checkpoint:
        name = self.model(key, name=f"ft:{BASE}:local::{new_id('')[:8]}:ckpt-step-{step}")
        row = Checkpoint(id=new_id("ftckpt_"), job_id=job_id, project=self.project(key), model_id=name, step=step,
                         metrics={"step": step, "train_loss": 0.5, "valid_loss": 0.6}, created_at=now())  # fmt: skip
        with self.store.database.write() as session:
            session.add(row)
        return row

    def set(self, job_id: str, **values: Any) -> None:
        """Put a job into a state, as its worker would."""
        with self.store.database.write() as session:
            session.query(Job).filter_by(id=job_id).update(values)

    def _engine(self, base: Path) -> InMemory:
        made = InMemory(base, lambda request: self.says(request), gate=lambda request: self.gate(request),
                        chances=lambda request: self.chances)  # fmt: skip
        self.engines.append(made)
        return made

    def _ask(self, arguments: Any, seconds: float) -> Any:
        self.asked.append(list(arguments))
        fixed = next((one.removeprefix("--fixed=") for one in arguments if one.startswith("--fixed=")), None)
        if fixed is None:
            return {"examples": 3, "arguments": list(arguments)}
        found = flow.check(Path(arguments[1]))  # as the command does, without a process of its own
        write_jsonl(found, Path(fixed))
        return found.as_json()


@contextmanager
def served(
    directory: Path, home: Path, watch: Callable[[Store], Any] | None = None, engine: Any = None,
    outside: Callable[[Served, Any], Any] = lambda served, app: app,
) -> Iterator[Served]:  # fmt: skip
    """`outside(served, app)`: what stands before the application, in tests alone."""
    made = Served(directory, home, watch, engine, outside)
    made.start()
    try:
        yield made
    finally:
        made.stop()


def rows(count: int = 12) -> bytes:
    """A training file as OpenAI wants it."""
    lines = [
        {"messages": [{"role": "user", "content": f"产品 {i}?"}, {"role": "assistant", "content": f"连衣裙 {i}"}]}
        for i in range(count)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines).encode()


def upload(
    client: httpx.Client, data: bytes | None = None, name: str = "train.jsonl", purpose: str = "fine-tune"
) -> str:
    """The id of a new file."""
    sent = client.post("/files", data={"purpose": purpose}, files={"file": (name, data or rows())})
    assert sent.status_code == 200, sent.text
    return str(sent.json()["id"])


def refused(answer: httpx.Response, status: int, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """The error object of a refusal, which is of the form that the contract demands."""
    assert answer.status_code == status, (answer.status_code, answer.text[:300])
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    assert set(answer.json()) == {"error"}
    error: dict[str, Any] = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert isinstance(error["message"], str)
    assert error["message"]
    assert code is None or error["code"] == code, error
    assert param is None or error["param"] == param, error
    return error


def pump(source: socket.socket, target: socket.socket) -> None:
    """Pass on what comes, until one of them ends."""
    with suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)


def _settings(home: Path) -> Settings:
    return Settings(home=home)


__all__ = ["BASE", "Served", "judge", "pump", "refused", "rows", "served", "upload"]

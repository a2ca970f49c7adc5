"""The engine's program: `python -m postil.serve.child`. It holds one base, and answers on a local socket.

The adapters on that base answer together, or else, in another such process, those that cannot do so answer alone.
What it is told stands in one line of JSON on its standard input; it prints the port on which it listens. Clients prove
that they know the secret before anything they say is read. It ends when its standard input does, with its parent.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection, Listener
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from postil.errors import EngineError, PostilError
from postil.serve import wire
from postil.serve.engine import Health, Piece, Reply, Request

if TYPE_CHECKING:
    from postil.serve.alone import Alone
    from postil.serve.batching import Batch
    from postil.serve.turns import Asked

Said = tuple["Client", dict[str, Any]]


class Client:
    """One connection: what it says goes into the engine's queue, what it is told is written by a thread of its own."""

    def __init__(self, connection: Connection, said: queue.SimpleQueue[Said]) -> None:
        self._connection, self._said = connection, said
        self._out: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        self.asked: dict[int, Asked] = {}
        self._threads = [threading.Thread(target=work, daemon=True) for work in (self._hear, self._write)]
        for thread in self._threads:
            thread.start()

    def tell(self, told: dict[str, Any]) -> None:
        self._out.put(told)

    def finish(self) -> None:
        """Write what is still to be written, and hang up."""
        self._out.put(None)
        self._threads[1].join(5)

    def _hear(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._said.put((self, wire.receive(self._connection)))
        self._said.put((self, {"do": "gone"}))

    def _write(self) -> None:
        with suppress(OSError):
            while (told := self._out.get()) is not None:
                wire.send(self._connection, told)
        self._connection.close()


class Answer:
    """Hands what becomes of one request to the client that asked."""

    def __init__(self, client: Client, number: int) -> None:
        self._client, self._number = client, number

    def piece(self, piece: Piece) -> None:
        self._client.tell({"id": self._number, "piece": wire.as_json(piece)})

    def reply(self, reply: Reply) -> None:
        self._end({"reply": wire.as_json(reply)})

    def error(self, error: PostilError) -> None:
        self._end({"error": wire.error_json(error)})

    def _end(self, told: dict[str, Any]) -> None:
        self._client.asked.pop(self._number, None)
        self._client.tell({"id": self._number, **told})


class Answers(Protocol):
    """What answers in this process: a Batch, or Alone."""

    context: int

    @property
    def running(self) -> int: ...
    @property
    def waiting(self) -> int: ...
    @property
    def paths(self) -> tuple[Path, ...]: ...
    @property
    def bytes(self) -> int: ...
    def prompt(self, request: Request) -> list[int]: ...
    def ask(self, request: Request, listener: Answer) -> Asked: ...
    def hold(self, adapter: Path) -> None: ...
    def forget(self, adapter: Path) -> None: ...
    def step(self) -> bool: ...


class Engine:
    """Does what clients say, between two passes of the batch, or between the pieces of an answer."""

    def __init__(self, answers: Answers, told: Mapping[str, Any], said: queue.SimpleQueue[Said]) -> None:
        self._answers, self._told, self._said = answers, told, said

    def run(self) -> None:
        busy = False
        while True:
            self.hear(wait=not busy)
            busy = self._answers.step()

    def hear(self, *, wait: bool = False) -> None:
        """Do what was said by now; with `wait`, at least one thing."""
        with suppress(queue.Empty):
            while True:
                client, told = self._said.get(block=wait)
                wait = False
                self._do(client, told)

    def _do(self, client: Client, told: dict[str, Any]) -> None:
        if told["do"] == "gone":
            for asked in client.asked.values():
                asked.cancelled = True
        elif told["do"] == "cancel":
            if told["of"] in client.asked:
                client.asked[told["of"]].cancelled = True
        elif told["do"] == "generate":
            self._generate(client, told)
        else:
            does: dict[str, Callable[[dict[str, Any]], Any]] = {
                "ensure": lambda told: self._answers.hold(Path(told["adapter"])),
                "evict": lambda told: self._answers.forget(Path(told["adapter"])),
                "count": lambda told: len(self._answers.prompt(wire.request_of(told["request"]))),
                "health": lambda told: wire.as_json(self._health()),
            }
            try:
                client.tell({"id": told["id"], "done": does[told["do"]](told)})
            except PostilError as error:
                client.tell({"id": told["id"], "error": wire.error_json(error)})
            except Exception as fault:  # noqa: BLE001  the others are still to be answered
                client.tell({"id": told["id"], "error": wire.error_json(_failed(fault))})

    def _generate(self, client: Client, told: dict[str, Any]) -> None:
        answer = Answer(client, told["id"])
        try:
            client.asked[told["id"]] = self._answers.ask(wire.request_of(told["request"]), answer)
        except PostilError as error:
            answer.error(error)
        except Exception as fault:  # noqa: BLE001  the others are still to be answered
            answer.error(_failed(fault))

    def _health(self) -> Health:
        from psutil import Process

        now = self._answers
        return Health(
            Path(self._told["base"]), True, now.running, now.waiting, now.paths, now.bytes, Process().memory_info().rss,
            now.context, device=self._told["device"],
        )  # fmt: skip


def _failed(fault: Exception) -> EngineError:
    from postil.model.boundary import reason_of

    return EngineError("answer_failed", reason=reason_of(fault))


def main() -> int:
    """Serve until the parent is gone. Returns 1 when the base cannot be loaded, after saying so to who asks first."""
    told = json.loads(sys.stdin.readline())
    said: queue.SimpleQueue[Said] = queue.SimpleQueue()
    listener = Listener(("127.0.0.1", 0), authkey=bytes.fromhex(told["secret"]))
    print(json.dumps({"port": listener.address[1]}), flush=True)  # noqa: T201
    for work in (lambda: _accept(listener, said), _end_with_parent):
        threading.Thread(target=work, daemon=True).start()
    import torch  # from here on it takes seconds; those who ask meanwhile wait in the queue

    with torch.inference_mode():
        try:
            engine = _engine(told, said)
        except PostilError as error:
            _refuse(said, error)
            return 1
        engine.run()
    return 0


def _engine(told: dict[str, Any], said: queue.SimpleQueue[Said]) -> Engine:
    from postil.serve.place import place

    told["device"], told["dtype"] = place(Path(told["base"]), told["device"], told["dtype"])
    if not told["alone"]:
        return Engine(_batch(told), told, said)
    alone = _alone(told)
    engine = Engine(alone, told, said)
    alone.between = engine.hear
    return engine


def _batch(told: dict[str, Any]) -> Batch:
    import torch

    from postil.model.load import load_base
    from postil.serve.batching import Batch

    torch.set_num_threads(told["threads"])
    loaded = load_base(Path(told["base"]), dtype=told["dtype"], device=told["device"])
    return Batch(loaded, wire.limits_of(told["limits"]))


def _alone(told: dict[str, Any]) -> Alone:
    from postil.serve.alone import Alone

    machine = {name: told[name] for name in ("dtype", "device", "threads")}
    return Alone(Path(told["base"]), wire.limits_of(told["limits"]), **machine)


def _accept(listener: Listener, said: queue.SimpleQueue[Said]) -> None:
    while True:
        with suppress(AuthenticationError, OSError, EOFError):
            Client(listener.accept(), said)


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def _refuse(said: queue.SimpleQueue[Said], error: PostilError) -> None:
    """Say to those who have asked, at least one, why there will be no answer."""
    clients: set[Client] = set()
    with suppress(queue.Empty):
        while True:
            client, told = said.get(block=not clients)
            if "id" in told:
                client.tell({"id": told["id"], "error": wire.error_json(error)})
                clients.add(client)
    for client in clients:
        client.finish()


if __name__ == "__main__":
    from postil.settings import quiet

    quiet()
    sys.exit(main())

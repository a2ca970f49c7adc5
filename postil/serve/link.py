"""One life of an engine's process: from its start until it is closed or lost."""

from __future__ import annotations

import itertools
import json
import secrets
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from contextlib import suppress
from multiprocessing.connection import Client, Connection
from typing import Any

from postil.errors import EngineError, PostilError
from postil.serve import wire
from postil.serve.engine import Ended, Heard
from postil.settings import for_child

USES = ("generate", "ensure", "count")  # whoever asks for another thing does not need the engine
LAST_LINES = 20  # of what a process said before it was lost
STOP_SECONDS = 5


class Call:
    """Something asked of the process, until it is answered."""

    def __init__(self, heard: Heard, ended: Ended, cancel: Callable[[], None], uses: bool) -> None:
        self.heard, self._cancel, self.uses = heard, cancel, uses
        self.future: Future[Any] = Future()
        self.future.add_done_callback(lambda _: ended(self))

    def result(self, timeout: float | None = None) -> Any:
        return self.future.result(timeout)

    def cancel(self) -> None:
        if not self.future.done():
            self._cancel()


class Link:
    """The process, and the calls that it has not answered yet."""

    def __init__(self, told: Mapping[str, Any]) -> None:
        secret = secrets.token_bytes(32)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "postil.serve.child"], env=for_child(), text=True, encoding="utf-8",
            errors="replace", stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self._connection = self._connected({**told, "secret": secret.hex()}, secret)
        self._numbers = itertools.count()
        self._calls: dict[int, Call] = {}
        self._end: PostilError | None = None  # why nothing will be answered any more
        self._quiet_since = time.monotonic()
        self.rests = False
        self._lock = threading.Lock()
        self._hearing = threading.Thread(target=self._hear, daemon=True)
        self._hearing.start()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._end is None

    def ask(self, told: Mapping[str, Any], heard: Heard = lambda piece: None, ended: Ended = lambda call: None) -> Call:
        number = next(self._numbers)
        call = Call(heard, ended, lambda: self._send({"do": "cancel", "of": number}), told["do"] in USES)
        with self._lock:
            lost = self._end
            if lost is None:
                self._calls[number] = call
        if lost is not None:
            raise lost
        self._send({**told, "id": number})
        return call

    def rest(self, seconds: float) -> bool:
        """Whether it was not used for so long; then it cannot be any more, and is to be closed."""
        with self._lock:
            quiet = not self._calls and time.monotonic() - self._quiet_since >= seconds
            if quiet and self._end is None:
                self._end, self.rests = EngineError("engine_closed"), True
        return self.rests

    def close(self) -> None:
        """End the process; calls that are not answered yet end with `engine_closed`."""
        self._over(EngineError("engine_closed"))
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()  # it ends with that
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in (self._hearing, self._listening):
            if thread is not threading.current_thread():
                thread.join(STOP_SECONDS)
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
        self._connection.close()

    # ── starting ──

    def _connected(self, told: Mapping[str, Any], secret: bytes) -> Connection:
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.write(json.dumps(told) + "\n")
            self._process.stdin.flush()
            port = json.loads(self._process.stdout.readline())["port"]
            return Client(("127.0.0.1", port), authkey=secret)
        except (OSError, EOFError, ValueError) as error:
            self._process.kill()
            self._process.wait()
            self._listening.join(STOP_SECONDS)
            raise EngineError("engine_start_failed", reason=self._last_words()) from error

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with suppress(ValueError):  # closed
            self._lines.extend(line.rstrip() for line in self._process.stderr)

    def _last_words(self) -> str:
        said = [line for line in self._lines if line.strip()]
        code = self._process.poll()
        return said[-1] if said else f"exit code {code}"

    # ── hearing ──

    def _send(self, told: Mapping[str, Any]) -> None:
        with self._lock, suppress(OSError, ValueError):  # it is gone: `_hear` notices, and says so to every call
            wire.send(self._connection, told)

    def _hear(self) -> None:
        with suppress(EOFError, OSError):
            while True:
                self._heard(wire.receive(self._connection))
        self._process.wait()
        self._listening.join(STOP_SECONDS)
        self._over(EngineError("engine_lost", reason=self._last_words()))

    def _heard(self, told: dict[str, Any]) -> None:
        if "piece" in told:
            call = self._calls.get(told["id"])
            if call is not None:
                call.heard(wire.piece_of(told["piece"]))
            return
        with self._lock:
            call = self._calls.pop(told["id"], None)
            if call is not None and call.uses:
                self._quiet_since = time.monotonic()
        if call is None or call.future.done():
            return
        if "error" in told:
            call.future.set_exception(wire.error_of(told["error"]))
        else:
            call.future.set_result(wire.reply_of(told["reply"]) if "reply" in told else told["done"])

    def _over(self, error: PostilError) -> None:
        with self._lock:
            self._end = self._end or error
            calls, self._calls = list(self._calls.values()), {}
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error)

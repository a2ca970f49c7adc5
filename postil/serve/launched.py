"""A vLLM server: one that runs somewhere already, or one of our own for a base model, on loopback and with a key."""

from __future__ import annotations

import secrets
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from postil.errors import EngineError
from postil.secret import Secret, hide
from postil.settings import for_vllm

LAST_LINES = 20  # of what it said before it ended
START_SECONDS = 1800.0  # a large base is read, compiled and profiled before it answers
LOOK_SECONDS = 0.2
STOP_SECONDS = 30
SERVED = "postil-base"  # what it calls the base
# its limits for adapters; whoever needs others says so in POSTIL_VLLM_ARGS, where the last one counts
LORA = ("--enable-lora", "--max-loras", "8", "--max-cpu-loras", "64", "--max-lora-rank", "64")


class Server:
    """Where a vLLM is. `name`: what it calls the base, where we started it; None: that is to be found out."""

    def __init__(self, url: str, key: str | Secret, name: str | None = None) -> None:
        self.url, self.key, self.name = url.rstrip("/").removesuffix("/v1"), Secret(key), name

    @property
    def alive(self) -> bool:
        """Whether it may still answer, as far as can be known without asking."""
        return True

    def last_words(self) -> str:
        """What it said before it was lost."""
        return hide(self.url)

    def close(self) -> None:
        """Nothing: it is not ours."""


class Launched(Server):
    """A process of ours; it ends with us. Raises EngineError `vllm_missing`, `engine_start_failed`."""

    def __init__(
        self, command: Sequence[str], base: Path, more: Sequence[str], healthy: Callable[[Server], bool],
        seconds: float = START_SECONDS,
    ) -> None:  # fmt: skip
        if not command or shutil.which(command[0]) is None:
            raise EngineError("vllm_missing", reason=" ".join(command) or "POSTIL_VLLM_COMMAND")
        port, key = _free_port(), secrets.token_urlsafe(32)
        super().__init__(f"http://127.0.0.1:{port}", key, SERVED)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "postil.serve.keeper", *arguments(command, base, port, more)], env=for_vllm(key),
            text=True, encoding="utf-8", errors="replace", stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        self._lines: deque[str] = deque(maxlen=LAST_LINES)
        self._listening = threading.Thread(target=self._listen, daemon=True)
        self._listening.start()
        self._wait(healthy, time.monotonic() + seconds)

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def last_words(self) -> str:
        self._listening.join(1)
        said = [line for line in self._lines if line.strip()]
        return said[-1] if said else f"exit code {self._process.poll()}"

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(OSError):
            self._process.stdin.close()  # it ends with that
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listening.join(STOP_SECONDS)
        if not self._listening.is_alive():  # a closing would wait for it
            self._process.stdout.close()

    def _wait(self, healthy: Callable[[Server], bool], until: float) -> None:
        while not healthy(self):
            if not self.alive or time.monotonic() > until:
                said = self.last_words()
                self.close()
                raise EngineError("engine_start_failed", reason=said)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(LOOK_SECONDS)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with suppress(ValueError):  # closed
            self._lines.extend(line.rstrip() for line in self._process.stdout)


def arguments(command: Sequence[str], base: Path, port: int, more: Sequence[str]) -> list[str]:
    """The command that serves `base` on a port of this machine alone."""
    return [
        *command, "serve", str(base.absolute()), "--host", "127.0.0.1", "--port", str(port),
        "--served-model-name", SERVED, "--generation-config", "vllm", *LORA, *more,
    ]  # fmt: skip


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port: int = bound.getsockname()[1]
        return port

"""The engine's twin for tests: no model and no process, the same behaviour."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path

from postil.errors import AdapterError, EngineError, PostilError
from postil.records import ADAPTER_CONFIG
from postil.serve.engine import Ended, Finish, Health, Heard, Piece, Reply, Request, Token

_PARTS = re.compile(r"\s*[^\W\u4e00-\u9fff]+|\s*[\u4e00-\u9fff]|\s*[^\w\s]|\s+")


def echo(request: Request) -> str:
    """What the twin says if it is not told what: the adapter's name, if any, and the last message."""
    said = request.messages[-1].content if request.messages else " ".join(map(str, request.prompt_ids))
    return f"{request.adapter.name}: {said}" if request.adapter and request.scale else said


class InMemory:
    """Answers with what `says` returns, a word or a Chinese character at a time.

    gate: what is called before each piece (to hold an answer back, or to raise a PostilError in its midst).
    chances: labels with their probabilities, told at the end; marks: how many were read as text. context: tokens that
    a prompt may have. most: answers under way at once; one more is refused as `engine_full`.
    """

    def __init__(
        self,
        base: Path = Path("base"),
        says: Callable[[Request], str] = echo,
        *,
        gate: Callable[[Request], None] = lambda request: None,
        chances: Callable[[Request], tuple[tuple[str, float], ...]] = lambda request: (),
        marks: Callable[[Request], int] = lambda request: 0,
        context: int = 2048,
        most: int = 256,
    ) -> None:
        self._base, self._says, self._gate, self._chances = base, says, gate, chances
        self.marks = marks
        self._context, self._most = context, most
        self._lock = threading.Lock()
        self._resident: dict[Path, None] = {}
        self._running: set[_Answering] = set()
        self._closed, self._awake = False, False
        self.asked: list[Request] = []

    def ensure(self, adapter: Path) -> None:
        if not (adapter / ADAPTER_CONFIG).exists():
            raise AdapterError("not_an_adapter", path=str(adapter))
        with self._lock:
            self._resident.pop(adapter, None)
            self._resident[adapter] = None

    def start(
        self, request: Request, heard: Heard = lambda piece: None, ended: Ended = lambda running: None
    ) -> _Answering:
        if request.adapter is not None:
            self.ensure(request.adapter)
        length = self.prompt_tokens(request)
        if length >= self._context:
            raise EngineError("context_too_long", tokens=length, context=self._context)
        answering = _Answering(request, length, heard, ended)
        with self._lock:
            if self._closed:
                raise EngineError("engine_closed")
            if len(self._running) >= self._most:
                raise EngineError("engine_full", waiting=len(self._running))
            self.asked.append(request)
            self._awake = True
            self._running.add(answering)
        threading.Thread(target=self._answer, args=(answering,), daemon=True).start()
        return answering

    def generate(self, request: Request, heard: Heard = lambda piece: None) -> Reply:
        return self.start(request, heard).result()

    def evict(self, adapter: Path) -> None:
        with self._lock:
            self._resident.pop(adapter, None)

    def prompt_tokens(self, request: Request) -> int:
        return len(request.prompt_ids) or sum(len(_PARTS.findall(m.content)) + 3 for m in request.messages)

    def health(self) -> Health:
        with self._lock:
            return Health(self._base, not self._closed, running=len(self._running), adapters=tuple(self._resident),
                          context=self._context)  # fmt: skip

    def failed(self) -> bool:
        return False

    def rest(self, seconds: float) -> bool:
        with self._lock:
            rests = self._awake and not self._running
            if rests:
                self._awake = False
                self._resident.clear()
        return rests

    def close(self) -> None:
        with self._lock:
            self._closed, running = True, list(self._running)
        for answering in running:
            answering.break_off(EngineError("engine_closed"))

    def _answer(self, answering: _Answering) -> None:
        try:
            request = answering.request
            answering.run(self._says(request), self._gate, self._context, self._chances(request),
                          self.marks(request))  # fmt: skip
        except PostilError as error:
            answering.break_off(error)
        finally:
            with self._lock:
                self._running.discard(answering)


class _Answering:
    def __init__(self, request: Request, length: int, heard: Heard, ended: Ended) -> None:
        self.request, self._length, self._heard = request, length, heard
        self._cancelled = threading.Event()
        self._future: Future[Reply] = Future()
        self._lock = threading.Lock()
        self._future.add_done_callback(lambda _: ended(self))

    def result(self, timeout: float | None = None) -> Reply:
        return self._future.result(timeout)

    def cancel(self) -> None:
        self._cancelled.set()

    def break_off(self, error: PostilError) -> None:
        with self._lock:
            if not self._future.done():
                self._future.set_exception(error)

    def run(
        self, text: str, gate: Callable[[Request], None], context: int, chances: tuple[tuple[str, float], ...],
        marks: int,
    ) -> None:  # fmt: skip
        cut = min((at for at in map(text.find, self.request.stop) if at >= 0), default=len(text))
        parts = _PARTS.findall(text[:cut])
        limit = min(context - self._length, self.request.max_tokens or context)
        said: list[Token] = []
        for part in parts[:limit]:
            gate(self.request)
            if self._cancelled.is_set() or self._future.done():
                break
            top = ((part, -0.5),) * min(1, self.request.logprobs or 0)
            said.append(Token(part, -0.5, top))
            self._heard(Piece(part, self._told(said[-1:])))
        finish: Finish = "cancelled" if len(said) < len(parts[:limit]) else "length" if len(parts) > limit else "stop"
        whole = "".join(token.text for token in said)
        ended = Reply(whole, finish, self._length, len(said) + (finish == "stop"), 0, self._told(said), chances,
                      marks)  # fmt: skip
        with self._lock:
            if not self._future.done():
                self._future.set_result(ended)

    def _told(self, tokens: list[Token]) -> tuple[Token, ...]:
        return () if self.request.logprobs is None else tuple(tokens)

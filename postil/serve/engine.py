"""Who generates: what an engine is asked, what it gives back, and the seam that ours, vLLM's and the twin all fill."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from postil.records import Message

Finish = Literal["stop", "length", "cancelled"]


@dataclass(frozen=True, slots=True)
class Request:
    """One answer wanted. `adapter` is its directory; None asks the untouched base. `scale`: how strongly it speaks; 0
    asks the base in the way in which the adapter is asked.

    The prompt is `messages` (with `tools`), written by the base's own chat template, or else `prompt_ids`.
    temperature 0 is greedy. `stop`: texts before which the answer ends. `logprobs`: how many likeliest tokens to tell
    with each token (0: its own alone); None: nothing of the kind. `project`: those that wait take turns by it.
    """

    messages: tuple[Message, ...] = ()
    adapter: Path | None = None
    max_tokens: int | None = None  # None: as many as the context holds
    temperature: float = 1.0
    top_p: float = 1.0
    seed: int | None = None  # None: another one each time
    stop: tuple[str, ...] = ()
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    logprobs: int | None = None
    tools: tuple[Mapping[str, Any], ...] = ()
    thinking: bool = False
    prompt_ids: tuple[int, ...] = ()
    project: str = ""
    scale: float = 1.0


@dataclass(frozen=True, slots=True)
class Token:
    """One token of an answer: its text, its natural log probability, and the likeliest ones in its place.

    raw: its own bytes, which may be a part of a character; empty: those of its text. top_raw: so for each of `top`.
    """

    text: str
    logprob: float
    top: tuple[tuple[str, float], ...] = ()
    raw: tuple[int, ...] = ()
    top_raw: tuple[tuple[int, ...], ...] = ()


@dataclass(frozen=True, slots=True)
class Piece:
    """What an answer gained: whole characters only, and the tokens that they came of (if logprobs were asked for)."""

    text: str
    tokens: tuple[Token, ...] = ()


@dataclass(frozen=True, slots=True)
class Reply:
    """A whole answer. `cached_tokens` of the prompt had been read before. `chances`: where it chose among labels, the
    likeliest of them with their probabilities. `marks`: of the model, in the texts of the request; read as text."""

    text: str
    finish: Finish
    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0
    tokens: tuple[Token, ...] = ()
    chances: tuple[tuple[str, float], ...] = ()
    marks: int = 0


@dataclass(frozen=True, slots=True)
class Health:
    """How an engine is. Bytes and counts; `adapters` are the resident ones, the one used last at the end."""

    base: Path
    alive: bool
    running: int = 0
    waiting: int = 0
    adapters: tuple[Path, ...] = ()
    adapter_bytes: int = 0
    memory_bytes: int = 0
    context: int = 0
    restarts: int = 0
    device: str = ""  # cpu, cuda


@dataclass(frozen=True, slots=True)
class Limits:
    """What an engine may take. rows: answers under way at once; waiting: requests that wait; text_bytes: of what the
    model remembers of answers under way; prefix_bytes: of beginnings kept for later; adapter_bytes: of adapters."""

    rows: int = 32
    waiting: int = 256
    text_bytes: int = 1 << 30
    prefix_bytes: int = 1 << 28
    adapter_bytes: int = 2 << 30


class Running(Protocol):
    """A request under way."""

    def result(self, timeout: float | None = None) -> Reply:
        """Wait for the whole answer. Raises the PostilError that ended it, TimeoutError after `timeout` seconds."""
        ...

    def cancel(self) -> None:
        """Stop within one token; `result` then has what there is, with finish "cancelled". Any number of times."""
        ...


Heard = Callable[[Piece], None]
Ended = Callable[["Running"], None]


class Engine(Protocol):
    """One base and the adapters on it. Every method may be called from any thread.

    Raises EngineError `engine_lost` when the process behind it ended, `engine_full` when too many wait,
    `context_too_long`, `engine_closed`, `alone_cannot` and `alone_scale` for what an adapter that answers alone cannot
    do; AdapterError for directories that hold no adapter or one that does not fit.
    """

    def ensure(self, adapter: Path) -> None:
        """Have this adapter in memory; what `generate` would do by itself, beforehand. Cheap if it is there."""
        ...

    def start(
        self, request: Request, heard: Heard = lambda piece: None, ended: Ended = lambda running: None
    ) -> Running:
        """Begin to answer; returns at once. `heard` gets each piece and `ended` the end, on a thread of the engine's
        own: they must not block. `result` of what `ended` gets does not wait."""
        ...

    def generate(self, request: Request, heard: Heard = lambda piece: None) -> Reply:
        """Answer, and wait for it."""
        ...

    def evict(self, adapter: Path) -> None:
        """Forget this adapter as soon as no running answer uses it."""
        ...

    def prompt_tokens(self, request: Request) -> int:
        """How many tokens the prompt of `request` has."""
        ...

    def health(self) -> Health: ...

    def failed(self) -> bool:
        """Whether its process ended unexpectedly and has not come back yet. Asks nobody."""
        ...

    def rest(self, seconds: float) -> bool:
        """Give memory back if nobody has asked anything for so long, and say whether that was done. What is asked
        afterwards is answered as ever, but for the time of a start."""
        ...

    def close(self) -> None:
        """End; running answers end with EngineError `engine_closed`."""
        ...

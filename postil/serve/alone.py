"""Adapters that cannot answer beside others are answered for one after the other, each from a pair of its own.

One pair, a base with the adapter on it, is in memory at a time: that of the adapter that was asked last. Asked with
`scale` 0 it is the base that answers, as the adapter's task asks it. One thread does all the work; while an answer is
written, what clients say meanwhile is heard between its pieces.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from postil.errors import AdapterError, EngineError, PostilError
from postil.model.boundary import adapter_boundary, reason_of
from postil.model.load import load_template
from postil.model.pair import Pair, open_pair
from postil.model.plaintext import beginning, check_plain
from postil.model.rewriting import source_of
from postil.model.sample import Sampling
from postil.model.template import Template
from postil.records import Adapter, Answer, Message, Plan
from postil.serve.engine import Finish, Limits, Piece, Reply, Request
from postil.serve.kind import WEIGHTS, Stamp, asked_of, plan_of, stamp
from postil.serve.turns import Asked, Listener, Turns
from postil.store import read_json

READS: Mapping[str, Callable[[Any, Sequence[Message]], list[int]]] = {  # where it is no plain dialogue
    "seq_2_seq_lm": lambda template, messages: source_of(messages, template),
    "seq_cls": lambda template, messages: list(template.read(messages)[0]),
    "token_cls": lambda template, messages: list(template.read(messages)[0]),
    "pretraining": lambda template, messages: beginning(messages, template),
}


def _dialogue(template: Template, messages: Sequence[Message]) -> list[int]:
    return template.prompt(messages)


CONTEXT = 4096  # of a base that does not say how much it can read
# what a pair cannot do as asked, by the field of the request; `scale` has a sentence of its own
CANNOT = ("prompt_ids", "tools", "logit_bias", "presence_penalty", "frequency_penalty")


@dataclass(frozen=True)
class Opened:
    """The pair in memory, and when its adapter's weights were written."""

    path: Path
    stamp: Stamp
    plan: Plan
    pair: Pair
    bytes: int


class Alone:
    """The answers of adapters on one base, one at a time. `between` is called between the pieces of an answer."""

    def __init__(
        self, base: Path, limits: Limits, *, dtype: str, device: str, threads: int,
        between: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self._base, self._limits = base, limits
        self._machine = {"dtype": dtype, "device": device, "threads": threads}
        self.between = between
        self.context = _context(base)
        self._turns = Turns(limits.waiting, self.context)
        self._now: Asked | None = None
        self._opened: Opened | None = None

    @property
    def running(self) -> int:
        return int(self._now is not None)

    @property
    def waiting(self) -> int:
        return len(self._turns)

    @property
    def paths(self) -> tuple[Path, ...]:
        return (self._opened.path,) if self._opened else ()

    @property
    def bytes(self) -> int:
        return self._opened.bytes if self._opened else 0

    def prompt(self, request: Request) -> list[int]:
        """The tokens of what is asked, as the adapter's task reads it."""
        task, template = self._task(request), self._template(request)
        if task in READS and (task != "seq_cls" or getattr(template, "encoder", False)):
            check_plain(request.messages)
        else:
            template.check_said(request.messages)
        return READS.get(task, _dialogue)(template, request.messages)

    def _task(self, request: Request) -> str:
        plan = plan_of(request.adapter) if request.adapter else {}
        task = str(plan.get("task", "causal_lm"))
        asked_of(task)
        return task

    def _template(self, request: Request) -> Template:
        plan = plan_of(request.adapter) if request.adapter else {}
        return load_template(self._base, thinking=bool(plan.get("thinking", False)), task=self._task(request))

    def ask(self, request: Request, listener: Listener) -> Asked:
        """Put a request in the queue. Raises `engine_full`, `context_too_long`, `alone_cannot`, `alone_scale`."""
        _check(request)
        marks = self._template(request).count_marks(request.messages)
        waiting = self._turns.ask(request, listener, self.prompt)
        waiting.marks = marks
        return waiting

    def hold(self, adapter: Path) -> None:
        """Have this adapter's pair in memory, unless another answers just now. Raises AdapterError."""
        if self._now is None:
            self._pair(adapter)
        elif stamp(adapter / WEIGHTS) is None:
            raise AdapterError("not_an_adapter", path=str(adapter))

    def forget(self, adapter: Path) -> None:
        """Give the memory back; an answer under way keeps its pair to its end."""
        if self._opened is not None and self._opened.path == adapter:
            self._opened = None
            gc.collect()

    def step(self) -> bool:
        """Answer the next request. Returns whether there are more."""
        while self._turns:
            asked = self._turns.take()
            if asked.cancelled:
                asked.listener.reply(Reply("", "cancelled", len(asked.ids), 0))
                continue
            self._now = asked
            try:
                self._answer(asked)
            except PostilError as error:
                asked.listener.error(error)
            except Exception as fault:  # noqa: BLE001  the next one is to be answered
                path = str(asked.request.adapter)
                asked.listener.error(AdapterError("adapter_fault", path=path, reason=reason_of(fault)))
            finally:
                self._now = None
            break
        return bool(self._turns)

    def _answer(self, asked: Asked) -> None:
        request = asked.request
        assert request.adapter is not None
        opened = self._pair(request.adapter)
        if request.thinking and not opened.plan.thinking:
            raise EngineError("alone_cannot", what="enable_thinking")
        saying = _Saying(asked, self.between)
        try:
            answer = self._said(opened, request, asked.new, saying.say)
        except _EnoughError as enough:
            tokens = len(load_template(self._base, task=opened.plan.task).tokenizer.encode(saying.whole))
            asked.listener.reply(Reply(saying.whole, enough.finish, len(asked.ids), tokens, marks=asked.marks))
        else:
            saying.rest()
            finish: Finish = "stop" if answer.stopped else "length"
            asked.listener.reply(
                Reply(saying.whole, finish, len(asked.ids), answer.tokens, chances=answer.chances, marks=asked.marks)
            )

    def _said(self, opened: Opened, request: Request, new: int, say: Callable[[str], None]) -> Answer:
        pair, tuned = opened.pair, request.scale > 0
        if not asked_of(opened.plan.task).whole:
            return pair.stream(request.messages, say, tuned=tuned, max_new_tokens=new, how=_how(request))
        (answer,) = pair.answers([request.messages], tuned=tuned)
        if not all(isfinite(chance) for _, chance in answer.chances):
            raise EngineError("answer_not_finite")
        say(answer.text)
        return answer

    def _pair(self, path: Path) -> Opened:
        """The pair of this adapter, opened if it is not here or was written anew since; any other goes first."""
        written = stamp(path / WEIGHTS)
        if written is None:
            raise AdapterError("not_an_adapter", path=str(path))
        if self._opened is not None and (self._opened.path, self._opened.stamp) == (path, written):
            return self._opened
        self._opened = None
        gc.collect()
        if written[1] > self._limits.adapter_bytes:
            budget = self._limits.adapter_bytes
            raise AdapterError("adapter_too_large", path=str(path), bytes=written[1], budget=budget)
        adapter = self._adapter(path)
        with adapter_boundary(path):
            self._opened = Opened(path, written, adapter.plan, open_pair(adapter), written[1])
        return self._opened

    def _adapter(self, path: Path) -> Adapter:
        """What is known of it, with this engine's own machine in its plan: it may have been trained on another."""
        try:
            plan = Plan(**{**plan_of(path), **self._machine})
        except (ValidationError, TypeError) as refused:
            reason = str(refused).strip().splitlines()[0]
            raise AdapterError("adapter_misfit", path=str(path), reason=reason) from refused
        return Adapter(path, self._base.name, self._base, "", plan)


class _EnoughError(Exception):
    """Nothing more is wanted of this answer. Never leaves this file."""

    def __init__(self, finish: Finish) -> None:
        super().__init__(finish)
        self.finish = finish


class _Saying:
    """Hands on the pieces of an answer, up to a stop text."""

    def __init__(self, asked: Asked, between: Callable[[], None]) -> None:
        self._asked, self._between = asked, between
        self._stop = [one for one in asked.request.stop if one]
        self._held = ""  # may be the beginning of a stop text
        self.whole, self.stopped = "", False

    def say(self, text: str) -> None:
        self._between()
        if self._asked.cancelled:
            raise _EnoughError("cancelled")
        self._held += text
        found = [at for at in map(self._held.find, self._stop) if at >= 0]
        if found:
            self._held, self.stopped = self._held[: min(found)], True
            self.rest()
            raise _EnoughError("stop")
        longest = max((len(one) for one in self._stop), default=1) - 1
        kept = next((n for n in range(min(longest, len(self._held)), 0, -1)
                     if any(one.startswith(self._held[-n:]) for one in self._stop)), 0)  # fmt: skip
        self._hand_on(len(self._held) - kept)

    def rest(self) -> None:
        """What is left to be said at the end."""
        self._hand_on(len(self._held))

    def _hand_on(self, count: int) -> None:
        text, self._held = self._held[:count], self._held[count:]
        if text:
            self.whole += text
            self._asked.listener.piece(Piece(text))


def _how(request: Request) -> Sampling:
    seed = random.getrandbits(62) if request.seed is None else request.seed
    return Sampling(request.temperature, request.top_p, seed)


def _check(request: Request) -> None:
    """Nothing that would change the answer is ignored."""
    if request.adapter is None:
        raise EngineError("alone_cannot", what="adapter")
    for name in CANNOT:
        if getattr(request, name):
            raise EngineError("alone_cannot", what=name)
    if request.logprobs is not None:
        raise EngineError("alone_cannot", what="logprobs")
    if request.scale not in (0.0, 1.0):
        raise EngineError("alone_scale", scale=request.scale)


def _context(base: Path) -> int:
    """How many tokens the base can read."""
    config: dict[str, Any] = read_json(base / "config.json") if (base / "config.json").exists() else {}
    text = config.get("text_config") or config
    return int(text.get("max_position_embeddings") or text.get("n_positions") or CONTEXT)

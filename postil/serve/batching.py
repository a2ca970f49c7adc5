"""Answers of many adapters are written together: requests come in and go out between two passes of the model.

Those that wait take turns. One thread does all the work.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from copy import copy
from pathlib import Path
from typing import Any

import torch

from postil.errors import AdapterError, EngineError, PostilError
from postil.model.apart import writer
from postil.model.boundary import reason_of
from postil.model.cells import Shared
from postil.model.load import Loaded
from postil.model.plaintext import beginning, check_plain
from postil.model.sample import Chooser, Sampling, choose_all
from postil.serve.engine import Finish, Limits, Reply, Request
from postil.serve.kind import kind_of
from postil.serve.prefixes import Prefixes
from postil.serve.shelf import Shelf
from postil.serve.text import Text
from postil.serve.turns import Asked, Listener, Turns
from postil.serve.voices import Voices

LOG = logging.getLogger(__name__)
MOST_FAILURES = 3  # passes for one answer alone that fail, one after the other: then it is the machine, not the answers
MOST_READ = 256  # tokens of prompts in one pass: others' next tokens wait for it


class Batch:
    """The answers of one base and of the adapters on it. Not for several threads, but for `Asked.cancelled`."""

    def __init__(self, loaded: Loaded, limits: Limits) -> None:
        self._loaded, self._limits = loaded, limits
        self.context = int(getattr(loaded.model.config.get_text_config(), "max_position_embeddings", 4096))
        linears = linear_layers(loaded.model)
        self._voices = voices = Voices()
        self._decoder, together = writer(loaded.model, loaded.device, self.context, linears, voices.speak, voices.add)
        self.shelf = Shelf(linears, limits.adapter_bytes, together)
        self._prefixes = Prefixes(limits.prefix_bytes)
        self._turns = Turns(limits.waiting, self.context)
        self._live: dict[Any, Asked] = {}
        self._failures = 0
        self._token_bytes = 0  # of one token's keys and values; known when one has been read

    @property
    def running(self) -> int:
        return len(self._live)

    @property
    def waiting(self) -> int:
        return len(self._turns)

    @property
    def paths(self) -> tuple[Path, ...]:
        return self.shelf.paths

    @property
    def bytes(self) -> int:
        return self.shelf.bytes

    def prompt(self, request: Request) -> list[int]:
        """The tokens of the request's prompt; of a model that goes on with texts, those of the words alone."""
        if request.prompt_ids:
            return list(request.prompt_ids)
        if request.adapter is not None and kind_of(request.adapter).plain:
            check_plain(request.messages)
            return beginning(request.messages, self._loaded.template)
        template = copy(self._loaded.template)
        template.thinking = request.thinking
        template.check_said(request.messages, request.tools)
        return template.prompt(request.messages, request.tools)

    def ask(self, request: Request, listener: Listener) -> Asked:
        """Put a request in the queue. Raises `engine_full`, `context_too_long`, or what the template refuses."""
        marks = 0

        def prompt(asked: Request) -> list[int]:
            nonlocal marks
            ids = self.prompt(asked)
            marks = self._loaded.template.count_marks(asked.messages, asked.tools)
            return ids

        waiting = self._turns.ask(request, listener, prompt)  # what is refused is in no queue
        waiting.marks = marks
        return waiting

    def hold(self, adapter: Path) -> None:
        """Have this adapter in memory. Raises AdapterError."""
        self.shelf.hold(adapter)

    def forget(self, adapter: Path) -> None:
        """Have this adapter in memory no longer than answers under way need it."""
        for held in self.shelf.drop(adapter):
            self._prefixes.forget(held.voice)

    def step(self) -> bool:
        """Let in who waits, and write one token of each answer. Returns whether there is more to do."""
        self._let_go()
        self._let_in()
        rows, logits = self._passed()
        if logits is not None:
            self._write([(row, self._live[row]) for row in rows], logits)
        return bool(self._live or self._turns)

    def _passed(self) -> tuple[Sequence[Any], torch.Tensor | None]:
        """One pass of the model. If it fails, the answers at fault end, and it is done again without them."""
        while self._live:
            try:
                passed = self._decoder.step(MOST_READ)
            except Exception as fault:
                LOG.exception("a pass of the model failed")
                alone = len(self._live) == 1
                self._failures = 0 if self._end_at_fault(fault) else self._failures + alone
                if self._failures >= MOST_FAILURES:
                    raise
            else:
                self._failures = 0
                return passed
        return (), None

    def _end_at_fault(self, fault: Exception) -> bool:
        """End the answers of the adapters that fail by themselves, if any does; else the one that came last."""
        voices = {asked.held: None for asked in self._live.values() if asked.held is not None}
        faults = {held: self._voices.fault_of(held) for held in voices}
        broken = {held: own for held, own in faults.items() if own is not None}
        for row, asked in list(self._live.items()):
            if asked.held in broken:
                self._fail(row, asked, fault_of_adapter(asked.held.path, broken[asked.held]))
        if not broken:
            row, asked = next(reversed(self._live.items()))
            self._fail(row, asked, EngineError("answer_failed", reason=reason_of(fault)))
        return bool(broken)

    # ── coming and going ──

    def _let_go(self) -> None:
        for row, asked in list(self._live.items()):
            if asked.cancelled:
                self._end(row, asked, "cancelled")
        for asked in self._turns.remove(lambda asked: asked.cancelled):
            asked.listener.reply(Reply("", "cancelled", len(asked.ids), 0))

    def _let_in(self) -> None:
        while self._turns and len(self._live) < self._limits.rows and self._fits(self._turns.first()):
            asked = self._turns.take()
            try:
                self._begin(asked)
            except PostilError as error:
                self._give_up(asked, error)
            except Exception as fault:  # noqa: BLE001  nobody else is to suffer for it
                self._give_up(asked, EngineError("answer_failed", reason=reason_of(fault)))

    def _fits(self, asked: Asked) -> bool:
        """Whether all that may be written has room in memory; a single answer always has."""
        tokens = sum(len(one.ids) + one.new for one in (*self._live.values(), asked))
        return not self._live or tokens * self._token_bytes <= self._limits.text_bytes

    def _begin(self, asked: Asked) -> None:
        request, loaded = asked.request, self._loaded
        if request.adapter is not None and request.scale:  # at 0 it is the base that answers
            asked.held = self.shelf.hold(request.adapter, request.scale)
            self.shelf.use(asked.held)
        behind = self._prefixes.find(asked.voice, asked.ids)
        asked.cached = behind.length if behind else 0
        seed = random.getrandbits(62) if request.seed is None else request.seed
        how = Sampling(request.temperature, request.top_p, seed, request.presence_penalty, request.frequency_penalty,
                       request.logit_bias)  # fmt: skip
        asked.chooser, asked.text = Chooser(how), Text(loaded, asked.ids, request.stop, request.logprobs)
        row = self._decoder.add(asked.ids[asked.cached :], asked.held, behind=behind, copy=True)
        self._live[row] = asked

    def _give_up(self, asked: Asked, error: PostilError) -> None:
        if asked.held is not None:
            self.shelf.leave(asked.held)
        asked.listener.error(error)

    def _fail(self, row: Any, asked: Asked, error: PostilError) -> None:
        """End one answer with an error; what it has said by now has been said."""
        self._decoder.drop(row)
        del self._live[row]
        self._give_up(asked, error)

    def _end(self, row: Any, asked: Asked, finish: Finish) -> None:
        assert asked.text is not None
        self._decoder.drop(row)
        del self._live[row]
        if asked.held is not None:
            self.shelf.leave(asked.held)
        piece = asked.text.rest()
        if piece is not None:
            asked.listener.piece(piece)
        asked.listener.reply(
            Reply(asked.text.whole, finish, len(asked.ids), asked.written, asked.cached, tuple(asked.text.tokens),
                  marks=asked.marks)
        )  # fmt: skip

    # ── writing ──

    def _write(self, rows: Sequence[tuple[Any, Asked]], logits: torch.Tensor) -> None:
        finite = logits.amax(-1).isfinite().tolist()  # where any number is none, the largest is none
        if not all(finite):
            for (row, asked), sound in zip(rows, finite, strict=True):
                if not sound:
                    self._fail(row, asked, EngineError("answer_not_finite"))
            rows = [pair for pair, sound in zip(rows, finite, strict=True) if sound]
            logits = logits[torch.tensor(finite)]
        choosers = [asked.chooser for _, asked in rows if asked.chooser is not None]
        for (row, asked), token, told in zip(rows, choose_all(choosers, logits), logits, strict=True):
            try:
                if asked.reading:
                    self._remember(row, asked)
                self._said(row, asked, token, told)
            except Exception as fault:  # noqa: BLE001  the others' tokens are still to be said
                if row in self._live:
                    self._fail(row, asked, EngineError("answer_failed", reason=reason_of(fault)))

    def _said(self, row: Any, asked: Asked, token: int, told: torch.Tensor) -> None:
        assert asked.text is not None
        asked.written += 1
        if token in self._loaded.template.stop_ids:
            self._end(row, asked, "stop")
            return
        piece = asked.text.put(token, told)
        if piece is not None:
            asked.listener.piece(piece)
        if asked.text.stopped:
            self._end(row, asked, "stop")
        elif asked.written >= asked.new:
            self._end(row, asked, "length")
        else:
            row.unread = [token]

    def _remember(self, row: Any, asked: Asked) -> None:
        """Keep what a prompt's tokens gave, for prompts that begin alike."""
        asked.reading = False

        def copied(length: int = len(asked.ids)) -> Shared | None:
            return self._decoder.beginning(row, length)

        self._prefixes.keep(asked.voice, asked.ids, asked.cached, copied)
        if not self._token_bytes:
            one = copied(1)
            self._token_bytes = sum(key.nbytes + value.nbytes for key, value in one.layers) if one else 0


def fault_of_adapter(path: Path, fault: Exception) -> AdapterError:
    return AdapterError("adapter_fault", path=str(path), reason=reason_of(fault))


def linear_layers(model: Any) -> dict[str, torch.nn.Linear]:
    """The linear layers that an adapter may stand on, by path; not the head."""
    head = model.get_output_embeddings()
    return {
        path: layer for path, layer in model.named_modules() if isinstance(layer, torch.nn.Linear) and layer is not head
    }

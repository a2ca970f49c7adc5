"""Answers: greedy unless asked otherwise, each row stopping at its own end of turn.

All rows are written on together by a `Decoder`. A model that it cannot drive (`decodes` says no, or the text may grow
longer than a sliding window) answers by transformers' own loop, and one that puts tokens of its own before each text by
a plain loop of forward passes (both in `model/plain.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import torch
from torch.nn import functional as F

from postil.model.attention import Unpackable
from postil.model.boundary import finite_numbers
from postil.model.decode import Decoder, Row, decodes
from postil.model.layout import FEWEST_SHARED
from postil.model.load import Loaded
from postil.model.loss import most_logits
from postil.model.methods.virtual import prepends
from postil.model.plain import by_transformers, pass_by_pass
from postil.model.sample import Chooser, Sampling, choose_all, likeliest
from postil.records import Answer

MOST_ROWS = 128  # written at once; more make no matrix product faster
MOST_READ = 2048  # tokens of prompts in one pass

Say = Callable[[int, int], None]  # the row, and its new token


def generate(
    loaded: Loaded,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
    tell: Callable[[int], None] = lambda done: None,
) -> list[Answer]:
    """One answer for each prompt (token ids), in their order; `tell` hears how many are done.

    What all prompts begin with is read once. Temperature 0 is greedy; else each row is drawn by the seed alone,
    whatever its companions.
    """
    how = Sampling(temperature, top_p, seed)
    with torch.inference_mode():
        rows = _written(loaded, prompts, max_new_tokens, how, tell=tell)
    return [_answer(loaded, prompt, row) for prompt, row in zip(prompts, rows, strict=True)]


def tried(
    loaded: Loaded, prompts: Sequence[Sequence[int]], references: Sequence[Sequence[int]], *, max_new_tokens: int,
    tell: Callable[[int], None] = lambda done: None,
) -> tuple[list[Answer], list[torch.Tensor]] | None:  # fmt: skip
    """Greedy answers, and the loss of each token of a reference behind each prompt, in nats: [its tokens].

    Prompts are read once for both. A reference is also a guess of the answer: as far as the model would have written
    it, it need not be written token by token (speculative decoding, Leviathan and others, arXiv 2211.17192, with the
    reference as the draft). An empty reference has no loss. None: this model is not driven in this way.
    """
    if prepends(loaded.model) or not prompts or not decodes(loaded.model, loaded.device):
        return None
    longest = max(
        len(prompt) + max(len(text), max_new_tokens) for prompt, text in zip(prompts, references, strict=True)
    )
    with torch.inference_mode():
        together = _Together(loaded, prompts, max_new_tokens, Sampling(), longest, references)
        try:
            rows = together.run(lambda row, token: None, tell)
        except Unpackable:
            return None
    return [_answer(loaded, prompt, row) for prompt, row in zip(prompts, rows, strict=True)], together.losses


def written(loaded: Loaded, prompts: Sequence[Sequence[int]], *, max_new_tokens: int) -> list[list[int]]:
    """The tokens of greedy answers, each with the one that ends it if it came."""
    with torch.inference_mode():
        return _written(loaded, prompts, max_new_tokens, Sampling())


def stream(
    loaded: Loaded,
    prompt: Sequence[int],
    say: Callable[[str], None],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> Answer:
    """One answer, its text given to `say` piece by piece as it comes."""
    pieces = Pieces(loaded)
    how = Sampling(temperature, top_p, seed)
    with torch.inference_mode(), finite_numbers(loaded.model):
        (row,) = _written(loaded, [prompt], max_new_tokens, how, lambda _, token: say(pieces.put(token)))
    say(pieces.end())
    return _answer(loaded, prompt, row)


def _written(
    loaded: Loaded, prompts: Sequence[Sequence[int]], new: int, how: Sampling, say: Say = lambda row, token: None,
    tell: Callable[[int], None] = lambda done: None,
) -> list[list[int]]:  # fmt: skip
    """The new tokens of each prompt, with the one that ends it."""
    if prepends(loaded.model):
        return pass_by_pass(loaded, prompts, new, how, say, tell)
    if prompts and decodes(loaded.model, loaded.device):
        longest = max(len(prompt) for prompt in prompts) + new
        try:
            return _Together(loaded, prompts, new, how, longest).run(say, tell)
        except Unpackable:  # told by the first pass, before anything was said
            pass
    return by_transformers(loaded, prompts, new, how, say, tell)


class _Together:
    """All prompts under way at once, as many as fit."""

    def __init__(
        self, loaded: Loaded, prompts: Sequence[Sequence[int]], new: int, how: Sampling, longest: int,
        references: Sequence[Sequence[int]] | None = None,
    ) -> None:  # fmt: skip
        self._prompts, self._new, self._stops = prompts, new, set(loaded.template.stop_ids)
        self._references = references or [()] * len(prompts)
        self._most_heard = most_logits(loaded.model, loaded.device)
        self.losses = [torch.empty(0)] * len(prompts)
        self._decoder = Decoder(loaded.model, loaded.device, longest)
        self._written: list[list[int]] = [[] for _ in prompts]
        self._choosers = [Chooser(how) for _ in prompts]
        self._live: dict[Row, int] = {}

    def run(self, say: Say, tell: Callable[[int], None]) -> list[list[int]]:
        start = shared_beginning(self._prompts)
        behind = self._decoder.read(self._prompts[0][:start]) if start else None
        waiting, done = list(range(len(self._prompts)))[::-1], 0
        while waiting or self._live:
            while waiting and len(self._live) < MOST_ROWS:
                i = waiting.pop()
                row = self._decoder.add(self._prompts[i][start:], behind=behind, more=len(self._references[i]))
                self._live[row] = i
            ended = self._step(say)
            if ended:
                done += ended
                tell(done)
        return self._written

    def _step(self, say: Say) -> int:
        """One pass; how many rows it ended."""
        rows, logits = self._decoder.step(MOST_READ)
        before = len(self._live)
        if logits is not None:
            guessed = self._guessed([(row, logits[at]) for at, row in enumerate(rows) if self._untried(row)])
            tokens = choose_all([self._choosers[self._live[row]] for row in rows], logits)
            for row, token in zip(rows, tokens, strict=True):
                self._write(row, guessed.get(row, [token]), say)
        return before - len(self._live)

    def _write(self, row: Row, tokens: Sequence[int], say: Say) -> None:
        """Put tokens behind a row, of which it has heard all but the last."""
        i = self._live[row]
        for token in tokens:
            self._written[i].append(token)
            say(i, token)
        if tokens[-1] in self._stops or len(self._written[i]) == self._new:
            self._decoder.drop(row)
            del self._live[row]
        else:
            row.unread = [tokens[-1]]

    # ── references ──

    def _untried(self, row: Row) -> bool:
        return bool(self._references[self._live[row]]) and not self._written[self._live[row]]

    def _guessed(self, fresh: Sequence[tuple[Row, torch.Tensor]]) -> dict[Row, list[int]]:
        """The references of rows that have just been read: their losses, and what the model would write as they do,
        with its own token behind that. Each comes with what the model says first [vocabulary]."""
        said: dict[Row, list[int]] = {row: [] for row, _ in fresh}
        for row, first in fresh:
            self._hear(row, first[None], said)
        left = [(row, list(self._references[self._live[row]][:-1])) for row, _ in fresh]
        for group in _some_of(left, self._most_heard):
            logits = self._decoder.hear(group)
            for (row, _), own in zip(group, torch.split(logits, [len(ids) for _, ids in group]), strict=True):
                self._hear(row, own, said)
        return {row: self._as_far_as_right(row, tokens) for row, tokens in said.items()}

    def _hear(self, row: Row, logits: torch.Tensor, said: dict[Row, list[int]]) -> None:
        """The model's words [tokens, vocabulary] where the next tokens of a reference stand: their losses, and what it
        would say itself."""
        i, at = self._live[row], len(said[row])
        wanted = torch.tensor(self._references[i][at : at + len(logits)], device=logits.device)
        loss = F.cross_entropy(logits.float(), wanted, reduction="none")
        self.losses[i] = torch.cat((self.losses[i], loss.cpu()))
        said[row] += likeliest(logits).tolist()

    def _as_far_as_right(self, row: Row, said: Sequence[int]) -> list[int]:
        """What the model would have written, as far as it is the reference, and one token more."""
        reference = self._references[self._live[row]]
        right = next(
            (at for at, token in enumerate(said) if token != reference[at] or token in self._stops), len(said) - 1
        )
        kept = min(right, self._new - 1)
        self._decoder.forget(row, len(reference) - 1 - kept)
        return list(said[: kept + 1])


def _some_of(texts: Sequence[tuple[Row, list[int]]], most: int) -> Iterator[list[tuple[Row, list[int]]]]:
    """Texts in groups of at most `most` tokens, long ones in parts."""
    group: list[tuple[Row, list[int]]] = []
    room = most
    for row, ids in texts:
        while ids:
            part, ids = ids[:room], ids[room:]
            group.append((row, part))
            room -= len(part)
            if not room:
                yield group
                group, room = [], most
    if group:
        yield group


def shared_beginning(prompts: Sequence[Sequence[int]]) -> int:
    """How many tokens all prompts begin with, each having one more at least; 0 where sharing would not pay."""
    if len(prompts) < 2:
        return 0
    shortest = min(len(prompt) for prompt in prompts) - 1
    first, last = min(map(list, prompts)), max(map(list, prompts))  # what these two share, all do
    start = next((i for i in range(shortest) if first[i] != last[i]), shortest)
    return start if start >= FEWEST_SHARED else 0


# ── text ──


def _answer(loaded: Loaded, prompt: Sequence[int], row: Sequence[int]) -> Answer:
    said = answer_of(loaded, row)
    if opens_thinking(loaded, prompt):
        return replace(said, text=f"<think>\n{said.text}")  # without the mark it could not be told apart
    return said


def answer_of(loaded: Loaded, row: Sequence[int]) -> Answer:
    """The answer that these new tokens are, as far as the one that ends it."""
    end = next((i for i, token in enumerate(row) if token in loaded.template.stop_ids), None)
    ids = list(row if end is None else row[:end])
    text = loaded.tokenizer.decode(ids, skip_special_tokens=True).rstrip("\N{REPLACEMENT CHARACTER}").strip()
    return Answer(text, len(row) if end is None else end + 1, end is not None)


def opens_thinking(loaded: Loaded, prompt: Sequence[int]) -> bool:
    """Whether the prompt has opened the reasoning already."""
    return bool(loaded.tokenizer.decode(list(prompt[-8:])).rstrip().endswith("<think>"))


class Pieces:
    """The text of a row as its tokens come, in whole characters: a Chinese one may take several tokens."""

    def __init__(self, loaded: Loaded) -> None:
        self._tokenizer, self._stops = loaded.tokenizer, set(loaded.template.stop_ids)
        self._ids: list[int] = []
        self._context, self._from = 0, 0  # tokens up to `_from` have been said; those from `_context` are read again

    def put(self, token: int) -> str:
        """What can be said now."""
        if token not in self._stops:
            self._ids.append(token)
        text = self._new()
        if not text or text.endswith("\N{REPLACEMENT CHARACTER}"):
            return ""
        self._said()
        return text

    def end(self) -> str:
        """What is left to be said."""
        return self._new().rstrip("\N{REPLACEMENT CHARACTER}")

    def _new(self) -> str:
        """The text behind what was said; read with some of that before it, since tokenizers treat a beginning apart."""
        said = self._text(self._ids[self._context : self._from])
        return self._text(self._ids[self._context :])[len(said) :]

    def _said(self) -> None:
        self._context, self._from = self._from, len(self._ids)

    def _text(self, ids: Sequence[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True)
        return text

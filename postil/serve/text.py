"""The text of an answer as its tokens come: whole characters, up to a stop text, with log probabilities if wanted."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from postil.model.generate import Pieces, opens_thinking
from postil.model.load import Loaded
from postil.model.tokenbytes import bytes_by
from postil.serve.engine import Piece, Token


class Text:
    """What an answer says. `whole` is its text so far, `stopped` whether a stop text was reached."""

    def __init__(self, loaded: Loaded, prompt: Sequence[int], stop: Sequence[str], logprobs: int | None) -> None:
        self._loaded, self._stop, self._logprobs = loaded, [one for one in stop if one], logprobs
        self._pieces = Pieces(loaded)
        self._held = "<think>\n" if opens_thinking(loaded, prompt) else ""  # may be the beginning of a stop text
        self._untold: list[Token] = []
        self.whole, self.stopped = "", False
        self.tokens: list[Token] = []

    def put(self, token: int, logits: torch.Tensor) -> Piece | None:
        """What can be said after one more token, chosen by `logits` [vocabulary]."""
        if self._logprobs is not None:
            self._untold.append(self._told(token, logits))
        self._held += self._pieces.put(token)
        found = [at for at in map(self._held.find, self._stop) if at >= 0]
        if found:
            self._held, self.stopped = self._held[: min(found)], True
            return self.rest()
        return self._say(len(self._held) - self._overlap())

    def rest(self) -> Piece | None:
        """What is left to be said at the end."""
        if not self.stopped:
            self._held += self._pieces.end()
        return self._say(len(self._held), last=True)

    def _say(self, count: int, *, last: bool = False) -> Piece | None:
        text, self._held = self._held[:count], self._held[count:]
        if not text and not (last and self._untold):
            return None
        tokens, self._untold = tuple(self._untold), []
        self.whole += text
        self.tokens += tokens
        return Piece(text, tokens)

    def _overlap(self) -> int:
        """How many characters at the end may be the beginning of a stop text."""
        longest = max((len(one) for one in self._stop), default=1) - 1
        for count in range(min(longest, len(self._held)), 0, -1):
            if any(one.startswith(self._held[-count:]) for one in self._stop):
                return count
        return 0

    def _told(self, token: int, logits: torch.Tensor) -> Token:
        chances = torch.log_softmax(logits.float(), -1)
        raw = bytes_by(self._loaded.tokenizer)
        top: list[tuple[str, float]] = []
        likely: list[int] = []
        if self._logprobs:
            values, ids = chances.topk(min(self._logprobs, len(chances)))
            likely = ids.tolist()
            top = [(self._word(one), value) for one, value in zip(likely, values.tolist(), strict=True)]
        return Token(self._word(token), float(chances[token]), tuple(top), tuple(raw(token)),
                     tuple(tuple(raw(one)) for one in likely))  # fmt: skip

    def _word(self, token: int) -> str:
        word: str = self._loaded.tokenizer.decode([token])
        return word

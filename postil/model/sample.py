"""The next token of one row: the likeliest, or drawn by the row's own seed, so that its companions do not matter."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch

BLOCK = 256  # of a vocabulary
COLDEST = 1e-6  # temperature; what is divided by less becomes infinite


@dataclass(frozen=True, slots=True)
class Sampling:
    """How tokens are chosen. temperature 0: the likeliest. Penalties and biases are OpenAI's, on the logits."""

    temperature: float = 0.0
    top_p: float = 1.0
    seed: int = 0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)

    @property
    def plain(self) -> bool:
        """Whether the likeliest token is taken as it is."""
        return not (self.temperature or self.presence_penalty or self.frequency_penalty or self.logit_bias)


class Chooser:
    """Chooses the tokens of one row, in their order."""

    def __init__(self, sampling: Sampling) -> None:
        self.sampling = sampling
        self._said: Counter[int] = Counter()
        self._random = torch.Generator().manual_seed(sampling.seed) if sampling.temperature else None

    def choose(self, logits: torch.Tensor) -> int:
        """The next token, given what the model says of all [vocabulary]."""
        how = self.sampling
        if not how.plain:
            logits = self._shifted(logits.float())
        if self._random is None:
            token = int(logits.argmax())
        else:
            token = self._drawn(torch.softmax(logits.float() / max(how.temperature, COLDEST), -1).cpu())
        self._said[token] += 1
        return token

    def _shifted(self, logits: torch.Tensor) -> torch.Tensor:
        how, shifts = self.sampling, dict(self.sampling.logit_bias)
        if how.presence_penalty or how.frequency_penalty:
            for token, count in self._said.items():
                shifts[token] = shifts.get(token, 0.0) - how.presence_penalty - how.frequency_penalty * count
        inside = {token: shift for token, shift in shifts.items() if 0 <= token < len(logits)}
        if not inside:
            return logits
        at = torch.tensor(list(inside), device=logits.device)
        return logits.index_add(0, at, torch.tensor(list(inside.values()), dtype=logits.dtype, device=logits.device))

    def _drawn(self, chances: torch.Tensor) -> int:
        """A token out of the fewest likeliest that together have `top_p`."""
        if self.sampling.top_p < 1.0:
            ordered, tokens = chances.sort(descending=True)
            kept = int((ordered.cumsum(0) - ordered < self.sampling.top_p).sum())
            return int(tokens[torch.multinomial(ordered[: max(1, kept)], 1, generator=self._random)])
        return int(torch.multinomial(chances, 1, generator=self._random))


def choose_all(choosers: list[Chooser], logits: torch.Tensor) -> list[int]:
    """The next token of each row [rows, vocabulary]."""
    plain = any(one.sampling.plain for one in choosers)
    best = likeliest(logits).tolist() if plain else [0] * len(choosers)
    return [
        token if one.sampling.plain else one.choose(row) for one, token, row in zip(choosers, best, logits, strict=True)
    ]


def likeliest(logits: torch.Tensor) -> torch.Tensor:
    """The first of the largest in each row [rows, vocabulary], as argmax finds it. On a processor that takes many times
    as long as the largest value itself, and is asked only for one block of each row."""
    rows, length = logits.shape
    blocks, rest = divmod(length, BLOCK)
    if not blocks:
        return logits.argmax(-1)
    tops = logits[:, : blocks * BLOCK].reshape(rows, blocks, BLOCK).amax(-1)
    if rest:
        tops = torch.cat((tops, logits[:, -rest:].amax(-1, keepdim=True)), 1)
    starts = (tops.argmax(-1) * BLOCK).clamp(max=length - BLOCK)
    block = logits.gather(1, starts[:, None] + torch.arange(BLOCK, device=logits.device))
    found: torch.Tensor = starts + block.argmax(-1)
    return found

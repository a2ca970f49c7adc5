"""Base and tuned as they answer in a chat, from one base in memory: the adapter is switched off and on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Self

import torch

from postil.model.adapt import open_adapter
from postil.model.generate import generate, stream, tried
from postil.model.layout import lay_out
from postil.model.load import Loaded, load_planned
from postil.model.loss import Loss, why_not_packed
from postil.model.sample import Sampling
from postil.model.template import Tokens
from postil.records import Adapter, Answer, Example, Message, Plan

MOST_TOKENS = 4096


class ChatPair:
    """See `model/pair.py`."""

    def __init__(self, loaded: Loaded, plan: Plan) -> None:
        self._loaded = loaded
        self._plan = plan
        self._looked: tuple[int, bool] | None = None  # the longest row of a look at whether rows can be packed; if so

    @classmethod
    def open(cls, adapter: Adapter) -> Self:
        plan = adapter.plan
        torch.set_num_threads(plan.threads)
        loaded = load_planned(adapter.base_path, plan)
        loaded.model = open_adapter(loaded.model, adapter.path)
        return cls.on(loaded, adapter)

    @classmethod
    def on(cls, loaded: Loaded, adapter: Adapter) -> Self:
        return cls(loaded, adapter.plan)

    def answers(
        self,
        questions: Sequence[Sequence[Message]],
        *,
        tuned: bool,
        tell: Callable[[int], None] = lambda done: None,
        max_new_tokens: int | None = None,
    ) -> list[Answer]:
        """Greedy answers to `questions` (all messages before the answer), in their order."""
        prompts = [self._prompt(question) for question in questions]
        with self._switched(tuned):
            new = max_new_tokens or self._plan.max_new_tokens
            return generate(self._loaded, prompts, max_new_tokens=new, tell=tell)

    def stream(
        self, question: Sequence[Message], say: Callable[[str], None], *, tuned: bool, sample: bool = False,
        how: Sampling | None = None, max_new_tokens: int | None = None,
    ) -> Answer:  # fmt: skip
        """One answer, given to `say` piece by piece; greedy, or sampled as the plan says, or as `how` does."""
        plan = self._plan
        how = how or Sampling(plan.temperature if sample else 0.0, plan.top_p, plan.seed)
        with self._switched(tuned):
            return stream(
                self._loaded, self._prompt(question), say, max_new_tokens=max_new_tokens or plan.max_new_tokens,
                temperature=how.temperature, top_p=how.top_p, seed=how.seed,
            )  # fmt: skip

    def asks(self, example: Example) -> Example:
        """The example as it is put to the model."""
        return example

    def tried(
        self, examples: Sequence[Example], *, tuned: bool, tell: Callable[[int], None] = lambda done: None
    ) -> tuple[list[Answer], list[float] | None]:
        """Greedy answers to the examples, and the losses of their own; questions are read once for both."""
        questions = [self.asks(example).question for example in examples]
        prompts = [self._prompt(question) for question in questions]
        wanted = [self._behind(prompt, example) for prompt, example in zip(prompts, examples, strict=True)]
        with self._switched(tuned):
            found = tried(self._loaded, prompts, [ids for ids, _ in wanted], max_new_tokens=self._plan.max_new_tokens,
                          tell=tell)  # fmt: skip
        if found is None:
            return self.answers(questions, tuned=tuned, tell=tell), self.losses(examples, tuned=tuned)
        answers, told = found
        others = [i for i, (ids, _) in enumerate(wanted) if not ids]
        apart = dict(zip(others, self.losses([examples[i] for i in others], tuned=tuned), strict=True))
        means = [_mean(loss, weights) for loss, (_, weights) in zip(told, wanted, strict=True)]
        return answers, [apart.get(i, mean) for i, mean in enumerate(means)]

    def losses(self, examples: Sequence[Example], *, tuned: bool) -> list[float]:
        """The mean loss of each example's answers, in nats per token."""
        encoded = [self._sequences(example) for example in examples]
        owners = [i for i, sequences in enumerate(encoded) for _ in sequences]
        totals = self._sums([s for sequences in encoded for s in sequences], tuned)
        sums = [[0.0, 0.0] for _ in examples]
        for owner, (loss, weight) in zip(owners, totals, strict=True):
            sums[owner][0] += loss
            sums[owner][1] += weight
        return [loss / weight if weight else 0.0 for loss, weight in sums]

    def losses_of_texts(self, texts: Sequence[str], *, tuned: bool) -> list[float]:
        """The mean loss of each plain text, every token of it counted, in nats per token."""
        encoded = []
        for text in texts:
            ids = tuple(self._loaded.template.text_ids(text, add_special_tokens=True))
            encoded.append(Tokens(ids, (0.0, *[1.0] * (len(ids) - 1)), ()))
        return [loss / weight if weight else 0.0 for loss, weight in self._sums(encoded, tuned)]

    def _prompt(self, question: Sequence[Message]) -> list[int]:
        return self._loaded.template.prompt(question)

    def _sequences(self, example: Example) -> list[Tokens]:
        return self._loaded.template.sequences(example)

    def _behind(self, prompt: Sequence[int], example: Example) -> tuple[tuple[int, ...], tuple[float, ...]]:
        """What of an example stands behind its prompt, and how much each token counts; nothing, where more than that
        counts or it is no continuation of its prompt."""
        sequences = self._sequences(example)
        start = len(prompt)
        if len(sequences) != 1 or sequences[0].ids[:start] != tuple(prompt) or any(sequences[0].weights[:start]):
            return (), ()
        weights = sequences[0].weights
        end = max((at + 1 for at, weight in enumerate(weights) if weight), default=start)
        return sequences[0].ids[start:end], weights[start:end]

    def _sums(self, sequences: Sequence[Tokens], tuned: bool) -> list[tuple[float, float]]:
        """(weighted loss, weight) of each sequence."""
        sums: list[tuple[float, float]] = [(0.0, 0.0)] * len(sequences)
        with torch.inference_mode(), self._switched(tuned):
            model, device = self._loaded.model, self._loaded.device
            packed, losses = self._packs(sequences), Loss(model)
            for group, batch in lay_out(sequences, MOST_TOKENS, packed=packed, device=device):
                if not len(batch.targets):
                    continue
                loss = (losses.each(batch) * batch.weights).double()
                for place, i in enumerate(group):
                    own = batch.owners == place
                    sums[i] = (float(loss[own].sum()), float(batch.weights[own].sum()))
        return sums

    def _packs(self, sequences: Sequence[Tokens]) -> bool:
        """Whether they can be packed: found out at the first look, and again for longer ones than then."""
        longest = max((len(sequence.ids) for sequence in sequences), default=0)
        if self._looked is None or longest > self._looked[0]:
            why = why_not_packed(self._loaded.model, sequences, self._loaded.device)
            self._looked = longest, why is None
        return self._looked[1]

    def _switched(self, tuned: bool) -> AbstractContextManager[None]:
        switch: AbstractContextManager[None] = nullcontext() if tuned else self._loaded.model.disable_adapter()
        return switch


def _mean(loss: torch.Tensor, weights: Sequence[float]) -> float:
    counts = torch.tensor(weights, dtype=torch.float64)
    return float((loss.double() * counts).sum() / counts.sum()) if len(counts) else 0.0

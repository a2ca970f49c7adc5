"""Base and tuned of tasks that are no plain chat: preferences, texts that go on, texts that are rewritten."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from transformers.generation.streamers import BaseStreamer

from postil.model.boundary import finite_numbers
from postil.model.chat import MOST_TOKENS, ChatPair
from postil.model.generate import Pieces, answer_of
from postil.model.plaintext import beginning, begun, blocks, text_of
from postil.model.preferences import Two, margins, sides
from postil.model.rewriting import examine_sides, lay_out_sides, losses_of, pad_sources, source_of, start_id
from postil.model.sample import Sampling
from postil.model.template import Tokens
from postil.records import Answer, Example, Message

MOST_ROWS = 32  # of sources that are rewritten at once


@dataclass(frozen=True, slots=True)
class Margin:
    """How far the wanted answer's log-probability is above the unwanted one's, in nats.

    summed: over the whole answers, as DPO learns it; a longer answer has less. per_token: of their means over tokens,
    which compares answers of unequal length (as SimPO does, Meng and others, arXiv 2405.14734).
    """

    summed: float
    per_token: float


class PreferencePair(ChatPair):
    """A chat, in which each question has a wanted and an unwanted answer."""

    def margins(self, examples: Sequence[Example], *, tuned: bool) -> list[Margin]:
        """How much likelier the wanted answer of each example is than the unwanted one. 0 where there is none."""
        has = [i for i, example in enumerate(examples) if example.rejected is not None]
        pairs = (sides(examples[i]) for i in has)
        both = [Two(self._sequences(chosen)[0], self._sequences(rejected)[0]) for chosen, rejected in pairs]
        model, device = self._loaded.model, self._loaded.device
        found = [Margin(0.0, 0.0)] * len(examples)
        with torch.inference_mode(), self._switched(tuned):
            rows = [row for two in both for row in (two.chosen, two.rejected)]
            said = margins(model, both, MOST_TOKENS, packed=self._packs(rows), share=True, device=device)
        for i, two, (wanted, unwanted) in zip(has, both, said, strict=True):
            per_token = wanted / two.chosen.learned - unwanted / two.rejected.learned
            found[i] = Margin(wanted - unwanted, per_token)
        return found

    def rewards(self, examples: Sequence[Example]) -> list[float]:
        """The reward margin of each example: what tuning has added to the margin, times beta."""
        after, before = (self.margins(examples, tuned=tuned) for tuned in (True, False))
        return [self._plan.dpo_beta * (a.summed - b.summed) for a, b in zip(after, before, strict=True)]


class TextPair(ChatPair):
    """Plain text that goes on: a question is how a text begins, and no chat template is written."""

    def asks(self, example: Example) -> Example:
        return begun(example)

    def _prompt(self, question: Sequence[Message]) -> list[int]:
        return beginning(question, self._loaded.template)

    def _sequences(self, example: Example) -> list[Tokens]:
        return blocks(text_of(example), self._loaded.template, self._plan.max_length, example.rows)


class RewritingPair(ChatPair):
    """An encoder that reads the question, and a decoder that writes the answer."""

    def answers(
        self,
        questions: Sequence[Sequence[Message]],
        *,
        tuned: bool,
        tell: Callable[[int], None] = lambda done: None,
        max_new_tokens: int | None = None,
    ) -> list[Answer]:
        sources = [source_of(question, self._loaded.template) for question in questions]
        found: dict[int, Answer] = {}
        order = sorted(range(len(sources)), key=lambda i: (len(sources[i]), i))
        for start in range(0, len(order), MOST_ROWS):
            group = order[start : start + MOST_ROWS]
            rows = self._written([sources[i] for i in group], tuned, max_new_tokens or self._plan.max_new_tokens)
            found.update({i: self._answer(row) for i, row in zip(group, rows, strict=True)})
            tell(len(found))
        return [found[i] for i in range(len(sources))]

    def stream(
        self, question: Sequence[Message], say: Callable[[str], None], *, tuned: bool, sample: bool = False,
        how: Sampling | None = None, max_new_tokens: int | None = None,
    ) -> Answer:  # fmt: skip
        pieces, plan = Pieces(self._loaded), self._plan
        how = how or Sampling(plan.temperature if sample else 0.0, plan.top_p, plan.seed)
        heard = _Heard(lambda token: say(pieces.put(token)))
        drawn = {"do_sample": True, "temperature": how.temperature, "top_p": how.top_p, "top_k": 0}
        torch.manual_seed(how.seed)
        source = source_of(question, self._loaded.template)
        new = max_new_tokens or plan.max_new_tokens
        with finite_numbers(self._loaded.model):
            (row,) = self._written([source], tuned, new, streamer=heard, **(drawn if how.temperature else {}))
        say(pieces.end())
        return self._answer(row)

    def tried(
        self, examples: Sequence[Example], *, tuned: bool, tell: Callable[[int], None] = lambda done: None
    ) -> tuple[list[Answer], list[float] | None]:
        questions = [example.question for example in examples]
        return self.answers(questions, tuned=tuned, tell=tell), self.losses(examples, tuned=tuned)

    def losses(self, examples: Sequence[Example], *, tuned: bool) -> list[float]:
        template, model, device = self._loaded.template, self._loaded.model, self._loaded.device
        rows = [examine_sides(example, template, self._plan.max_length)[0] for example in examples]
        found = [0.0] * len(examples)
        asked = [i for i, own in enumerate(rows) if own]
        with torch.inference_mode(), self._switched(tuned):
            for group, batch in lay_out_sides([rows[i][0] for i in asked], MOST_TOKENS, start_id(model), device):
                sums = (losses_of(model, batch) * batch.weights).sum(1).double() / batch.weights.sum(1)
                for place, loss in zip(group, sums.tolist(), strict=True):
                    found[asked[place]] = loss
        return found

    def losses_of_texts(self, texts: Sequence[str], *, tuned: bool) -> None:  # type: ignore[override]
        """None: such a model continues no text."""

    def _written(self, sources: Sequence[Sequence[int]], tuned: bool, new: int, **how: object) -> list[list[int]]:
        """The new tokens of each source, with the one that ends it."""
        loaded, stops = self._loaded, self._loaded.template.stop_ids
        ids, mask = pad_sources(sources, loaded.device)
        with torch.inference_mode(), self._switched(tuned):
            out = loaded.model.generate(
                input_ids=ids, attention_mask=mask,
                **{"do_sample": False, "top_k": None, **how},
                max_new_tokens=new, num_beams=1, eos_token_id=list(stops), pad_token_id=stops[0],
                decoder_start_token_id=start_id(loaded.model), repetition_penalty=1.0, no_repeat_ngram_size=0,
                forced_bos_token_id=None, forced_eos_token_id=None, min_length=0, length_penalty=1.0,
            )  # fmt: skip
        rows = []
        for row in out[:, 1:].tolist():
            end = next((i for i, token in enumerate(row) if token in stops), len(row))
            rows.append(row[: end + 1])
        return rows

    def _answer(self, row: Sequence[int]) -> Answer:
        return answer_of(self._loaded, row)


class _Heard(BaseStreamer):  # type: ignore[misc]
    """Hands on each new token; what comes first is the decoder's start."""

    def __init__(self, say: Callable[[int], None]) -> None:
        self._say, self._started = say, False

    def put(self, value: torch.Tensor) -> None:
        if self._started:
            for token in value.flatten().tolist():
                self._say(token)
        self._started = True

    def end(self) -> None:
        pass

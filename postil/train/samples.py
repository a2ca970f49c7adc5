"""What the model would answer by now: a few held-out questions, asked again each time the validation loss is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from postil.model.load import Loaded
from postil.model.pair import pair_on
from postil.records import Adapter, Example
from postil.train.progress import Progress

QUESTIONS = 2
MOST_TOKENS = 64  # of an answer: a look, not an evaluation


class Samples:
    """Asks the model in training, and tells what it says. Greedy: nothing random is touched."""

    def __init__(
        self, loaded: Loaded, model: Any, held_out: Sequence[Example], told: Adapter, progress: Progress
    ) -> None:
        self._model, self._progress = model, progress
        self._pair = pair_on(replace(loaded, model=model), told)
        self._asked = [self._pair.asks(example) for example in held_out if not example.tools][:QUESTIONS]
        self._instruction = told.plan.instruction or ""  # the same before each; not told again
        self._new = min(told.plan.max_new_tokens, MOST_TOKENS)

    def show(self, step: int) -> None:
        """Have the questions answered as the model is after `step` updates."""
        model, trains = self._model, self._model.training
        model.eval()
        asked = [example.question for example in self._asked]
        answers = self._pair.answers(asked, tuned=True, max_new_tokens=self._new) if asked else []
        model.train(trains)
        for place, (example, answer) in enumerate(zip(self._asked, answers, strict=True), 1):
            self._progress.tell("sample", step=step, place=place, question=self._shown(example),
                                wanted=example.answer, answer=answer.text)  # fmt: skip

    def _shown(self, example: Example) -> str:
        question = example.question[-1].content
        return question.removeprefix(self._instruction).strip() or question

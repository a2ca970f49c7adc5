"""What the model would answer by now: a few held-out questions, asked again each time the validation loss is taken."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from postil.model.generate import generate
from postil.model.load import Loaded
from postil.records import Example, Plan
from postil.train.progress import Progress

QUESTIONS = 2
MOST_TOKENS = 64  # of an answer: a look, not an evaluation


class Samples:
    """Asks the model in training, and tells what it says. Greedy: nothing random is touched."""

    def __init__(self, loaded: Loaded, model: Any, held_out: Sequence[Example], plan: Plan, progress: Progress) -> None:
        self._loaded, self._progress = replace(loaded, model=model), progress
        self._asked = [example for example in held_out if not example.tools][:QUESTIONS]
        self._prompts = [loaded.template.prompt(example.question) for example in self._asked]
        self._new = min(plan.max_new_tokens, MOST_TOKENS)

    def show(self, step: int) -> None:
        """Have the questions answered as the model is after `step` updates."""
        model, trains = self._loaded.model, self._loaded.model.training
        model.eval()
        answers = generate(self._loaded, self._prompts, max_new_tokens=self._new) if self._prompts else []
        model.train(trains)
        for place, (example, answer) in enumerate(zip(self._asked, answers, strict=True), 1):
            self._progress.tell("sample", step=step, place=place, question=example.question[-1].content,
                                wanted=example.answer, answer=answer.text)  # fmt: skip

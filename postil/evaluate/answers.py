"""Base and tuned answer the same questions, and the one metric that was fixed beforehand decides."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from postil.evaluate.metrics import score, summary, visible
from postil.evaluate.neutral import neutral_texts
from postil.evaluate.tasks import of_task
from postil.evaluate.verdict import verdict
from postil.records import Answer, Evaluation, Example, Verdict
from postil.store import read_json

if TYPE_CHECKING:
    from postil.model.pair import Pair

Tell = Callable[[str, float], None]  # what is being done, and how much of it [0..1]


def evaluate(
    pair: Pair, examples: Sequence[Example], metric: str, task: str = "causal_lm",
    tell: Tell = lambda what, share: None,
) -> Evaluation:  # fmt: skip
    """Both models on every example: greedy answers, losses on the references, the verdict and the forgetting guard."""
    asked = [pair.asks(example) for example in examples]
    questions = [example.question for example in asked]
    references = [example.answer for example in asked]
    own = of_task(task)
    answers: dict[bool, list[Answer]] = {}
    scores: dict[bool, dict[str, list[float]]] = {}
    summaries: dict[bool, dict[str, float]] = {}
    for tuned in (False, True):
        name = "tuned" if tuned else "base"

        def heard(done: int, name: str = name) -> None:
            tell(name, done / max(1, len(questions)))

        tell(name, 0.0)
        answers[tuned] = pair.answers(questions, tuned=tuned, tell=heard)
        losses = pair.losses(examples, tuned=tuned)
        scores[tuned] = {
            **score(references, answers[tuned], losses),
            **own.rows(references, answers[tuned]),
            **own.measured(pair, examples, tuned),
        }
        summaries[tuned] = {
            **summary(references, answers[tuned], losses, scores[tuned]),
            **own.whole(references, answers[tuned]),
            **own.summed(scores[tuned]),
        }
    tell("neutral", 0.0)
    return Evaluation(
        base=summaries[False],
        tuned=summaries[True],
        verdict=verdict(metric, scores[False][metric], scores[True][metric]),
        forgetting=_forgetting(pair),
        rows=tuple(
            {
                "rows": list(example.rows),
                "question": example.question[-1].content,
                "reference": example.answer,
                **({} if example.rejected is None else {"rejected": example.rejected}),
                "base": visible(answers[False][i].text),
                "tuned": visible(answers[True][i].text),
                "base_score": scores[False][metric][i],
                "tuned_score": scores[True][metric][i],
            }
            for i, example in enumerate(asked)
        ),
    )


def read_evaluation(directory: Path) -> Evaluation | None:
    """The evaluation that a run in `directory` ended with; None if it had no test part."""
    file = directory / "evaluation.json"
    if not file.exists():
        return None
    told = read_json(file)
    judged = {name: value for name, value in told["verdict"].items() if name != "words"}
    told["verdict"] = Verdict(**{**judged, "interval": tuple(judged["interval"])})
    return Evaluation(**{**told, "rows": tuple(told["rows"])})


def _forgetting(pair: Pair) -> float | None:
    """How much the loss on neutral text rose, in nats per token; None where the tuned model continues no text."""
    texts = neutral_texts()
    after, before = pair.losses_of_texts(texts, tuned=True), pair.losses_of_texts(texts, tuned=False)
    return None if after is None or before is None else fmean(after) - fmean(before)

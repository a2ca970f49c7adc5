"""Base and tuned answer the same questions, and the one metric that was fixed beforehand decides."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from postil.evaluate.metrics import score, summary, visible
from postil.evaluate.neutral import neutral_texts
from postil.evaluate.readiness import readiness
from postil.evaluate.tasks import Own, of_task
from postil.evaluate.verdict import verdict
from postil.records import Answer, Confusion, Evaluation, Example, Kind, Readiness, Verdict
from postil.store import read_json

if TYPE_CHECKING:
    from postil.model.pair import Pair

OF_ROWS = ("field_match", "entity_f1")  # metrics that are 1 where a row is right, and say so better than its text
Tell = Callable[[str, float], None]  # what is being done, and how much of it [0..1]


def evaluate(
    pair: Pair,
    examples: Sequence[Example],
    metric: str,
    task: str = "causal_lm",
    tell: Tell = lambda what, share: None,
    training: Sequence[Example] = (),
    kind: Kind = "service_qa",
) -> Evaluation:
    """Both models on every example: greedy answers, losses on the references, the verdict and the forgetting guard.

    training: what the tuned model has learned from; plain means are taught the same, where the task has such.
    kind: of the data, which says what makes an answer right enough to be used.
    """
    asked = [pair.asks(example) for example in examples]
    references = [example.answer for example in asked]
    own = of_task(task)
    answers: dict[bool, list[Answer]] = {}
    scores: dict[bool, dict[str, list[float]]] = {}
    summaries: dict[bool, dict[str, float]] = {}
    tell("neutral", 0.0)  # first: how long the answers still take then follows from those that are there
    forgetting = _forgetting(pair)
    for tuned in (False, True):
        name = "tuned" if tuned else "base"

        def heard(done: int, name: str = name) -> None:
            tell(name, done / max(1, len(asked)))

        tell(name, 0.0)
        answers[tuned], losses = pair.tried(examples, tuned=tuned, tell=heard)
        measured = own.measured(pair, examples, tuned)
        scores[tuned], summaries[tuned] = _scored(own, references, answers[tuned], losses, measured)
    others: dict[str, dict[str, float]] = {}
    against: dict[str, Verdict] = {}
    for name, given in own.others(training, examples).items():
        theirs, others[name] = _scored(own, references, given, None, {})
        if metric in theirs:
            against[name] = verdict(metric, theirs[metric], scores[True][metric])
    known = {_asked(example) for example in training}
    return Evaluation(
        base=summaries[False],
        tuned=summaries[True],
        verdict=verdict(metric, scores[False][metric], scores[True][metric]),
        forgetting=forgetting,
        rows=tuple(
            {
                "rows": list(example.rows),
                "question": example.question[-1].content,
                "reference": example.answer,
                **({} if example.rejected is None else {"rejected": example.rejected}),
                **({"learned": True} if _asked(examples[i]) in known else {}),
                "base": visible(answers[False][i].text),
                "tuned": visible(answers[True][i].text),
                "base_score": scores[False][metric][i],
                "tuned_score": scores[True][metric][i],
            }
            for i, example in enumerate(asked)
        ),
        others=others,
        against=against,
        confusion=own.confusion(references, answers[True]) if own.confusion else None,
        readiness=_readiness(own, kind, metric, references, answers[True], scores[True]),
    )


def _readiness(
    own: Own,
    kind: Kind,
    metric: str,
    references: Sequence[str],
    answers: Sequence[Answer],
    scores: Mapping[str, Sequence[float]],
) -> Readiness | None:
    """Of the tuned model; None where it continues texts instead of answering."""
    if not own.ends:
        return None
    return readiness(own.kind or kind, references, answers, scores[metric] if metric in OF_ROWS else None)


def _asked(example: Example) -> tuple[str, ...]:
    """What decides whether two examples ask the same; of a plain text, all of it."""
    return tuple(" ".join(message.content.split()) for message in example.question or example.messages)


def _scored(
    own: Own,
    references: Sequence[str],
    answers: Sequence[Answer],
    losses: Sequence[float] | None,
    measured: Mapping[str, list[float]],
) -> tuple[dict[str, list[float]], dict[str, float]]:
    """The scores of each row, and the metrics over all rows that mean anything in this task."""
    rows = {**score(references, answers, losses), **own.rows(references, answers), **measured}
    whole = summary(references, answers, losses, rows)
    kept = whole if own.only is None else {name: whole[name] for name in own.only if name in whole}
    return rows, {**kept, **own.whole(references, answers), **own.summed(rows)}


def read_evaluation(directory: Path) -> Evaluation | None:
    """The evaluation that a run in `directory` ended with; None if it had no test part."""
    file = directory / "evaluation.json"
    if not file.exists():
        return None
    told = read_json(file)
    told["verdict"] = _verdict(told["verdict"])
    told["against"] = {name: _verdict(one) for name, one in told.get("against", {}).items()}
    if told.get("readiness"):
        told["readiness"] = readiness_of(told["readiness"])
    if told.get("confusion"):
        labels, counts = told["confusion"]["labels"], told["confusion"]["counts"]
        told["confusion"] = Confusion(tuple(labels), tuple(map(tuple, counts)))
    return Evaluation(**{**told, "rows": tuple(told["rows"])})


def readiness_of(content: Mapping[str, Any]) -> Readiness:
    """From its JSON."""
    return Readiness(**{name: value for name, value in content.items() if name != "words"})


def _verdict(told: Mapping[str, Any]) -> Verdict:
    judged = {name: value for name, value in told.items() if name != "words"}
    return Verdict(**{**judged, "interval": tuple(judged["interval"])})


def _forgetting(pair: Pair) -> float | None:
    """How much the loss on neutral text rose, in nats per token; None where the tuned model continues no text."""
    texts = neutral_texts()
    after, before = pair.losses_of_texts(texts, tuned=True), pair.losses_of_texts(texts, tuned=False)
    return None if after is None or before is None else fmean(after) - fmean(before)

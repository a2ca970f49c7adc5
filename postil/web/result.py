"""What came of a run: the verdict first, then the figures, then answers of both models side by side."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from postil.evaluate import NUMBERS, forgets, forgetting_words, read_evaluation, readiness_of
from postil.records import Confusion, Preference, Verdict
from postil.store import read_json
from postil.web.desk import Desk, adapter_directory
from postil.web.frame import box, card, link, note, table, text, way
from postil.web.shown import marked, show_confusion

if TYPE_CHECKING:
    from postil.store.tables import Job

SHOWN_ROWS = 12
OUTCOME_TONE = {"better": "good", "worse": "bad", "no_difference": "warn", "too_few": "warn"}
LEVEL_TONE = {"ready": "good", "try_out": "info", "not_yet": "bad"}


async def show_result(desk: Desk, job: Job) -> None:
    """The result of a job that has succeeded."""
    result: Mapping[str, Any] = job.result or {}
    if result.get("verdict"):
        show_verdict(desk, result)
    if job.kind == "training" and job.fine_tuned_model:
        with card(desk.say("web.result.title")):
            text(job.fine_tuned_model, "mono", "div")
            with box("line"):
                way(desk.say("web.result.compare"), compare_path([job.fine_tuned_model]), main=True)
                way(desk.say("web.result.model"), f"/models/{quote(job.fine_tuned_model, safe='')}")
                way(desk.say("web.result.download"), zip_path(job.fine_tuned_model))
        await show_proof(desk, str(job.fine_tuned_model))
        return
    if result.get("parity"):
        first, *rest = result["parity"]["words"][desk.lang]
        tone = {"pass": "good", "fail": "bad"}.get(result["parity"]["outcome"], "warn")
        note(first, tone, "\n".join(rest))
    if result.get("preference"):
        note(preference_words(desk, result["preference"]), OUTCOME_TONE.get(result["preference"]["outcome"], "info"))
        if result.get("agreement") is not None:
            text(desk.say("judge.agreement", percent=round(100 * result["agreement"])))
    if result.get("doubtful"):
        note(desk.say("show.doubtful", n=result["doubtful"]), "warn")
    if "base" in result and "tuned" in result:
        show_figures(desk, result["base"], result["tuned"])
    files = await desk.do(lambda: [desk.house.store.files.get(desk.project, name) for name in job.result_files])
    for row in files:
        with box("line"):
            made = link(desk.say("web.result.file", name=row.filename), f"/files/{row.id}/content")
            made.props("download")
    evaluation = next((row for row in files if row.filename == "evaluation.json"), None)
    if evaluation is not None:
        told = await desk.do(lambda: json.loads(desk.house.store.files.open(evaluation).read()))
        if told.get("confusion"):
            with card():
                show_confusion(desk, Confusion(told["confusion"]["labels"], told["confusion"]["counts"]))
        show_rows(desk, told["rows"])


async def show_proof(desk: Desk, model: str) -> None:
    """What the evaluation beside an adapter says, if it has one."""
    found = await desk.do(read_evaluation, adapter_directory(desk, model))
    if found:
        show_figures(desk, found.base, found.tuned, found.others)
        for sentence in found.against_words(desk.lang):
            note(sentence, "info")
        if found.confusion is not None:
            with card():
                show_confusion(desk, found.confusion)
        show_rows(desk, found.rows, plan_of(adapter_directory(desk, model)).get("instruction"))


def show_verdict(desk: Desk, result: Mapping[str, Any]) -> None:
    """Whether the answers can be used, whether they are better than before, and what was forgotten for it."""
    for tone, sentence in judged_words(desk, result):
        note(sentence, tone)


def judged_words(desk: Desk, result: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The same as sentences, each with its tone. result: with `verdict`, and `readiness` and `forgetting` if known."""
    sentences: list[tuple[str, str]] = []
    if result.get("readiness"):
        level = readiness_of(result["readiness"])
        sentences.append((LEVEL_TONE[level.level], level.words(desk.lang)))
    sentences.append(
        (OUTCOME_TONE.get(str(result["verdict"]["outcome"]), "info"), verdict_words(desk, result["verdict"]))
    )
    change = result.get("forgetting")
    if change is not None:
        sentences.append(("warn" if forgets(change) else "info", forgetting_words(change, desk.lang)))
    return sentences


def of_model(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """What a model keeps as its verdict (`store.models.judged`), as its result had it."""
    return {"verdict": verdict, "readiness": verdict.get("readiness"), "forgetting": verdict.get("forgetting")}


def verdict_words(desk: Desk, told: Mapping[str, Any]) -> str:
    """The verdict in a sentence, in this person's language."""
    names = ("outcome", "metric", "difference", "n", "p_value")
    return Verdict(**{name: told[name] for name in names}, interval=tuple(told["interval"])).words(desk.lang)


def preference_words(desk: Desk, told: Mapping[str, Any]) -> str:
    """The outcome of a comparison by people or a judge, in this person's language."""
    names = ("outcome", "won", "lost", "tied", "win_rate", "p_value")
    return Preference(**{name: told[name] for name in names}, interval=tuple(told["interval"])).words(desk.lang)


def show_figures(
    desk: Desk, base: Mapping[str, Any], tuned: Mapping[str, Any], others: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """others: what plain means come to, without a language model."""
    names, plain = [name for name in base if name in tuned], dict(others or {})
    headers = [desk.say("web.result.metric"), desk.say("web.result.before"), desk.say("web.result.after")]
    with card(desk.say("web.result.figures")):
        table(
            [*headers, *(desk.say(f"others.{name}") for name in plain)],
            [
                (desk.say(f"metric.{name}"), *(figure(name, one.get(name)) for one in (base, tuned, *plain.values())))
                for name in names
            ],
            desk.say("web.result.figures"),
        )


def show_rows(desk: Desk, rows: Sequence[Mapping[str, Any]], instruction: str | None = None) -> None:
    """The first questions with both answers. `instruction`: what stands before every question, and is not repeated."""
    with card(desk.say("web.result.answers")):
        text(desk.say("web.result.answers.lead", n=len(rows)), "soft")
        sides = {"reference": "wanted", "rejected": "unwanted", "base": "before", "tuned": "after"}
        there = [name for name in sides if any(row.get(name) for row in rows)]
        table(
            [desk.say("web.result.question"), *(desk.say(f"web.result.{sides[name]}") for name in there)],
            [
                (
                    asked(row["question"], instruction),
                    *(marked(row["question"], str(row.get(name, ""))) for name in there),
                )
                for row in rows[:SHOWN_ROWS]
            ],
            desk.say("web.result.answers"),
        )


def asked(question: str, instruction: str | None) -> str:
    """A question without the instruction that stands before all of them."""
    return question.removeprefix(instruction or "").strip() or question


def plan_of(directory: Path) -> dict[str, Any]:
    """The plan that lies beside an adapter; nothing where there is none."""
    path = directory / "plan.json"
    return dict(read_json(path).get("plan", {})) if path.exists() else {}


def figure(name: str, value: float | None) -> str:
    if value is None:
        return "–"
    if name == "length":
        return f"{value:.0f}"
    return f"{value:.{NUMBERS[name]}f}" if name in NUMBERS else f"{100 * value:.1f} %"


def compare_path(models: Sequence[str]) -> str:
    return "/compare?models=" + quote(",".join(models), safe="")


def zip_path(model: str) -> str:
    return f"/adapters/{quote(model, safe='')}.zip"

"""A finished evaluation is judged: by a model, or by people who fill in a sheet; and all of it becomes one table."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.bases import fetched, find_base
from postil.errors import DataError, EngineError, FileError, PlanError
from postil.locales import say
from postil.records import Evaluation, Event, Kind, Message
from postil.settings import Settings, judge_key

if TYPE_CHECKING:
    from postil.evaluate import Judge, Judgement, Tally

LOCAL, ENDPOINT = "local:", "endpoint"
MOST_TOKENS = 400  # of a judge's answer
Rows = Sequence[Mapping[str, Any]]  # question reference base tuned, and more
Emit = Callable[[Event], None]


# ── a judge model ──


def read_prompt(path: Path) -> str:
    """A prompt of the user's own. Raises FileError."""
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError as error:
        raise FileError("file_missing", path=str(path)) from error
    except (OSError, UnicodeDecodeError) as error:
        raise FileError("file_not_text", path=str(path)) from error


@contextmanager
def open_judge(named: str) -> Iterator[Judge]:
    """`local:MODEL`, a base model on this machine, or `endpoint`, the one that the settings name.

    Raises PlanError `judge_unknown`, `judge_not_set`, EngineError as `remote.Client` does, and ModelError.
    """
    from postil.evaluate import EndpointJudge, LocalJudge

    if named == ENDPOINT:
        told = Settings()
        made = EndpointJudge(told.judge_url, told.judge_model, judge_key, max_tokens=MOST_TOKENS)
        try:
            yield made
        finally:
            made.close()
    elif named.startswith(LOCAL) and named != LOCAL:
        base = fetched(find_base(named.removeprefix(LOCAL)))
        assert base.path is not None
        from postil.serve import open_engine

        engine = open_engine(base.path)
        try:
            yield LocalJudge(f"{LOCAL}{base.name}", lambda messages: _asked(engine, messages))
        finally:
            engine.close()
    else:
        raise PlanError("judge_unknown", judge=named[:80])


def _asked(engine: Any, messages: tuple[Message, ...]) -> str:
    """What the base says. A question that is too long for it is one that it cannot judge."""
    from postil.serve import Request

    try:
        return str(engine.generate(Request(messages, max_tokens=MOST_TOKENS, temperature=0.0)).text)
    except EngineError as error:
        if error.code != "context_too_long":
            raise
        return ""


def judge(rows: Rows, named: str, kind: Kind, *, prompt: str = "", criteria: str = "", notes: Path | None = None,
          emit: Emit = lambda event: None) -> Judgement:  # fmt: skip
    """Let a judge compare both answers to each question, both ways round. Called again with these `notes`, it goes on.

    prompt, criteria: the user's own; empty: those for this kind of data in the language that is spoken.
    """
    from postil.evaluate import default_brief, judged

    brief = default_brief(kind, prompt=prompt, criteria=criteria)

    def tell(done: int, of: int) -> None:
        emit(Event("stage", {"stage": "judge", "percent": round(100 * done / max(1, of), 1), "done": done, "of": of}))

    with open_judge(named) as made:
        return judged(rows, made, brief, notes, tell)


# ── a vote on sheets ──


def vote_sheet(directory: Path, rows: Rows, output: Path, question: str = "") -> dict[str, Any]:
    """Write a sheet for one more rater of the vote in `directory`, which begins with the first sheet.

    The sides stand in `directory`/blind.json alone. Raises FileError.
    """
    from postil.dataset import write_votes
    from postil.evaluate import shown_rows
    from postil.store import write_json

    told = _vote(directory, rows)
    number = secrets.token_hex(6)
    shown = [row for row in shown_rows(rows, told["seed"], number) if _differ(rows[row["row"]])]
    if not shown:
        raise DataError("nothing_to_judge")
    write_votes(output, number, shown, question or say("blind.question"))
    told["sheets"].append(number)
    write_json(directory / "blind.json", told)
    return {"output": str(output), "sheet": number, "questions": len(shown), "same": len(rows) - len(shown)}


def count_votes(directory: Path, rows: Rows, sheets: Sequence[Path]) -> Tally:
    """What the sheets that came back say together; each file is a rater.

    Raises DataError `not_a_vote_sheet`, `vote_unknown`, `vote_of_another` for a sheet that was not made here, or before
    the model was evaluated anew.
    """
    from postil.dataset import read_votes
    from postil.evaluate import order, revealed, tally_of

    told = _vote(directory, rows)
    meant: dict[str, dict[int, Any]] = {}
    taken: Counter[str] = Counter()
    for path in sheets:
        sheet = read_votes(path)
        if sheet.number not in told["sheets"]:
            raise DataError("vote_of_another", path=str(path))
        asked = [row for row in order(told["seed"], sheet.number, len(rows)) if _differ(rows[row])]
        given = {asked[place - 1]: choice for place, choice in sheet.votes.items() if 1 <= place <= len(asked)}
        taken.update(given.values())
        meant[f"{len(meant) + 1}: {path.name}"] = dict(revealed(told["seed"], sheet.number, len(rows), given))
    return tally_of(len(rows), meant, sum(not _differ(row) for row in rows), (taken["a"], taken["b"]))


def _vote(directory: Path, rows: Rows) -> dict[str, Any]:
    """What is known of the vote in `directory`; a new one when there is none, or when it was on other answers."""
    import hashlib
    import json

    from postil.store import read_json

    texts = [str(row.get(name, "")) for row in rows for name in ("question", "base", "tuned")]
    answers = hashlib.sha256(json.dumps(texts).encode()).hexdigest()
    file = directory / "blind.json"
    told: dict[str, Any] = read_json(file) if file.exists() else {}
    if told.get("answers") != answers:
        told = {"seed": secrets.token_hex(16), "answers": answers, "sheets": []}
    return told


def _differ(row: Mapping[str, Any]) -> bool:
    return str(row["base"]).strip() != str(row["tuned"]).strip()


# ── all in one table ──


def score_table(evaluation: Evaluation | None, rows: Rows, judgement: Judgement | None = None,
                votes: Sequence[Mapping[str, int]] = ()) -> tuple[list[str], list[list[Any]]]:  # fmt: skip
    """Head and rows of the sheet that `dataset.write_scores` writes: questions, answers, and all scores there are."""
    metric = evaluation.verdict.metric if evaluation else ""
    names = ["row", "question", "reference", "base", "tuned"]
    scored = bool(rows) and "base_score" in rows[0]
    head = [say(f"scores.{name}") for name in names]
    if scored:
        label = say(f"metric.{metric}") if metric else ""
        head += [say("scores.base_score", metric=label), say("scores.tuned_score", metric=label)]
    if judgement:
        head += [say(f"scores.{name}") for name in ("judge", "agreed", "base_mark", "tuned_mark", "reason")]
    if votes:
        head += [say("scores.votes", who=say(f"scores.for.{name}")) for name in ("tuned", "base", "same", "both_bad")]
    table: list[list[Any]] = []
    for i, row in enumerate(rows):
        line: list[Any] = [
            ", ".join(map(str, row.get("rows", [i + 1]))),
            *(str(row.get(name, "")) for name in names[1:]),
        ]
        line += [row["base_score"], row["tuned_score"]] if scored else []
        if judgement:
            one = judgement.rows[i]
            side = say(f"scores.for.{one.side}") if one.side else ""
            agreed = "" if one.agreed is None else say("scores.yes" if one.agreed else "scores.no")
            line += [side, agreed, one.base_mark, one.tuned_mark, one.reason]
        line += [votes[i].get(name, 0) for name in ("tuned", "base", "same", "both_bad")] if votes else []
        table.append(line)
    return head, table

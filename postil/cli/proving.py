"""A finished run is asked: side by side, on a test, with a sheet; another model's answers are recorded."""

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postil.cli.options import (
    AdapterDir,
    AnswerColumn,
    Blind,
    Conversation,
    Criteria,
    Debug,
    File,
    Json,
    JudgeName,
    JudgePrompt,
    Lang,
    Question,
    Scores,
    Sheet,
    Votes,
    open_screen,
    reading_of,
    verb,
)
from postil.locales import say

if TYPE_CHECKING:
    from postil.evaluate import Judgement, Tally
    from postil.records import Evaluation
    from postil.show import Screen


@verb(help=say("cli.compare.help"))
def compare(
    adapter: AdapterDir,
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help=say("cli.compare.question"))] = None,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help=say("cli.compare.system"))] = None,
    sample: Annotated[bool, typer.Option("--sample", help=say("cli.compare.sample"))] = False,
    as_json: Json = False,
    lang: Lang = None,
    debug: Debug = False,
) -> None:
    from postil import flow

    screen = open_screen(as_json)
    comparison = flow.Comparison(adapter)

    def both(asked: str) -> dict[str, Any]:
        answers: dict[str, Any] = {}
        chances = {}
        with screen.side_by_side() as grow:
            for name, tuned in (("base", False), ("tuned", True)):
                said = comparison.ask(asked, tuned=tuned, say=partial(grow, name), sample=sample, system=system)
                answers[name], chances[name] = said.text, dict(said.chances)
        screen.line("")
        return {**answers, **({"chances": chances} if any(chances.values()) else {})}

    if question is not None:
        screen.result(both(question))
        return
    screen.say("show.ask_away", "bright_black")
    while asked := screen.asked():
        both(asked)


@verb(help=say("cli.evaluate.help"))
def evaluate(
    adapter: AdapterDir,
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help=say("cli.evaluate.data"))] = None,
    sheet: Sheet = None,
    question: Question = None,
    answer: AnswerColumn = None,
    conversation: Conversation = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help=say("cli.evaluate.rows"))] = 8,
    judge: JudgeName = None,
    prompt: JudgePrompt = None,
    criteria: Criteria = "",
    blind: Blind = None,
    votes: Votes = None,
    scores: Scores = None,
    as_json: Json = False,
    lang: Lang = None,
    debug: Debug = False,
) -> None:
    from postil import flow
    from postil.evaluate import read_evaluation

    screen = open_screen(as_json)
    reading = reading_of(sheet, question, answer, conversation, None, None, False)
    later = bool(judge or blind or votes or scores)
    found = read_evaluation(adapter) if later and data is None else None  # it was evaluated before: as it stands
    if found is None:
        found = flow.evaluate(adapter, data, reading, screen.emit)
        screen.close()
        screen.evaluation(found, most=rows)
    told = found.as_json()
    if later:
        judgement, tally = _compared(screen, adapter, found, told, judge, (prompt, criteria), blind, votes or [])
        if scores:
            for lost in flow.write_scores(scores, found, judgement, tally, data, reading):
                screen.line(lost, "yellow")
            screen.say("show.scores", path=scores)
            told["scores"] = str(scores)
    screen.result(told)


def _compared(
    screen: "Screen",
    adapter: Path,
    found: "Evaluation",
    told: dict[str, Any],
    judge: str | None,
    brief: tuple[Path | None, str],
    blind: Path | None,
    votes: list[Path],
) -> "tuple[Judgement | None, Tally | None]":
    """By a judge, and by people on sheets; `told` gets what `--json` tells of it."""
    from postil import flow

    judgement = tally = None
    if judge:
        judgement = flow.judge_run(adapter, found, judge, *brief, emit=screen.emit)
        screen.close()
        screen.line(judgement.words(), "bold")
        told["judgement"] = judgement.as_json()
    if blind:
        told["blind"] = flow.vote_sheet(adapter, found, blind)
        screen.say("show.blind", path=blind, n=told["blind"]["questions"])
    if votes:
        tally = flow.count_votes(adapter, found, votes)
        screen.tally(tally)
        told["votes"] = tally.as_json()
    return judgement, tally


@verb(help=say("cli.answer.help"))
def answer(
    adapter: AdapterDir,
    file: File,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.xlsx", help=say("cli.answer.output"))],
    sheet: Sheet = None,
    question: Question = None,
    as_json: Json = False,
    lang: Lang = None,
    debug: Debug = False,
) -> None:
    from postil import flow

    screen = open_screen(as_json)
    reading = reading_of(sheet, question, None, None, None, None, False)
    result = flow.answer(adapter, file, output, reading, screen.emit)
    screen.close()
    for lost in result["not_carried_over"]:
        screen.line(lost, "yellow")
    screen.say("show.answered", path=output, n=result["answered"], rows=result["rows"], earlier=result["from_earlier"])
    if result["doubtful"]:
        screen.say("show.doubtful", "yellow", n=result["doubtful"])
    if result["without_words"]:
        screen.say("show.without_words", "yellow", n=result["without_words"])
    screen.result(result)


@verb(help=say("cli.golden.help"))
def golden(
    file: File,
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help=say("cli.golden.endpoint"))],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help=say("cli.golden.model"))],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.jsonl", help=say("cli.golden.output"))],
    sheet: Sheet = None,
    question: Question = None,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help=say("cli.golden.system"))] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help=say("cli.golden.max_tokens"))] = None,
    per_minute: Annotated[float, typer.Option("--per-minute", min=0.1, help=say("cli.golden.per_minute"))] = 60.0,
    as_json: Json = False,
    lang: Lang = None,
    debug: Debug = False,
) -> None:
    from postil.golden import Remote, record

    screen = open_screen(as_json)
    remote = Remote(endpoint, model, system, max_tokens, per_minute)
    found = record(file, output, remote, sheet=sheet, column=question, emit=screen.emit)
    screen.close()
    screen.say("show.golden", n=found["answered"], of=found["questions"], path=output)
    if found["refused"]:
        screen.say("show.golden_refused", "yellow", n=len(found["refused"]), text=found["refused"][0][:60])
    if found["cut"]:
        screen.say("show.golden_cut", "yellow", n=found["cut"])
    screen.result(found)

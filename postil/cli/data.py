"""Commands before a training: look at a file, check it, compare two, X-ray it."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from postil.cli.options import (
    AnswerColumn,
    BaseName,
    Conversation,
    Debug,
    Edits,
    File,
    Instruction,
    Json,
    Keep,
    Lang,
    Mask,
    Question,
    Set,
    Sheet,
    System,
    open_screen,
    reading_of,
    verb,
)
from postil.locales import knows, say
from postil.settings import EMBEDDED

if TYPE_CHECKING:
    pass


@verb(help=say("cli.check.help"))
def check(
    file: File, sheet: Sheet = None, question: Question = None, answer: AnswerColumn = None,
    conversation: Conversation = None, system: System = None, instruction: Instruction = None, mask: Mask = False,
    edits: Edits = None, settings: Set = None,
    fix: Annotated[list[str] | None, typer.Option("--fix", metavar="all|CODE", help=say("cli.check.fix"))] = None,
    save: Annotated[Path | None, typer.Option("--save-edits", metavar="EDITS.json", help=say("cli.check.save"))] = None,
    base: Annotated[str | None, typer.Option("--base", metavar="MODEL", help=say("cli.check.base"))] = None,
    keep: Keep = None,
    fixed: Annotated[Path | None, typer.Option("--fixed", metavar="OUT.jsonl", help=say("cli.fixed"))] = None,
    report: Annotated[Path | None, typer.Option("--report", metavar="OUT.xlsx", help=say("cli.report"))] = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import dataset as data
    from postil import datasets, flow
    from postil.plan import checked_settings
    from postil.records import Corrections
    from postil.store import write_json

    screen = open_screen(as_json)
    reading = reading_of(sheet, question, answer, conversation, system, instruction, mask, edits)
    reading = replace(reading, task=checked_settings(settings or []).get("task"))
    if fix:
        reading, dataset = datasets.fix(file, reading, None if "all" in fix else _codes(fix), base)
    else:
        dataset = flow.check(file, reading, base)
    screen.dataset(dataset)
    right = Corrections(reading.edits, tuple(reading.without), reading.mask)
    if save:
        write_json(save, right.as_json())
        screen.say("show.edits_saved", path=save, edits=len(right.edits), rows=len(right.without))
    if fixed:
        data.write_jsonl(dataset, fixed)
        screen.say("show.fixed", path=fixed, n=len(dataset.examples))
    if report:
        for lost in data.write_report(dataset, report):
            screen.line(lost, "yellow")
        screen.say("show.report", path=report)
    if keep:
        datasets.keep_findings(dataset, keep)
    screen.result({**datasets.described(dataset), "corrections": right.as_json()})


@verb(help=say("cli.look.help"))
def look(
    file: File, sheet: Sheet = None,
    first: Annotated[int, typer.Option("--from", min=0, help=say("cli.look.from"))] = 0,
    rows: Annotated[int, typer.Option("--rows", min=0, max=500, help=say("cli.look.rows"))] = 20,
    checked: Annotated[bool, typer.Option("--check", help=say("cli.look.check"))] = False,
    only: Annotated[str | None, typer.Option("--only", metavar="issues|CODE", help=say("cli.look.only"))] = None,
    question: Question = None, answer: AnswerColumn = None, conversation: Conversation = None, system: System = None,
    mask: Mask = False, edits: Edits = None, keep: Keep = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import datasets

    screen = open_screen(as_json)
    wanted = reading_of(sheet, question, answer, conversation, system, None, mask, edits)
    found = datasets.look(file, wanted if checked or only else None, sheet=sheet, offset=first, limit=rows, only=only,
                          keep=keep)  # fmt: skip
    screen.window(found)
    screen.result(found)


def _codes(named: Sequence[str]) -> list[str]:
    """The codes of problems that are to be mended. Raises typer.BadParameter for a word that is none."""
    for code in named:
        if not knows(f"issue.{code}.fix"):
            raise typer.BadParameter(say("cli.check.unknown_code", issue=code[:40]), param_hint="--fix")
    return list(named)


@verb(help=say("cli.diff.help"))
def diff(
    before: Annotated[Path, typer.Argument(metavar="BEFORE", help=say("cli.diff.first"), show_default=False)],
    after: Annotated[Path, typer.Argument(metavar="AFTER", help=say("cli.diff.second"), show_default=False)],
    first: Annotated[Path | None, typer.Option("--before", metavar="EDITS.json", help=say("cli.diff.before"))] = None,
    second: Annotated[Path | None, typer.Option("--after", metavar="EDITS.json", help=say("cli.diff.after"))] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help=say("cli.diff.rows"))] = 1000,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow
    from postil.dataset import diff as compared

    screen = open_screen(as_json)
    old, new = (
        flow.check(file, reading_of(None, None, None, None, None, None, False, edits))
        for file, edits in ((before, first), (after, second))
    )
    found = compared(old, new)
    screen.difference(found)
    screen.result(found.as_json(rows))


@verb(help=say("cli.xray.help"))
def xray(
    file: File, base: BaseName = EMBEDDED, sheet: Sheet = None, question: Question = None,
    answer: AnswerColumn = None, conversation: Conversation = None, system: System = None,
    instruction: Instruction = None, mask: Mask = False, edits: Edits = None, settings: Set = None,
    max_length: Annotated[int | None, typer.Option("--max-length", min=16, help=say("cli.max_length"))] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help=say("cli.xray.rows"))] = 5,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow
    from postil.plan import checked_settings

    screen = open_screen(as_json)
    reading = reading_of(sheet, question, answer, conversation, system, instruction, mask, edits)
    reading = replace(reading, task=checked_settings(settings or []).get("task"))
    found = flow.xray(file, base, reading, max_length)
    screen.xray(found, rows)
    screen.result(found)

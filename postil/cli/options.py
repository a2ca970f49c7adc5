"""What commands have in common: their options, the program that they are commands of, and where they speak.

Annotations here are no texts, which Typer would have to read, and nothing is imported that a help text does not need.
"""

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from postil import __version__
from postil.locales import LANGUAGES, say
from postil.settings import EMBEDDED
from postil.usage import Command, Group

if TYPE_CHECKING:
    from postil import flow
    from postil.show import Screen


def _known(lang: str | None) -> str | None:
    if lang is not None and lang not in LANGUAGES:
        raise typer.BadParameter(say("cli.lang"))
    return lang


def _target(to: str) -> str:
    from postil.records import Target

    if to not in get_args(Target):
        raise typer.BadParameter(say("cli.export.wrong", known=", ".join(get_args(Target))))
    return to


# Read when this module is loaded, which `__main__` does after it has chosen the language.
File = Annotated[Path, typer.Argument(metavar="FILE", help=say("cli.file"), show_default=False)]
AdapterDir = Annotated[Path, typer.Argument(metavar="ADAPTER", help=say("cli.adapter"), show_default=False)]
BaseName = Annotated[str, typer.Option("--base", metavar="MODEL", help=say("cli.base"))]
OwnBase = Annotated[
    str | None, typer.Option("--base", metavar="MODEL", help=say("cli.base"), show_default=EMBEDDED)
]  # fmt: skip
GivenPlan = Annotated[Path | None, typer.Option("--plan", metavar="plan.json", help=say("cli.given"))]
Sheet = Annotated[str | None, typer.Option("--sheet", help=say("cli.sheet"))]
Question = Annotated[str | None, typer.Option("--question", metavar="COL", help=say("cli.question"))]
AnswerColumn = Annotated[str | None, typer.Option("--answer", metavar="COL", help=say("cli.answer"))]
Conversation = Annotated[str | None, typer.Option("--conversation", metavar="COL", help=say("cli.conversation"))]
System = Annotated[str | None, typer.Option("--system", metavar="COL|TEXT", help=say("cli.system"))]
Instruction = Annotated[str | None, typer.Option("--instruction", metavar="TEXT", help=say("cli.instruction"))]
Mask = Annotated[bool, typer.Option("--mask", help=say("cli.mask"))]
Edits = Annotated[Path | None, typer.Option("--edits", metavar="EDITS.json", help=say("cli.edits"))]
Keep = Annotated[Path | None, typer.Option("--keep", metavar="DIR", help=say("cli.keep"))]
Preset = Annotated[str | None, typer.Option("--preset", metavar="NAME", help=say("cli.preset"))]
FromOthers = Annotated[Path | None, typer.Option("--from", metavar="YAML", help=say("cli.plan.from"))]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help=say("cli.set"))]
SkipFaulty = Annotated[bool, typer.Option("--skip-faulty", help=say("cli.skip_faulty"))]
JudgeName = Annotated[str | None, typer.Option("--judge", metavar="JUDGE", help=say("cli.evaluate.judge"))]
JudgePrompt = Annotated[Path | None, typer.Option("--judge-prompt", metavar="FILE", help=say("cli.evaluate.prompt"))]
Criteria = Annotated[str, typer.Option("--criteria", metavar="TEXT", help=say("cli.evaluate.criteria"))]
Blind = Annotated[Path | None, typer.Option("--blind", metavar="OUT.xlsx", help=say("cli.evaluate.blind"))]
Votes = Annotated[list[Path] | None, typer.Option("--votes", metavar="IN.xlsx", help=say("cli.evaluate.votes"))]
Scores = Annotated[Path | None, typer.Option("--scores", metavar="OUT.xlsx", help=say("cli.evaluate.scores"))]
Json = Annotated[bool, typer.Option("--json", help=say("cli.json"))]
Lang = Annotated[str | None, typer.Option("--lang", metavar="zh|en", callback=_known, help=say("cli.lang"))]
Debug = Annotated[bool, typer.Option("--debug", help=say("cli.debug"))]

app = typer.Typer(cls=Group, rich_markup_mode=None, add_completion=False, no_args_is_help=True,
                  pretty_exceptions_enable=False)  # fmt: skip
models = typer.Typer(cls=Group, rich_markup_mode=None, no_args_is_help=True)
verb, models_verb = partial(app.command, cls=Command), partial(models.command, cls=Command)
keys = typer.Typer(rich_markup_mode=None, no_args_is_help=True)
keys_verb = partial(keys.command, cls=Command)


@app.callback(invoke_without_command=True, help=say("cli.help"))
def _postil(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help=say("cli.version"))] = False,
    lang: Lang = None,
) -> None:
    if version:
        sys.stdout.write(f"postil {__version__}\n")
    elif context.invoked_subcommand is None:
        sys.stdout.write(context.get_help() + "\n")


def open_screen(as_json: bool) -> "Screen":
    """Where a command speaks. Loaded when it does: a help text needs no tables."""
    from postil.show import Screen

    return Screen(as_json=as_json)


def reading_of(
    sheet: str | None, question: str | None, answer: str | None, conversation: str | None, system: str | None,
    instruction: str | None, mask: bool, edits: Path | None = None,
) -> "flow.Reading":  # fmt: skip
    from postil import flow
    from postil.dataset import read_reading

    named = {"question": question, "answer": answer, "conversation": conversation}
    told = flow.Reading(**read_reading(edits)) if edits else flow.Reading()
    columns = {**told.columns, **{role: column for role, column in named.items() if column}}
    return flow.Reading(sheet or told.sheet, columns, system or told.system, instruction or told.instruction,
                        mask or told.mask, told.edits, told.without)  # fmt: skip


def heard_by(screen: "Screen") -> Callable[[str, float | None], None]:
    """What a long download says."""

    from postil.records import Event

    def hear(text: str, share: float | None) -> None:
        data = {} if share is None else {"share": round(share, 3)}
        screen.emit(Event("message", {"code": "plain", "text": text, **data}))

    return hear

"""The command line: parse, call flow, print. Exit codes: 0 done, 1 a coded error, 2 wrong usage, 130 interrupted.

Nothing is imported here that a help text does not need, and annotations are no texts, which Typer would have to read:
`--help` takes hardly longer than Typer itself.
"""

import signal
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast, get_args

import typer

from postil import __version__
from postil.errors import PostilError
from postil.locales import LANGUAGES, knows, say
from postil.settings import EMBEDDED, Settings, quiet
from postil.usage import Command, Group, WrongUsage, coded, is_a_call_for_help, usage_of

if TYPE_CHECKING:
    from postil import flow
    from postil.evaluate import Judgement, Tally
    from postil.records import Evaluation, Target
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


def run(arguments: Sequence[str]) -> int:
    """Run a command line; returns the exit code. Tracebacks are shown with --debug only."""
    quiet()
    if "--debug" not in arguments:
        warnings.simplefilter("ignore")  # of libraries, about their own future
    try:
        command = typer.main.get_command(app)  # not app(): that would set an excepthook of its own
        code = command.main(args=list(arguments), prog_name="postil", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except PostilError as error:
        if "--debug" in arguments:
            raise
        _screen("--json" in arguments).error(error)
        return 1
    except typer.Abort:
        return 130
    except WrongUsage as error:
        if is_a_call_for_help(error):
            error.show()
        else:
            sys.stderr.write("" if "--json" in arguments else usage_of(error) + "\n")
            _screen("--json" in arguments).error(coded(error))
        return int(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("\n" + say("cli.interrupted") + "\n")
        return 130


# ── import ────────────────────────────────────────────────────────────────────────────────────────


@verb(help=say("cli.check.help"))
def check(
    file: File, sheet: Sheet = None, question: Question = None, answer: AnswerColumn = None,
    conversation: Conversation = None, system: System = None, instruction: Instruction = None, mask: Mask = False,
    edits: Edits = None,
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
    from postil.records import Corrections
    from postil.store import write_json

    screen = _screen(as_json)
    reading = _reading(sheet, question, answer, conversation, system, instruction, mask, edits)
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

    screen = _screen(as_json)
    wanted = _reading(sheet, question, answer, conversation, system, None, mask, edits)
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

    screen = _screen(as_json)
    old, new = (
        flow.check(file, _reading(None, None, None, None, None, None, False, edits))
        for file, edits in ((before, first), (after, second))
    )
    found = compared(old, new)
    screen.difference(found)
    screen.result(found.as_json(rows))


@verb(help=say("cli.xray.help"))
def xray(
    file: File, base: BaseName = EMBEDDED, sheet: Sheet = None, question: Question = None,
    answer: AnswerColumn = None, conversation: Conversation = None, system: System = None,
    instruction: Instruction = None, edits: Edits = None,
    max_length: Annotated[int | None, typer.Option("--max-length", min=16, help=say("cli.max_length"))] = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help=say("cli.xray.rows"))] = 5,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow

    screen = _screen(as_json)
    reading = _reading(sheet, question, answer, conversation, system, instruction, False, edits)
    found = flow.xray(file, base, reading, max_length)
    screen.xray(found, rows)
    screen.result(found)


# ── base models ───────────────────────────────────────────────────────────────────────────────────


@models_verb("list", help=say("cli.models.list.help"))
def models_list(as_json: Json = False, lang: Lang = None, debug: Debug = False) -> None:
    from postil import plan as room

    screen = _screen(as_json)
    here, home = room.machine(), Settings().home
    bases = [(base, room.needed_bytes(base.shape, here) <= here.memory_bytes) for base in room.known(home)]
    screen.bases(bases)
    screen.result({"models": [
        {"name": base.name, "parameters": base.shape.parameters, "licence": base.licence, "sources": dict(base.sources),
         "languages": list(base.languages), "fits": fits, "path": str(base.path) if base.path else None}
        for base, fits in bases
    ]})  # fmt: skip


@models_verb("pull", help=say("cli.models.pull.help"))
def models_pull(
    name: Annotated[str, typer.Argument(metavar="MODEL", help=say("cli.base"))],
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow

    screen = _screen(as_json)
    base = flow.fetched(flow.find_base(name), _heard(screen))
    screen.say("show.pulled", name=base.name, path=base.path)
    screen.result({"name": base.name, "path": str(base.path)})


@models_verb("add", help=say("cli.models.add.help"))
def models_add(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help=say("cli.models.add.directory"))],
    name: Annotated[str | None, typer.Option("--name", help=say("cli.models.add.name"))] = None,
    base_name: Annotated[
        str | None, typer.Option("--base", metavar="MODEL", help=say("cli.models.add.base"))
    ] = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api, flow

    screen = _screen(as_json)
    if flow.is_adapter(directory):
        with flow.adopted(directory, base_name) as (adapter, unknown):
            made = api.add_model(adapter, name or directory.resolve().name)
        screen.adopted(made, unknown)
        screen.result({**made, "unknown": unknown})
        return
    base = flow.add_base(directory, name)
    screen.say("show.pulled", name=base.name, path=base.path)
    screen.result({"name": base.name, "path": str(base.path)})


app.add_typer(models, name="models", help=say("cli.models.help"))

# ── plan and train ────────────────────────────────────────────────────────────────────────────────


@verb(help=say("cli.plan.help"))
def plan(
    file: Annotated[Path | None, typer.Argument(metavar="FILE", help=say("cli.file"))] = None,
    base: OwnBase = None, sheet: Sheet = None, question: Question = None, answer: AnswerColumn = None,
    conversation: Conversation = None, system: System = None, instruction: Instruction = None, mask: Mask = False,
    edits: Edits = None, preset: Preset = None, settings: Set = None, foreign: FromOthers = None,
    skip_faulty: SkipFaulty = False,
    fields: Annotated[bool, typer.Option("--fields", help=say("cli.plan.fields"))] = False,
    no_measure: Annotated[bool, typer.Option("--no-measure", help=say("cli.plan.no_measure"))] = False,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow
    from postil import plan as room

    screen = _screen(as_json)
    if fields:
        screen.fields(room.fields())
        return
    theirs = room.read_foreign(foreign) if foreign else None
    if foreign and theirs:
        screen.foreign(foreign, theirs)
    file = file or (theirs.data if theirs else None)
    if file is None:
        raise typer.BadParameter(say("cli.plan.no_file"), param_hint="FILE")
    wishes = {**(theirs.settings if theirs else {}), **room.checked_settings(settings or [])}
    reading = _reading(sheet, question, answer, conversation, system or wishes.get("system"), instruction, mask, edits)
    if theirs and not reading.columns:
        reading = replace(reading, columns=theirs.columns)
    dataset = flow.check(file, reading)
    found = flow.find_base(base or (theirs.base if theirs else None) or EMBEDDED)
    if not no_measure:
        screen.measuring(found)
    prepared = flow.plan(dataset, found, preset=preset, settings=wishes, skip_faulty=skip_faulty,
                         measure=not no_measure)  # fmt: skip
    screen.proposal(prepared.proposal, prepared.doubts)
    _advise(screen, prepared)
    more = {"foreign": theirs.as_json()} if theirs else {}
    screen.result({**prepared.proposal.as_json(), **more, "recommended": flow.recommended_base(prepared.dataset),
                   "doubts": [doubt.as_json() for doubt in prepared.doubts]})  # fmt: skip


@verb(help=say("cli.train.help"))
def train(
    file: File,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help=say("cli.output"))],
    base: OwnBase = None, sheet: Sheet = None, question: Question = None, answer: AnswerColumn = None,
    conversation: Conversation = None, system: System = None, instruction: Instruction = None, mask: Mask = False,
    edits: Edits = None,
    validation: Annotated[Path | None, typer.Option("--validation", metavar="FILE", help=say("cli.validation"))] = None,
    test: Annotated[Path | None, typer.Option("--test", metavar="FILE", help=say("cli.test"))] = None,
    given: GivenPlan = None, preset: Preset = None, settings: Set = None, skip_faulty: SkipFaulty = False,
    resume: Annotated[bool, typer.Option("--resume", help=say("cli.resume"))] = False,
    force: Annotated[bool, typer.Option("--force", help=say("cli.force"))] = False,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow
    from postil.plan import checked_settings, read_given

    screen = _screen(as_json)
    if resume:
        with _stoppable(screen) as stop:
            result = flow.resume(output, screen.emit, file, stop=stop)
    else:
        wishes = checked_settings(settings or [])
        earlier = read_given(given) if given else None
        if earlier:
            base, system, instruction = (
                base or earlier.base, system or earlier.system, instruction or earlier.instruction
            )  # fmt: skip
        reading = _reading(sheet, question, answer, conversation, system, instruction, mask, edits)
        choice = {"preset": preset, "settings": wishes, "given": earlier, "skip_faulty": skip_faulty}
        others = {"validation": validation, "test": test}
        result = _train(screen, file, output, base or EMBEDDED, reading, others, choice, force)
    _finished(screen, output, result)
    screen.result(result)


def _train(
    screen: "Screen", file: Path, output: Path, base: str, reading: "flow.Reading", others: dict[str, Path | None],
    choice: dict[str, Any], force: bool,
) -> dict[str, Any]:  # fmt: skip
    """`others`: the user's own validation and test file; `choice`: what `flow.plan` is to obey."""
    from postil import flow
    from postil.show import duration
    from postil.train import refuse_to_overwrite

    started = time.monotonic()

    def stage(name: str) -> None:
        nonlocal started
        screen.say("show.took", "bright_black", stage=say(f"stage.{name}"), time=duration(time.monotonic() - started))
        started = time.monotonic()

    refuse_to_overwrite(output, force=force)
    dataset = flow.check(file, reading)
    screen.dataset(dataset)
    own = {name: flow.check(path, reading.of_another_file()) if path else None for name, path in others.items()}
    stage("check")
    wanted = flow.find_base(base)
    found = flow.fetched(wanted, _heard(screen))
    if wanted.path is None:
        stage("fetch")
    if not choice.get("given"):
        screen.measuring(found)
    prepared = flow.plan(
        dataset, found, output=output, validation=own.get("validation"), test=own.get("test"), **choice
    )
    screen.proposal(prepared.proposal, prepared.doubts, every=False)
    _advise(screen, prepared)
    stage("plan")
    screen.title("show.training")
    with _stoppable(screen) as stop:
        return flow.train(prepared, output, screen.emit, force=force, stop=stop)


@verb("import-job", help=say("cli.import_job.help"))
def import_job(
    description: Annotated[Path, typer.Argument(metavar="JOB.json", help=say("cli.import_job.file"))],
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help=say("cli.import_job.data"))] = None,
    validation: Annotated[Path | None, typer.Option("--validation", metavar="FILE", help=say("cli.validation"))] = None,
    base: OwnBase = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="DIR", help=say("cli.import_job.output"))
    ] = None,
    force: Annotated[bool, typer.Option("--force", help=say("cli.force"))] = False,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow
    from postil.jobs import migrate, read_description
    from postil.plan import known

    screen = _screen(as_json)
    if output and data is None:
        raise typer.BadParameter(say("cli.import_job.no_data"), param_hint="--data")
    found = migrate(read_description(description), known(Settings().home))
    chosen = base or found.base or EMBEDDED
    screen.migration(found.as_json())
    line = found.command(chosen, str(data) if data else None, str(validation) if validation else None)
    screen.say("show.equivalent", "bold", command=line)
    told = {**found.as_json(), "command": line}
    if output is None or data is None:
        screen.result(told)
        return
    seed = {"seed": found.seed} if found.seed is not None else {}
    choice = {"settings": {**found.settings, **seed}, "rate_multiplier": found.learning_rate_multiplier}
    result = _train(screen, data, output, chosen, flow.Reading(), {"validation": validation}, choice, force)
    _finished(screen, output, result)
    screen.result({**told, **result})


@contextmanager
def _stoppable(screen: "Screen") -> "Iterator[flow.Stop]":
    """The first Ctrl-C ends the run after the present update, with a checkpoint; the second ends it at once."""
    wanted = False

    def hear(number: int, frame: object) -> None:
        nonlocal wanted
        if wanted:
            raise KeyboardInterrupt
        wanted = True
        screen.say("show.stopping", "yellow")

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: wanted
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _finished(screen: "Screen", output: Path, result: dict[str, Any]) -> None:
    from postil import flow
    from postil.evaluate import read_evaluation
    from postil.show import duration
    from postil.train import read_run

    screen.close()
    evaluation = read_evaluation(output)
    low, high = read_run(output).proposal.estimate.seconds
    screen.say("show.trained", "bold", updates=result["updates"], epochs=result["epochs"],
               time=duration(result["seconds"]), memory=f"{result['peak_rss_bytes'] / 1e9:.1f}")  # fmt: skip
    took = result["seconds"] + result["evaluation_seconds"]
    screen.say("show.estimated", "bright_black", low=duration(low), high=duration(high), time=duration(took))
    screen.stages(result["stages"])
    if evaluation:
        screen.evaluation(evaluation)
    if found := flow.diagnose(output):
        screen.title("show.doctor")
        screen.findings(found)
    screen.title("show.next")
    screen.say("show.next_steps", path=output)


def _advise(screen: "Screen", prepared: "flow.Prepared") -> None:
    from postil import flow

    advice = flow.advice_on_base(prepared.dataset, prepared.base)
    if advice:
        screen.line(advice, "cyan")


# ── evaluate ──────────────────────────────────────────────────────────────────────────────────────


@verb(help=say("cli.compare.help"))
def compare(
    adapter: AdapterDir,
    question: Annotated[str | None, typer.Argument(metavar="QUESTION", help=say("cli.compare.question"))] = None,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help=say("cli.compare.system"))] = None,
    sample: Annotated[bool, typer.Option("--sample", help=say("cli.compare.sample"))] = False,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow

    screen = _screen(as_json)
    comparison = flow.Comparison(adapter)

    def both(asked: str) -> dict[str, str]:
        answers = {}
        with screen.side_by_side() as grow:
            for name, tuned in (("base", False), ("tuned", True)):
                said = comparison.ask(asked, tuned=tuned, say=partial(grow, name), sample=sample, system=system)
                answers[name] = said.text
        screen.line("")
        return answers

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
    sheet: Sheet = None, question: Question = None, answer: AnswerColumn = None, conversation: Conversation = None,
    rows: Annotated[int, typer.Option("--rows", min=0, help=say("cli.evaluate.rows"))] = 8,
    judge: JudgeName = None, prompt: JudgePrompt = None, criteria: Criteria = "", blind: Blind = None,
    votes: Votes = None, scores: Scores = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow
    from postil.evaluate import read_evaluation

    screen = _screen(as_json)
    reading = _reading(sheet, question, answer, conversation, None, None, False)
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
    screen: "Screen", adapter: Path, found: "Evaluation", told: dict[str, Any], judge: str | None,
    brief: tuple[Path | None, str], blind: Path | None, votes: list[Path],
) -> "tuple[Judgement | None, Tally | None]":  # fmt: skip
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
    adapter: AdapterDir, file: File,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.xlsx", help=say("cli.answer.output"))],
    sheet: Sheet = None, question: Question = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow

    screen = _screen(as_json)
    reading = _reading(sheet, question, None, None, None, None, False)
    result = flow.answer(adapter, file, output, reading, screen.emit)
    screen.close()
    for lost in result["not_carried_over"]:
        screen.line(lost, "yellow")
    screen.say("show.answered", path=output, n=result["answered"], rows=result["rows"], earlier=result["from_earlier"])
    if result["without_words"]:
        screen.say("show.without_words", "yellow", n=result["without_words"])
    screen.result(result)


@verb(help=say("cli.golden.help"))
def golden(
    file: File,
    endpoint: Annotated[str, typer.Option("--endpoint", metavar="URL", help=say("cli.golden.endpoint"))],
    model: Annotated[str, typer.Option("--model", metavar="NAME", help=say("cli.golden.model"))],
    output: Annotated[Path, typer.Option("--output", "-o", metavar="OUT.jsonl", help=say("cli.golden.output"))],
    sheet: Sheet = None, question: Question = None,
    system: Annotated[str | None, typer.Option("--system", metavar="TEXT", help=say("cli.golden.system"))] = None,
    max_tokens: Annotated[int | None, typer.Option("--max-tokens", min=1, help=say("cli.golden.max_tokens"))] = None,
    per_minute: Annotated[float, typer.Option("--per-minute", min=0.1, help=say("cli.golden.per_minute"))] = 60.0,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil.golden import Remote, record

    screen = _screen(as_json)
    remote = Remote(endpoint, model, system, max_tokens, per_minute)
    found = record(file, output, remote, sheet=sheet, column=question, emit=screen.emit)
    screen.close()
    screen.say("show.golden", n=found["answered"], of=found["questions"], path=output)
    if found["refused"]:
        screen.say("show.golden_refused", "yellow", n=len(found["refused"]), text=found["refused"][0][:60])
    if found["cut"]:
        screen.say("show.golden_cut", "yellow", n=found["cut"])
    screen.result(found)


# ── export ────────────────────────────────────────────────────────────────────────────────────────


@verb(help=say("cli.export.help"))
def export(
    adapter: AdapterDir,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help=say("cli.output"))],
    to: Annotated[
        str, typer.Option("--to", metavar="TARGET", callback=_target, help=say("cli.export.to"))
    ] = "merged",
    number_type: Annotated[str | None, typer.Option("--type", metavar="TYPE", help=say("cli.export.type"))] = None,
    name: Annotated[str | None, typer.Option("--name", help=say("cli.export.name"))] = None,
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help=say("cli.export.data"))] = None,
    no_check: Annotated[bool, typer.Option("--no-check", help=say("cli.export.no_check"))] = False,
    force: Annotated[bool, typer.Option("--force", help=say("cli.export.force"))] = False,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow

    screen = _screen(as_json)
    how: dict[str, Any] = {"type": number_type, "name": name, "data": data, "check": not no_check, "force": force}
    made = flow.export(adapter, cast("Target", to), output, emit=screen.emit, **how)
    screen.close()
    screen.exported(made)
    screen.result(made)
    if made["parity"]["outcome"] == "fail":
        raise typer.Exit(1)


@verb(help=say("cli.parity.help"))
def parity(
    adapter: AdapterDir,
    data: Annotated[Path | None, typer.Option("--data", metavar="FILE", help=say("cli.export.data"))] = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow

    screen = _screen(as_json)
    found = flow.parity(adapter, data)
    screen.parity(found)
    screen.result(found)
    if found["outcome"] == "fail":
        raise typer.Exit(1)


# ── the machine ───────────────────────────────────────────────────────────────────────────────────


@verb(help=say("cli.doctor.help"))
def doctor(
    run: Annotated[Path | None, typer.Argument(metavar="RUN", help=say("cli.doctor.run"), show_default=False)] = None,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil.doctor import examine

    screen = _screen(as_json)
    if run is not None:
        _doctor_of(screen, run)
        return
    found = examine()
    screen.doctor(found)
    screen.result(found)
    if found["problems"]:
        raise typer.Exit(1)


def _doctor_of(screen: "Screen", directory: Path) -> None:
    """Look at a run instead of at the machine."""
    from postil import flow

    found = flow.diagnose(directory)
    screen.findings(found)
    screen.result({"findings": [one.as_json() for one in found]})
    if any(one.severity == "error" for one in found):
        raise typer.Exit(1)


@verb(help=say("cli.quickstart.help"))
def quickstart(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help=say("cli.output"))] = Path(
        "postil-quickstart"
    ),
    force: Annotated[bool, typer.Option("--force", help=say("cli.force"))] = False,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow
    from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM, sample
    from postil.show import duration

    screen = _screen(as_json)
    started = time.monotonic()
    screen.say("show.quickstart", path=output)
    reading = flow.Reading(system=TITLES_SYSTEM, instruction=TITLES_INSTRUCTION)
    result = _train(screen, sample("titles"), output, EMBEDDED, reading, {}, {"preset": "quick_try"}, force)
    _finished(screen, output, result)
    screen.say("show.all_took", "bold", time=duration(time.monotonic() - started))
    screen.result(result)


# ── the server ────────────────────────────────────────────────────────────────────────────────────


@verb(help=say("cli.serve.help"))
def serve(
    host: Annotated[str, typer.Option("--host", help=say("cli.serve.host"))] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help=say("cli.serve.port"))] = 8000,
    public: Annotated[bool, typer.Option("--public", help=say("cli.serve.public"))] = False,
    lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api

    screen = _screen(False)
    api.serve(host, port, lambda key, values: screen.say(key, **values), public=public)


@verb(help=say("cli.studio.help"))
def studio(
    host: Annotated[str, typer.Option("--host", help=say("cli.serve.host"))] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help=say("cli.serve.port"))] = 8000,
    public: Annotated[bool, typer.Option("--public", help=say("cli.serve.public"))] = False,
    no_browser: Annotated[bool, typer.Option("--no-browser", help=say("cli.studio.no_browser"))] = False,
    lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    import webbrowser

    from postil import api, web

    screen = _screen(False)

    def tell(key: str, values: dict[str, Any]) -> None:
        screen.say(key, **values)
        if key == "api.pages" and not no_browser:
            webbrowser.open(values["url"])

    api.serve(host, port, tell, public=public, pages=web.attach)


@keys_verb("list", help=say("cli.keys.list.help"))
def keys_list(as_json: Json = False, lang: Lang = None, debug: Debug = False) -> None:
    from postil import api

    screen = _screen(as_json)
    found = api.list_keys()
    for key in found:
        screen.line("  ".join([key["id"], key["project"], ",".join(key["scopes"]), key["state"], key["name"]]))
    screen.result({"keys": found})


@keys_verb("add", help=say("cli.keys.add.help"))
def keys_add(
    name: Annotated[str, typer.Option("--name", help=say("cli.keys.name"))] = "-",
    project: Annotated[str, typer.Option("--project", help=say("cli.keys.project"))] = "proj_local",
    scopes: Annotated[list[str] | None, typer.Option("--scope", help=say("cli.keys.scopes"))] = None,
    rate: Annotated[int, typer.Option("--requests-per-minute", min=0, help=say("cli.keys.rate"))] = 0,
    tokens: Annotated[int, typer.Option("--tokens-per-day", min=0, help=say("cli.keys.tokens"))] = 0,
    quota: Annotated[int, typer.Option("--quota-bytes", min=0, help=say("cli.keys.quota"))] = 0,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api

    screen = _screen(as_json)
    made = api.add_key(project, name, scopes or ["read", "train", "serve"], rate or None, tokens or None, quota or None)
    screen.line(say("api.first_key", secret=made["secret"]))
    screen.result(made)


@keys_verb("revoke", help=say("cli.keys.revoke.help"))
def keys_revoke(
    key: Annotated[str, typer.Argument(metavar="KEY", help=say("cli.keys.id"))],
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import api

    screen = _screen(as_json)
    told = api.revoke_key(key)
    screen.line("  ".join([told["id"], told["state"]]))
    screen.result(told)


app.add_typer(keys, name="keys", help=say("cli.keys.help"))


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


def _screen(as_json: bool) -> "Screen":
    """Where a command speaks. Loaded when it does: a help text needs no tables."""
    from postil.show import Screen

    return Screen(as_json=as_json)


def _reading(
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


def _heard(screen: "Screen") -> Callable[[str, float | None], None]:
    """What a long download says."""

    from postil.records import Event

    def hear(text: str, share: float | None) -> None:
        data = {} if share is None else {"share": round(share, 3)}
        screen.emit(Event("message", {"code": "plain", "text": text, **data}))

    return hear

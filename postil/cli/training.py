"""From a sheet to a plan and a model; somebody else's job as one of ours; the sample job."""

import os
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from postil.cli.options import (
    AnswerColumn,
    Conversation,
    Debug,
    Edits,
    File,
    FromOthers,
    GivenPlan,
    Instruction,
    Json,
    Lang,
    Mask,
    OwnBase,
    Preset,
    Question,
    Set,
    Sheet,
    SkipFaulty,
    System,
    heard_by,
    open_screen,
    reading_of,
    verb,
)
from postil.cli.stopping import stoppable
from postil.locales import say
from postil.settings import EMBEDDED, Settings

if TYPE_CHECKING:
    from postil import flow
    from postil.records import Base
    from postil.show import Screen


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

    screen = open_screen(as_json)
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
    reading = reading_of(
        sheet, question, answer, conversation, system or wishes.get("system"), instruction, mask, edits
    )
    if theirs and not reading.columns:
        reading = replace(reading, columns=theirs.columns)
    reading = replace(reading, task=wishes.get("task"))
    room.preset(preset)  # a wrong name is told before the file is read
    found = flow.find_base(base or (theirs.base if theirs else None) or EMBEDDED)
    dataset = flow.check(file, reading)
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
    keep: Annotated[bool, typer.Option("--keep", help=say("cli.train.keep"))] = False,
    force: Annotated[bool, typer.Option("--force", help=say("cli.force"))] = False,
    as_json: Json = False, lang: Lang = None, debug: Debug = False,
) -> None:  # fmt: skip
    from postil import flow
    from postil.plan import checked_settings, read_given

    screen = open_screen(as_json)
    if keep:
        with stoppable(screen) as (_, emit):
            result = flow.keep(output, emit)
    elif resume:
        with stoppable(screen) as (stop, emit):
            result = flow.resume(output, emit, file, stop=stop)
    else:
        wishes = checked_settings(settings or [])
        earlier = read_given(given) if given else None
        if earlier:
            base, system, instruction = (
                base or earlier.base, system or earlier.system, instruction or earlier.instruction
            )  # fmt: skip
        reading = reading_of(sheet, question, answer, conversation, system, instruction, mask, edits)
        task = wishes.get("task") or (earlier.values.get("task") if earlier else None)
        reading = replace(reading, task=task)
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
    from postil.wording import duration

    started = time.monotonic()

    def stage(name: str) -> None:
        nonlocal started
        screen.say("show.took", "bright_black", stage=say(f"stage.{name}"), time=duration(time.monotonic() - started))
        started = time.monotonic()

    wanted = _refuse_early(file, output, base, others, choice.get("preset"), force)
    dataset = flow.check(file, reading)
    screen.dataset(dataset)
    own = {name: flow.check(path, reading.of_another_file()) if path else None for name, path in others.items()}
    stage("check")
    found = flow.fetched(wanted, heard_by(screen))
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
    with stoppable(screen) as (stop, emit):
        return flow.train(prepared, output, emit, force=force, stop=stop)


def _refuse_early(
    file: Path, output: Path, base: str, others: dict[str, Path | None], preset: str | None, force: bool
) -> "Base":
    """Tell what is wrong in the options before anything takes time. Returns the base model as it is known so far."""
    from postil import flow
    from postil import plan as room
    from postil.errors import FileError
    from postil.train import refuse_to_overwrite, refuse_while_in_use

    room.preset(preset)
    refuse_while_in_use(output)
    refuse_to_overwrite(output, force=force)
    for path in (file, *others.values()):
        if path is not None and not os.path.exists(path):  # noqa: PTH110 - a name that no system takes is missing, too
            raise FileError("file_missing", path=str(path))
    return flow.find_base(base)


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

    screen = open_screen(as_json)
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


def _finished(screen: "Screen", output: Path, result: dict[str, Any]) -> None:
    from postil import flow
    from postil.evaluate import read_evaluation
    from postil.train import read_run
    from postil.wording import duration

    screen.close()
    evaluation = read_evaluation(output)
    low, high = read_run(output).proposal.estimate.seconds
    screen.say("show.trained", "bold", updates=result["updates"], epochs=result["epochs"],
               time=duration(result["seconds"]), memory=f"{result['peak_rss_bytes'] / 1e9:.1f}")  # fmt: skip
    took = result["seconds"] + result["evaluation_seconds"]
    screen.say("show.estimated", "bright_black", low=duration(low), high=duration(high), time=duration(took))
    screen.stages(result["stages"])
    screen.left_out(result.get("left_out", {}))
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
    from postil.wording import duration

    screen = open_screen(as_json)
    started = time.monotonic()
    screen.say("show.quickstart", path=output)
    reading = flow.Reading(system=TITLES_SYSTEM, instruction=TITLES_INSTRUCTION)
    result = _train(screen, sample("titles"), output, EMBEDDED, reading, {}, {"preset": "quick_try"}, force)
    _finished(screen, output, result)
    screen.say("show.all_took", "bold", time=duration(time.monotonic() - started))
    screen.result(result)

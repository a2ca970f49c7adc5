"""Models: what was made, from what, whether it may be called, and how."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, get_args
from urllib.parse import quote

from fastapi import Request
from nicegui import ui

from postil.errors import JobError, StoreError
from postil.jobs import Order
from postil.locales import in_a_row
from postil.records import Target
from postil.store import ABSENT, line_version, note_version
from postil.web.desk import Desk, desk_of
from postil.web.frame import (
    act_button,
    box,
    card,
    chip,
    frame,
    go,
    labelled,
    link,
    note,
    nothing_yet,
    page,
    table,
    text,
    way,
)
from postil.web.jobs import file_name, job_name, model_names, moment, sure
from postil.web.place import Place
from postil.web.reach import note_reach
from postil.web.result import compare_path, judged_words, of_model, show_proof, show_verdict, zip_path
from postil.web.upload import Upload

if TYPE_CHECKING:
    from postil.store.tables import Model, ModelNote

SNIPPETS = {
    "python": """from openai import OpenAI

client = OpenAI(base_url="{url}/v1", api_key="{key}")
answer = client.chat.completions.create(
    model="{model}",
    messages=[{{"role": "user", "content": "{question}"}}],
)
print(answer.choices[0].message.content)""",
    "curl": """curl {url}/v1/chat/completions \\
  -H "Authorization: Bearer {key}" -H "Content-Type: application/json" \\
  -d '{{"model": "{model}", "messages": [{{"role": "user", "content": "{question}"}}]}}\'""",
}


@page("/models")
async def all_models(request: Request) -> None:
    desk = desk_of(request)
    async with frame(desk, "models", desk.say("web.models.title"), desk.say("web.models.lead")):
        rows = await desk.do(desk.house.store.models.list, desk.project)
        whole = [row for row in rows if row.checkpoint_id is None]
        if not whole:
            nothing_yet(desk, desk.say("web.models.none"))
            return
        names = await desk.do(model_names, desk, whole)
        headers = [desk.say(f"web.models.{name}") for name in ("name", "base", "verdict", "live", "created")]
        table(
            headers,
            [
                (
                    lambda row=row: link(names[row.id], f"/models/{quote(row.id, safe='')}", "wrap"),
                    row.base,
                    _outcome(desk, row),
                    lambda row=row: _live(desk, row),
                    moment(row.created_at),
                )
                for row in whole
            ],
            desk.say("web.models.title"),
        )


def _outcome(desk: Desk, row: Model) -> str:
    """The level, and the outcome of the comparison with the base."""
    if not row.verdict:
        return desk.say("web.outcome.none")
    outcome = desk.say(f"web.outcome.{row.verdict['outcome']}")
    level = (row.verdict.get("readiness") or {}).get("level")
    return f"{desk.say(f'web.outcome.{level}')} · {outcome}" if level else outcome


def _live(desk: Desk, row: Model) -> None:
    chip(desk.say("web.models.on" if row.live else "web.models.off"), "good" if row.live else "warn")


@page("/models/{name:path}")
async def one_model(name: str, request: Request) -> None:
    desk = desk_of(request)
    url = str(request.base_url).removesuffix("/").removesuffix("/studio")
    async with frame(desk, "models", desk.say("web.model.title")):
        row = await desk.do(desk.house.store.models.get, desk.project, name)
        names = await desk.do(model_names, desk, [row])
        with box("line"):
            text(names[row.id], "strong wrap grow", "div")
            _live(desk, row)
        text(row.id, "mono soft", "div")
        with box("line"):
            way(desk.say("web.result.compare"), compare_path([row.id]), main=True)
            way(desk.say("web.result.download"), zip_path(row.id))
            act_button(
                desk,
                "model.withdraw" if row.live else "model.allow",
                desk.say("web.model.off" if row.live else "web.model.on"),
                _turning(desk, row),
            )
            act_button(desk, "model.delete", desk.say("web.model.delete"), _deleting(desk, row))
        if row.verdict:
            show_verdict(desk, of_model(row.verdict))
        await _origin(desk, row)
        if desk.can("note.read"):
            await _notes(desk, row)
        await _lines(desk, row)
        if desk.can("answers.create"):
            await _fill(desk, row)
        if desk.can("export.create"):
            _export(desk, row)
        _call(desk, row, url)
        if desk.can("evaluation.read"):
            await show_proof(desk, row.id)
        if desk.can("model.log"):
            await _history(desk, row)


async def _origin(desk: Desk, row: Model) -> None:
    """From which data and job it comes."""
    with card(desk.say("web.model.origin")):
        facts: list[tuple[str, Any]] = [(desk.say("web.models.base"), row.base)]
        if row.job_id and desk.can("job.read"):
            facts += await _made_by(desk, row.job_id)
        facts += [(desk.say("web.models.created"), moment(row.created_at)), ("SHA-256", row.adapter_sha256)]
        table([desk.say("web.plan.parameter"), desk.say("web.plan.value")], facts, desk.say("web.model.origin"))


async def _made_by(desk: Desk, job_id: str) -> list[tuple[str, Any]]:
    """The data and the job that a model comes from, as far as they are still there."""
    try:
        job = await desk.do(desk.house.queue.get, desk.project, job_id)
    except JobError:  # deleted since
        return [(desk.say("web.model.job"), desk.say("web.jobs.gone"))]
    name = await desk.do(file_name, desk, job)
    called = job_name(desk, job, name)
    return [
        (desk.say("web.model.data"), name or "–"),
        (desk.say("web.model.job"), lambda: link(called, f"/jobs/{job.id}", "wrap")),
    ]


async def _notes(desk: Desk, row: Model) -> None:
    """What people write beside a model."""
    kept = await desk.do(desk.house.store.models.note, desk.project, row.id)
    with card(desk.say("web.model.notes")):
        await Notes(desk, row.id, kept).build()


class Notes:
    """A note that somebody writes. If another wrote meanwhile, theirs is shown below, and nothing of either is lost."""

    def __init__(self, desk: Desk, model: str, kept: ModelNote | None) -> None:
        self._desk, self._model = desk, model
        self._text, self._version = kept.text if kept else "", note_version(kept)

    async def build(self) -> None:
        desk = self._desk
        if not desk.can("note.write"):  # a field that takes no letters would say neither what it is nor why
            text(self._text or "–", "wrap")
            return
        self._written = ui.textarea(desk.say("web.model.notes.label"), value=self._text)
        self._written.props("outlined autogrow").classes("w-full")
        self._theirs = Place(live=True)
        with box("line"):
            act_button(desk, "note.write", desk.say("web.keep"), self._keep)

    async def _keep(self, *_: Any) -> None:
        desk, models = self._desk, self._desk.house.store.models
        try:
            made = await desk.do(
                models.set_note,
                desk.project,
                self._model,
                self._written.value or "",
                str(desk.key.id),
                version=self._version,
            )
        except StoreError as error:
            if error.code != "stale_version":
                raise
            theirs = await desk.do(models.note, desk.project, self._model)
            self._theirs.show(note_version(theirs), partial(self._show_theirs, theirs))
            return
        self._version = note_version(made)
        self._theirs.empty()
        ui.notify(desk.say("web.kept"), type="positive")

    def _show_theirs(self, theirs: ModelNote | None) -> None:
        desk, words = self._desk, theirs.text if theirs else ""
        note(desk.say("web.newer.note"), "bad", words or "–")

        async def put(text: str, *_: Any) -> None:
            self._version = note_version(theirs)
            self._written.value = text
            await self._keep()

        def mine() -> str:
            return str(self._written.value or "")  # as it is when the button is pressed

        with box("line"):
            act_button(
                desk, "note.write", desk.say("web.newer.note.both"), lambda *_: put(f"{mine()}\n{words}"), main=True
            )
            act_button(desk, "note.write", desk.say("web.newer.note.mine"), lambda *_: put(mine()))


async def _lines(desk: Desk, row: Model) -> None:
    """Which business lines call this model by their own name."""
    lines = await desk.do(desk.house.store.lines.list, desk.project)
    with card(desk.say("web.lines.title")):
        text(desk.say("web.lines.lead"), "soft")
        if lines:
            headers = [desk.say(f"web.lines.{name}") for name in ("name", "model", "act")]
            table(
                headers,
                [(f"line:{line.name}", line.model, partial(_line_acts, desk, row, line)) for line in lines],
                desk.say("web.lines.title"),
            )
        if not desk.can("line.set"):
            return
        name = ui.input(desk.say("web.lines.new")).props("outlined dense").style("max-width: 24rem")
        with box("line"):
            versions = {line.name: line_version(line) for line in lines}

            async def put(*_: Any) -> None:
                wish = (name.value or "").strip()
                await _set_line(desk, row, wish, versions.get(wish, ABSENT))

            act_button(desk, "line.set", desk.say("web.lines.set"), put)


def _line_acts(desk: Desk, row: Model, line: Any) -> None:
    version = line_version(line)  # a line that was switched meanwhile is told, not switched over
    with box("line"):
        if line.model != row.id:
            act_button(desk, "line.set", desk.say("web.lines.use"), lambda *_: _set_line(desk, row, line.name, version))
        act_button(desk, "line.back", desk.say("web.lines.back"), lambda *_: _roll_back(desk, line.name, version))


async def _set_line(desk: Desk, row: Model, name: str, version: str) -> None:
    reason, lines = desk.say("web.model.by_page"), desk.house.store.lines
    await desk.do(lines.set, desk.project, name.strip(), row.id, str(desk.key.id), reason, version=version)
    ui.navigate.reload()


async def _roll_back(desk: Desk, name: str, version: str) -> None:
    reason, lines = desk.say("web.model.by_page"), desk.house.store.lines
    await desk.do(lines.roll_back, desk.project, name, str(desk.key.id), reason, version=version)
    ui.navigate.reload()


async def _fill(desk: Desk, row: Model) -> None:
    """A sheet comes in and goes out with answers: a job like any other."""
    with card(desk.say("web.model.fill")):
        text(desk.say("web.model.fill.lead"), "soft")

        async def begin(told: dict[str, Any]) -> None:
            order = Order(kind="answers", model=row.id, training_file=str(told["id"]))
            job = await desk.do(desk.house.queue.create, desk.project, order)
            go(f"/jobs/{job.id}")

        Upload(desk, begin, act="answers.create")


def _export(desk: Desk, row: Model) -> None:
    """Files for other programs: a job, at whose end stands a certificate that they answer the same."""
    with card(desk.say("web.export.title")):
        text(desk.say("web.export.lead"), "soft")
        choices = {name: desk.say(f"web.export.{name.replace('-', '_')}") for name in get_args(Target)}
        chosen = ui.select(choices, value="merged", label=desk.say("web.export.to")).props("outlined dense")

        async def begin(event: Any) -> None:
            order = Order(
                kind="export", model=row.id, training_file=None, settings={"to": str(chosen.value), "name": row.id}
            )
            job = await desk.do(desk.house.queue.create, desk.project, order)
            go(f"/jobs/{job.id}")

        with box("line"):
            act_button(desk, "export.create", desk.say("web.export.begin"), begin)


def _call(desk: Desk, row: Model, url: str) -> None:
    """How programs call it."""
    with card(desk.say("web.model.call")):
        if not row.live:
            note(desk.say("web.model.not_live"), "warn")
        text(desk.say("web.model.call.lead"), "soft")
        note_reach(desk, url)
        for language, pattern in SNIPPETS.items():
            code = pattern.format(url=url, key="sk-postil-…", model=row.id, question=desk.say("web.model.question"))
            shown = ui.code(code, language="bash" if language == "curl" else language).classes("w-full")
            labelled(shown, language)
            if shown.copy_button:
                labelled(shown.copy_button.props(remove="color"), desk.say("web.model.call.copy"))


async def _history(desk: Desk, row: Model) -> None:
    log = await desk.do(desk.house.store.models.log, desk.project, row.id)
    keys = await desk.do(desk.house.store.keys.list, desk.project) if desk.can("/keys") else ()
    names = {"evaluation": desk.say("web.kind.evaluation"), **{key.id: key.name for key in keys}}
    with card(desk.say("web.model.history")):
        table(
            [desk.say(f"web.model.log.{name}") for name in ("when", "what", "who", "why")],
            [
                (
                    moment(one.created_at),
                    desk.say(f"web.model.log.{one.action}"),
                    names.get(one.by, one.by),
                    desk.say(f"web.outcome.{one.reason}") if one.by == "evaluation" and one.reason else one.reason,
                )
                for one in log
            ],
            desk.say("web.model.history"),
        )


def _turning(desk: Desk, row: Model) -> Any:
    async def run(*_: Any) -> None:
        models = desk.house.store.models
        if row.live:
            await desk.do(models.withdraw, desk.project, row.id, str(desk.key.id), desk.say("web.model.by_page"))
        else:
            doubts = [words for _, words in judged_words(desk, of_model(row.verdict))] if row.verdict else []
            if not await sure(desk, in_a_row(desk.say("web.model.on.sure"), *doubts)):
                return
            await desk.do(models.allow, desk.project, row.id, str(desk.key.id), desk.say("web.model.by_page"))
        ui.navigate.reload()

    return run


def _deleting(desk: Desk, row: Model) -> Any:
    async def run(*_: Any) -> None:
        checkpoints = await desk.do(desk.house.store.models.checkpoints, desk.project, row.id)
        more = desk.say("web.model.delete.checkpoints", n=len(checkpoints)) if checkpoints else ""
        if await sure(desk, in_a_row(desk.say("web.model.delete.sure", model=row.id), more)):
            await desk.do(desk.house.delete, desk.project, row.id, str(desk.key.id), checkpoints=True, lane="engines")
            go("/models")

    return run

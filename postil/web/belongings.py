"""What a project has in the studio besides models: its data sets and the files that came in, each with its way out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from nicegui import ui

from postil.web.desk import Desk
from postil.web.frame import act_button, box, card, link, pointer, table, text
from postil.web.jobs import moment, sure

if TYPE_CHECKING:
    from postil.store.tables import DataSet, File

SHOWN_FILES = 100


def show_data_sets(desk: Desk, rows: Sequence[DataSet]) -> None:
    """The newest version of each data set."""
    headers = [desk.say(f"web.data.{name}") for name in ("name", "corrections", "created", "open")]
    table(
        headers,
        [
            (
                partial(link, row.name, f"/data/{row.id}", "wrap"),
                corrected_words(desk, row.reading),
                moment(row.created_at),
                partial(_acts, desk, row),
            )
            for row in rows
        ],
        desk.say("web.data.title"),
    )


def corrected_words(desk: Desk, reading: Mapping[str, Any]) -> str:
    edits, without = len(reading.get("edits") or {}), len(reading.get("without") or ())
    return desk.say("web.data.corrected", edits=edits, rows=without) if edits or without else "–"


def _acts(desk: Desk, row: DataSet) -> None:
    delete = partial(desk.house.store.datasets.delete, desk.project, row.id)
    with box("line"):
        pointer(desk.say("web.steps.plan"), f"/data/{row.id}/plan")
        question = desk.say("web.data.delete.sure", name=row.name)
        act_button(desk, "dataset.delete", desk.say("web.delete"), _deleting(desk, question, delete))


async def show_files(desk: Desk) -> None:
    """The files that came in or were made here, the newest first."""
    files = await desk.do(desk.house.store.files.list, desk.project, limit=SHOWN_FILES)
    if not files.rows:
        return
    with card(desk.say("web.files.title")):
        text(desk.say("web.files.lead"), "soft")
        headers = [desk.say(f"web.files.{name}") for name in ("name", "size", "came", "act")]
        table(
            headers,
            [
                (partial(_download, row), _size(row.bytes), moment(row.created_at), partial(_away, desk, row))
                for row in files.rows
            ],
            desk.say("web.files.title"),
        )
        if files.more:
            text(desk.say("web.files.more", n=SHOWN_FILES), "small soft")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{max(1, round(count / 1e3))} kB"


def _download(row: File) -> None:
    link(row.filename, f"/files/{row.id}/content", "wrap").props("download")


def _away(desk: Desk, row: File) -> None:
    def delete() -> None:
        desk.house.store.files.delete(desk.project, row.id)
        desk.house.looks.sweep()

    question = desk.say("web.files.delete.sure", name=row.filename)
    act_button(desk, "file.delete", desk.say("web.delete"), _deleting(desk, question, delete))


def _deleting(desk: Desk, question: str, delete: Callable[[], None]) -> Any:
    """Asks before it deletes; what is in use is told, with what uses it, and stays."""

    async def run(*_: Any) -> None:
        if await sure(desk, question):
            await desk.do(delete)
            ui.navigate.reload()

    return run

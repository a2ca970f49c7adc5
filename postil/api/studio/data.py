"""Before a job: what is in a file, what would be learned from it, and with which plan."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field

from postil import __version__
from postil.api.asking import CHECK_SECONDS, on_disk
from postil.api.bodies import Body, StrictRoute
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lanes import lane
from postil.api.lists import checked_name
from postil.api.refusals import Refused, documented, refused
from postil.dataset import window as look_at
from postil.datasets import FINDINGS, TABLE
from postil.errors import FileError, PlanError, StoreError
from postil.locales import knows, language
from postil.plan import check_settings, fields, known, machine, needed_bytes, presets
from postil.settings import EMBEDDED
from postil.store import read_json, write_json

if TYPE_CHECKING:
    from postil.store.tables import File, Key

PLAN_SECONDS = 300.0
LONG_SECONDS = 300.0  # where a file is checked more than once, or written again
ROLES = ("question", "answer", "conversation", "system")
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
MOST_EDITS, MOST_ROWS = 20_000, 200_000

Place = Annotated[str, Field(min_length=1, max_length=400)]  # the address of a text in a file

router = APIRouter(route_class=StrictRoute, tags=["Studio: data"], responses=documented())


class HowToRead(Body):
    """How a file is to be read, where detection is not enough."""

    sheet: str | None = Field(None, min_length=1, max_length=200)
    columns: dict[str, Annotated[str, Field(min_length=1, max_length=200)]] | None = Field(None, max_length=len(ROLES))
    system: str | None = Field(None, min_length=1, max_length=20_000)
    instruction: str | None = Field(None, min_length=1, max_length=20_000)


class Reading(HowToRead):
    """A file of the project and how it is to be read."""

    file: str = Field(min_length=1, max_length=80)


class Corrected(Reading):
    """The same with what a person has put right in it, which the file itself never sees.

    `edits`: address of a text (B7 in a table, 12:answer in JSON, 12:text in plain text) -> what shall stand there;
    `without`: rows to leave out; `mask`: personal data is replaced by what it is.
    """

    edits: dict[Place, Annotated[str, Field(max_length=100_000)]] | None = Field(None, max_length=MOST_EDITS)
    without: list[Annotated[int, Field(ge=1)]] | None = Field(None, max_length=MOST_ROWS)
    mask: bool | None = None


class CheckBody(Corrected):
    """With `base`, the labels of every example are proven with its tokenizer. `fix`: mend all problems of these codes
    (or `all`) that a click can mend, and tell the corrections that do it."""

    base: str | None = Field(None, max_length=255)
    fix: list[Annotated[str, Field(pattern="^[a-z_]{1,60}$")]] | None = Field(None, max_length=100)


class PreviewBody(Corrected):
    """Which rows to show. `check`: with what is found in each; `show`: another sheet than the one that is used; `only`:
    rows with `issues`, or with an issue of this code."""

    base: str | None = Field(None, max_length=255)
    check: bool | None = None
    show: str | None = Field(None, min_length=1, max_length=200)
    only: str | None = Field(None, pattern="^[a-z_]{1,60}$")
    offset: int = Field(0, ge=0, le=10_000_000)
    limit: int = Field(50, ge=0, le=500)


class PlanBody(Corrected):
    """`settings`: plan fields by name; `measure`: false takes no time on this machine, and the estimate is rough."""

    base: str | None = Field(None, max_length=255)
    preset: str | None = Field(None, max_length=64)
    settings: dict[str, Any] | None = Field(None, max_length=100)
    measure: bool | None = None


class DiffBody(Body):
    """Two files, or one in two versions."""

    before: Corrected
    after: Corrected


class XrayBody(Corrected):
    """`max_length`: where examples are cut."""

    base: str | None = Field(None, max_length=255)
    max_length: int | None = Field(None, ge=16, le=1_048_576)


class FieldsList(BaseModel):
    """The plan's fields, with label, help, type and bounds."""

    object: str = "list"
    data: list[dict[str, Any]]


@router.post("/check", dependencies=[may("train")])
@lane("looks")
def check(body: CheckBody, house: TheHouse, caller: Caller) -> dict[str, Any]:
    """What `postil check FILE --json` says: format, columns, examples, and everything that is wrong, with its rows."""
    for code in body.fix or []:
        if code != "all" and not knows(f"issue.{code}.fix"):
            raise refused("invalid_value", param="fix", detail="all")
    options = {**_checked(house, body), "--fix": body.fix}
    row = _file(house, caller, body.file)
    if body.fix or body.base:
        with on_disk(house.store, row) as path:
            return _check(body, options, house, row, path)

    @contextmanager
    def made() -> Iterator[Path]:
        with on_disk(house.store, row) as path:
            write_json(path.with_name("told.json"), _check(body, options, house, row, path))
            yield path.with_name("told.json")

    words = {**_key(body), "language": language(), "version": __version__}
    told: dict[str, Any] = read_json(house.looks.told(row.sha256, words, made))
    return told


def _check(body: CheckBody, options: Mapping[str, Any], house: House, row: File, path: Path) -> dict[str, Any]:
    """Have a file checked. What is found of its rows is kept for windows on them."""
    command = _command("check", body, options, path, keep=not body.fix)
    told: dict[str, Any] = house.command(command, LONG_SECONDS if body.fix else CHECK_SECONDS)
    if (made := path.parent / FINDINGS).exists():
        house.looks.findings(row.sha256, _key(body), lambda: nullcontext(made))
    return told


@router.post("/preview", dependencies=[may("train")])
@lane("looks")
def preview(body: PreviewBody, house: TheHouse, caller: Caller) -> dict[str, Any]:
    """Some rows of a file as Excel shows them, each with its number, its cells by address and, once it is checked, what
    was found in it. The first look at a file takes as long as reading it, further windows hardly any time."""
    row, key, options = _file(house, caller, body.file), _key(body), _checked(house, body)

    @contextmanager
    def made(name: str) -> Iterator[Path]:
        with on_disk(house.store, row) as path:
            look = ["look", str(path), "--rows=0", f"--keep={path.parent}"]
            house.command(look if name == TABLE else _command("check", body, options, path, keep=True), CHECK_SECONDS)
            yield path.parent / name

    def window() -> dict[str, Any]:
        table = house.looks.table(row.sha256, lambda: made(TABLE))
        findings = (
            house.looks.findings(row.sha256, key, lambda: made(FINDINGS)) if body.check
            else house.looks.found(row.sha256, key)
        )  # fmt: skip
        return look_at(table, findings, sheet=body.show, offset=body.offset, limit=body.limit, only=body.only)

    try:
        return window()
    except FileError as error:
        if error.code != "kept_broken":
            raise
        house.looks.forget(row.sha256)
        return window()


@router.post("/marked", dependencies=[may("train")], response_class=Response,
             responses={200: {"content": {XLSX: {"schema": {"type": "string", "format": "binary"}}}}})  # fmt: skip
@lane("looks")
def marked(body: CheckBody, house: TheHouse, caller: Caller) -> Response:
    """The file back as a workbook: every problem marked and commented where it stands, and listed on a sheet."""
    row, options = _file(house, caller, body.file), _checked(house, body)
    with on_disk(house.store, row) as path:
        report = path.with_name("marked.xlsx")
        house.command([*_command("check", body, options, path), f"--report={report}"], LONG_SECONDS)
        content = report.read_bytes()
    house.store.audit.note("downloaded", row.id, row.filename, project=caller.project)
    name = quote(f"{Path(row.filename).stem}.marked.xlsx")
    return Response(content, media_type=XLSX, headers={"content-disposition": f"attachment; filename*=UTF-8''{name}"})


@router.post("/diff", dependencies=[may("train")])
@lane("looks")
def difference(body: DiffBody, house: TheHouse, caller: Caller) -> dict[str, Any]:
    """Which examples were added, removed and changed between two files, or two ways of correcting one."""
    sides = {name: getattr(body, name) for name in ("before", "after")}
    rows = {name: _file(house, caller, side.file, f"{name}.file") for name, side in sides.items()}
    with on_disk(house.store, rows["before"]) as first, on_disk(house.store, rows["after"]) as second:
        command = ["diff", str(first), str(second)]
        for (name, side), path in zip(sides.items(), (first, second), strict=True):
            write_json(path.with_name("reading.json"), reading_of(side))
            command.append(f"--{name}={path.with_name('reading.json')}")
        told: dict[str, Any] = house.command(command, LONG_SECONDS)
    return told


@router.post("/plan", dependencies=[may("train")])
@lane("looks")
def plan(body: PlanBody, house: TheHouse, caller: Caller) -> dict[str, Any]:
    """What `postil plan FILE --json` says: every value with its reason, and what it will take."""
    if body.preset is not None and body.preset not in presets():
        raise refused("invalid_value", param="preset", detail=", ".join(presets()))
    try:
        settings = check_settings(body.settings or {})
    except PlanError as error:
        raise Refused(error, param=f"settings.{error.values.get('name', '')}"[:80]) from error
    options = {**options_of(body), "--mask": body.mask, "--base": _base(house, body.base), "--preset": body.preset,
               "--set": [f"{name}={value}" for name, value in settings.items() if value is not None],
               "--no-measure": body.measure is False}  # fmt: skip
    return _asked(house, caller, "plan", body, options, PLAN_SECONDS)


@router.post("/xray", dependencies=[may("train")])
@lane("looks")
def xray(body: XrayBody, house: TheHouse, caller: Caller) -> dict[str, Any]:
    """What `postil xray FILE --json` says: which tokens of each example are learned, ignored or cut."""
    options = {
        **options_of(body),
        "--mask": body.mask,
        "--base": _base(house, body.base),
        "--max-length": body.max_length,
    }
    return _asked(house, caller, "xray", body, options, CHECK_SECONDS)


@router.get("/fields", dependencies=[may("read")])
def plan_fields(lang: Annotated[str, Query(pattern="^(zh|en)$")] = "en") -> FieldsList:
    """Every field of the plan: what a form is made of."""
    return FieldsList(data=[field.as_json() for field in fields(lang)])


@router.get("/presets", dependencies=[may("read")])
def plan_presets() -> dict[str, list[str]]:
    """The names of the presets."""
    return {"data": list(presets())}


@router.get("/bases", dependencies=[may("read")])
def bases(house: TheHouse) -> dict[str, list[dict[str, Any]]]:
    """The catalogue: what may be trained on, whether it is here, and whether this machine can hold it."""
    here = machine()
    return {"data": [
        {"name": base.name, "parameters": base.shape.parameters, "licence": base.licence,
         "languages": list(base.languages), "here": base.path is not None,
         "fits": needed_bytes(base.shape, here) <= here.memory_bytes}
        for base in known(house.settings.home)
    ]}  # fmt: skip


def options_of(body: HowToRead) -> dict[str, Any]:
    """How the file is to be read, as options of the commands."""
    columns = body.columns or {}
    for role in columns:
        if role not in ROLES:
            raise refused("unknown_parameter", param=f"columns.{role}"[:80])
    if "system" in columns and body.system is not None:
        raise refused("conflicting_parameters", param="system", other="columns.system")
    named = {f"--{role}": columns.get(role) for role in ROLES}
    return {"--sheet": body.sheet, **named, "--system": columns.get("system", body.system),
            "--instruction": body.instruction}  # fmt: skip


def _base(house: House, name: str | None) -> str:
    """By its name in the catalogue, never by a path. Raises Refused: 400 `model_not_found`."""
    wanted = name or EMBEDDED
    if wanted not in {base.name for base in known(house.settings.home)}:
        raise Refused(StoreError("model_not_found", model=wanted[:100]), param="base", status=400)
    return wanted


def _asked(house: House, caller: Key, command: str, body: Corrected, options: Mapping[str, Any], seconds: float
           ) -> dict[str, Any]:  # fmt: skip
    with on_disk(house.store, _file(house, caller, body.file)) as path:
        told: dict[str, Any] = house.command(_command(command, body, options, path), seconds)
    return told


def _command(command: str, body: Corrected, options: Mapping[str, Any], path: Path, *, keep: bool = False) -> list[str]:
    """The command line; with `keep`, what is found of each row is left beside the file."""
    kept = [f"--keep={path.parent}"] if keep else []
    return [command, str(path), *corrections_at(body, path), *arguments(options), *kept]


def _checked(house: House, body: CheckBody | PreviewBody) -> dict[str, Any]:
    """The options of a check."""
    base = _base(house, body.base) if body.base else None
    return {**options_of(body), "--mask": body.mask, "--base": base}


def _key(body: CheckBody | PreviewBody) -> dict[str, Any]:
    """What the findings of a file depend on."""
    return {**reading_of(body), "base": body.base}


def reading_of(body: Corrected) -> dict[str, Any]:
    """A reading as the commands and the jobs take it: without what is not said."""
    options_of(body)
    told = body.model_dump(include=set(Corrected.model_fields) - {"file"}, exclude_none=True)
    return {name: value for name, value in told.items() if value not in ({}, [], False)}


def _file(house: House, caller: Key, file_id: str, param: str = "file") -> File:
    try:
        return house.store.files.get(caller.project, checked_name(file_id, "file"))
    except StoreError as error:
        raise Refused(error, param=param, status=400) from error


def corrections_at(body: Corrected, path: Path) -> list[str]:
    """The option that names the corrections, which lie beside the file for as long as it is there."""
    if not body.edits and not body.without:
        return []
    beside = path.with_name("edits.json")
    write_json(beside, {"edits": body.edits or {}, "without": body.without or []})
    return [f"--edits={beside}"]


def arguments(options: Mapping[str, Any]) -> list[str]:
    """--name=value, so that no value is ever taken for an option."""
    found: list[str] = []
    for name, value in options.items():
        if value is True:
            found.append(name)
        elif value not in (None, False):
            found += [f"{name}={one}" for one in (value if isinstance(value, list) else [value])]
    return found

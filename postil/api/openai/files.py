"""Files: uploaded in one piece, listed, read back, deleted."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.responses import JSONResponse, StreamingResponse

from postil.api.bodies import StrictRoute
from postil.api.forms import Form, read_form
from postil.api.gate import FILE_BYTES
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lanes import Name
from postil.api.lists import After, ListOf, checked_name, limited, listed
from postil.api.once import fingerprint, once
from postil.api.refusals import documented, refused
from postil.dataset import require_data
from postil.errors import StoreError
from postil.store import display_name

if TYPE_CHECKING:
    from postil.store.blobs import Incoming
    from postil.store.tables import File, Key

PURPOSES = ("fine-tune", "evals", "user_data")
EXPIRY = (3600, 2_592_000)  # seconds
JUDGED_BYTES = 8 << 20  # larger files are looked at when a job takes them

router = APIRouter(route_class=StrictRoute, tags=["Files"], responses=documented())


class FileObject(BaseModel):
    """A file."""

    id: str
    object: Literal["file"] = "file"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["uploaded", "processed", "error"]
    expires_at: int | None
    status_details: str | None


class FileDeleted(BaseModel):
    """What is left of a file."""

    id: str
    object: Literal["file"] = "file"
    deleted: Literal[True] = True


def shown(row: File) -> FileObject:
    return FileObject.model_validate(
        {name: getattr(row, name) for name in FileObject.model_fields if name != "object"}
    )  # fmt: skip


def form_of(part: str, required: list[str], **fields: Any) -> dict[str, Any]:
    """A form with a file, as the OpenAPI document tells it."""
    properties = {part: {"type": "string", "format": "binary", "minLength": 1}, **fields}
    schema = {"type": "object", "required": [part, *required], "properties": properties, "additionalProperties": False}
    return {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": schema}}}}


@router.post(
    "/files", response_model=FileObject, dependencies=[may("train")],
    openapi_extra=form_of(
        "file", ["purpose"], purpose={"type": "string", "enum": list(PURPOSES)},
        **{"expires_after[anchor]": {"type": "string", "enum": ["created_at"]},
           "expires_after[seconds]": {"type": "integer", "minimum": EXPIRY[0], "maximum": EXPIRY[1]}},
    ),
)  # fmt: skip
async def create_file(request: Request, house: TheHouse, caller: Caller) -> JSONResponse:
    """Upload a file. A training file is looked at before the answer: it comes back as processed, or as error."""
    with house.store.files.incoming(most=FILE_BYTES) as made:
        write = partial(house.lanes.run, "files", caller.project, made.write)
        form = await read_form(request.headers, request.stream(), "file", write)
        purpose, seconds = _wanted(form)
        lane: Name = "looks" if purpose == "fine-tune" else "files"
        return await house.lanes.run(
            lane, caller.project, _kept, request, house, caller, form.filename or "upload", purpose, seconds, made
        )


def _kept(request: Request, house: House, caller: Key, filename: str, purpose: str, seconds: int | None,
          made: Incoming) -> JSONResponse:  # fmt: skip
    if not made.bytes:
        raise StoreError("empty_file")

    made.sync()
    require_data(made.path, display_name(filename))

    def make(reply: str | None) -> FileObject:
        fault = house.judged(made.path) if purpose == "fine-tune" and made.bytes <= JUDGED_BYTES else None
        row = house.store.files.keep(caller.project, filename, purpose, made, expires_after=seconds, reply=reply)
        if fault:
            house.store.files.judged(row.id, fault)
            row = house.store.files.get(caller.project, row.id)
        return shown(row)

    def again(file_id: str) -> FileObject:
        return shown(house.store.files.get(caller.project, file_id))

    body = fingerprint(filename, purpose, seconds, made.sha256)
    return once(request, house, caller, body, make, again, retried=True)


def _wanted(form: Form) -> tuple[str, int | None]:
    """The purpose, and after how many seconds the file goes."""
    fields = dict(form.fields)
    purpose = fields.pop("purpose", None)
    anchor, seconds = fields.pop("expires_after[anchor]", None), fields.pop("expires_after[seconds]", None)
    if fields:
        raise refused("unknown_parameter", param=next(iter(fields))[:80])
    if not purpose:
        raise refused("missing_parameter", param="purpose")
    checked_purpose(purpose)
    if anchor is None and seconds is None:
        return purpose, None
    if anchor != "created_at":
        raise refused("invalid_value", param="expires_after[anchor]", detail="created_at")
    if not (seconds and re.match(r"[0-9]{4,7}\Z", seconds) and EXPIRY[0] <= int(seconds) <= EXPIRY[1]):
        raise refused("invalid_value", param="expires_after[seconds]", detail=f"{EXPIRY[0]} - {EXPIRY[1]}")
    return purpose, int(seconds)


def checked_purpose(purpose: str) -> str:
    """Raises Refused `unsupported_purpose`."""
    if purpose not in PURPOSES:
        raise refused("unsupported_purpose", param="purpose", purpose=purpose[:40], known=", ".join(PURPOSES))
    return purpose


@router.get("/files", dependencies=[may("read")])
def list_files(
    house: TheHouse, caller: Caller, after: After,
    limit: Annotated[int, limited(10_000, 10_000)],
    order: Annotated[Literal["asc", "desc"], Query()] = "desc",
    purpose: Annotated[str | None, Query(max_length=64)] = None,
) -> ListOf[FileObject]:  # fmt: skip
    """The project's files, newest first unless `order` says otherwise."""
    page = house.store.files.list(caller.project, purpose=purpose or None, after=after, limit=limit,
                                  ascending=order == "asc")  # fmt: skip
    return listed([shown(row) for row in page.rows], page.more)


@router.get("/files/{file_id}", dependencies=[may("read")])
def retrieve_file(file_id: str, house: TheHouse, caller: Caller) -> FileObject:
    """One file."""
    return shown(house.store.files.get(caller.project, checked_name(file_id, "file")))


@router.get(
    "/files/{file_id}/content", dependencies=[may("read")], response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}},
)  # fmt: skip
def download_file(file_id: str, house: TheHouse, caller: Caller) -> StreamingResponse:
    """The file's own bytes."""
    row = house.store.files.get(caller.project, checked_name(file_id, "file"))
    opened = house.store.files.open(row)
    house.store.audit.note("downloaded", row.id, row.filename)

    headers = {"content-length": str(row.bytes), "content-disposition": "attachment"}
    pieces = house.lanes.pieces(caller.project, opened)
    return StreamingResponse(pieces, media_type="application/octet-stream", headers=headers)


@router.delete("/files/{file_id}", dependencies=[may("train")])
def delete_file(file_id: str, house: TheHouse, caller: Caller) -> FileDeleted:
    """Delete a file, unless a job that is not finished needs it."""
    house.store.files.delete(caller.project, checked_name(file_id, "file"))
    house.looks.sweep()
    return FileDeleted(id=file_id)

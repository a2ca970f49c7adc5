"""Uploads: a file that comes in parts, for what is too large for one request."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Annotated, Literal

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from postil.api.bodies import Body, StrictRoute
from postil.api.forms import read_form
from postil.api.gate import PART_BYTES
from postil.api.house import Caller, House, TheHouse, may
from postil.api.lanes import lane
from postil.api.lists import checked_name
from postil.api.once import fingerprint, once
from postil.api.openai.files import EXPIRY, FileObject, checked_purpose, form_of
from postil.api.openai.files import shown as shown_file
from postil.api.refusals import documented, refused
from postil.dataset import require_data

if TYPE_CHECKING:
    from postil.store.tables import Part, Upload

MOST_BYTES = 8 << 30

router = APIRouter(route_class=StrictRoute, tags=["Uploads"], responses=documented())


class ExpiresAfter(Body):
    """When the finished file goes."""

    anchor: Literal["created_at"]
    seconds: int = Field(ge=EXPIRY[0], le=EXPIRY[1])


class CreateUpload(Body):
    """What will come."""

    bytes: int = Field(ge=0, le=MOST_BYTES)
    filename: str = Field(min_length=1, max_length=4096)
    mime_type: str = Field(max_length=255)
    purpose: str = Field(max_length=64)
    expires_after: ExpiresAfter | None = None


class CompleteUpload(Body):
    """The parts in their order."""

    part_ids: list[Annotated[str, Field(max_length=80)]] = Field(max_length=10_000)
    md5: str | None = Field(None, max_length=64)


class UploadObject(BaseModel):
    """An upload; `file` once it is completed."""

    id: str
    object: Literal["upload"] = "upload"
    bytes: int
    created_at: int
    filename: str
    purpose: str
    status: Literal["pending", "completed", "cancelled", "expired"]
    expires_at: int
    file: FileObject | None


class PartObject(BaseModel):
    """One part."""

    id: str
    object: Literal["upload.part"] = "upload.part"
    created_at: int
    upload_id: str


def shown(house: House, row: Upload) -> UploadObject:
    file = shown_file(house.store.files.get(row.project, row.file_id)) if row.file_id else None
    told = {name: getattr(row, name) for name in UploadObject.model_fields if name not in ("object", "file")}
    return UploadObject.model_validate({**told, "file": file})


def _shown_part(row: Part) -> PartObject:
    return PartObject(id=row.id, created_at=row.created_at, upload_id=row.upload_id)


@router.post("/uploads", response_model=UploadObject, dependencies=[may("train")])
def create_upload(request: Request, body: CreateUpload, house: TheHouse, caller: Caller) -> JSONResponse:
    """Announce a file that will come in parts, within an hour."""
    checked_purpose(body.purpose)

    def make(reply: str | None) -> UploadObject:
        seconds = body.expires_after.seconds if body.expires_after else None
        row = house.store.uploads.create(caller.project, body.filename, body.purpose, body.mime_type, body.bytes,
                                         file_expires_after=seconds, reply=reply)  # fmt: skip
        return shown(house, row)

    def again(upload_id: str) -> UploadObject:
        return shown(house, house.store.uploads.get(caller.project, upload_id))

    return once(request, house, caller, fingerprint(body.model_dump_json()), make, again)


@router.post(
    "/uploads/{upload_id}/parts", response_model=PartObject, dependencies=[may("train")],
    openapi_extra=form_of("data", []),
)  # fmt: skip
async def add_part(upload_id: str, request: Request, house: TheHouse, caller: Caller) -> JSONResponse:
    """One part of at most 64 MB."""
    upload = checked_name(upload_id, "upload")
    await house.lanes.run("reads", caller.project, house.store.uploads.get, caller.project, upload)
    with house.store.files.incoming(most=PART_BYTES) as made:
        write = partial(house.lanes.run, "files", caller.project, made.write)
        form = await read_form(request.headers, request.stream(), "data", write)
        for name in form.fields:
            raise refused("unknown_parameter", param=name[:80])

        def make(reply: str | None) -> PartObject:
            return _shown_part(house.store.uploads.add_part(caller.project, upload, made, reply=reply))

        def again(part_id: str) -> PartObject:
            return _shown_part(house.store.uploads.part(caller.project, part_id))

        def kept() -> JSONResponse:
            return once(request, house, caller, fingerprint(made.sha256), make, again, retried=True)

        return await house.lanes.run("files", caller.project, kept)


@router.post("/uploads/{upload_id}/complete", response_model=UploadObject, dependencies=[may("train")])
@lane("files")
def complete_upload(
    upload_id: str, request: Request, body: CompleteUpload, house: TheHouse, caller: Caller
) -> JSONResponse:
    """The listed parts, in this order, become a file; parts that are not listed are dropped."""
    checked_name(upload_id, "upload")

    def make(reply: str | None) -> UploadObject:
        return shown(
            house,
            house.store.uploads.complete(caller.project, upload_id, body.part_ids, body.md5, require=require_data),
        )

    return once(request, house, caller, fingerprint(body.model_dump_json()), make)


@router.post("/uploads/{upload_id}/cancel", response_model=UploadObject, dependencies=[may("train")])
def cancel_upload(upload_id: str, request: Request, house: TheHouse, caller: Caller) -> JSONResponse:
    """Give up an upload; no part of it is kept."""
    checked_name(upload_id, "upload")

    def make(reply: str | None) -> UploadObject:
        return shown(house, house.store.uploads.cancel(caller.project, upload_id))

    return once(request, house, caller, fingerprint(""), make)

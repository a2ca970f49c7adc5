"""The routes that carry bytes for the pages: a file comes in, a file or an adapter goes out."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from postil.api import (
    FILE_BYTES,
    PAGE_UPLOAD,
    Caller,
    CheckBody,
    House,
    Refused,
    StrictRoute,
    lane,
    marked,
    may,
    read_form,
)
from postil.dataset import require_data
from postil.errors import PostilError
from postil.paths import by_name
from postil.records import ADAPTER_CONFIG
from postil.store import Incoming, display_name
from postil.web.rights import needed
from postil.web.session import ROOT

if TYPE_CHECKING:
    from postil.store.tables import File

IN_MEMORY = 16 << 20
WITH_PATHS = ("plan.json", "result.json", ADAPTER_CONFIG)


def routes(house: House) -> APIRouter:
    """Upload, download."""
    router = APIRouter(route_class=StrictRoute, include_in_schema=False)

    def carries(path: str) -> Callable[..., Any]:
        """The decorator of a way out, for whoever may take it: `path` stands in the table of rights."""
        return router.get(ROOT + path, dependencies=[may(*needed(path))])

    @router.post(PAGE_UPLOAD, dependencies=[may(*needed("/upload"))])
    async def upload(key: Caller, request: Request) -> Response:
        """One file of a form. The answer is for the page's own script."""
        try:
            with house.store.files.incoming(most=FILE_BYTES) as made:
                write = partial(house.lanes.run, "files", key.project, made.write)
                form = await read_form(request.headers, request.stream(), "file", write)
                name = form.filename or "upload"
                row = await house.lanes.run("files", key.project, _kept, house, key.project, name, made)
        except (PostilError, Refused) as error:
            refused = error if isinstance(error, Refused) else Refused(error)
            return refused.response()
        return JSONResponse({"id": row.id, "filename": row.filename})

    @carries("/files/{file_id}/content")
    @lane("files")
    def download(file_id: str, key: Caller) -> Response:
        """A file of the project, under its own name."""
        row = house.store.files.get(key.project, file_id)
        house.store.audit.note("downloaded", row.id, row.filename)
        pieces = house.lanes.pieces(key.project, house.store.files.open(row))
        return StreamingResponse(pieces, media_type="application/octet-stream", headers=_as_file(row.filename))

    @carries("/adapters/{model:path}.zip")
    @lane("files")
    def adapter(model: str, key: Caller) -> Response:
        """A fine-tuned model's PEFT directory in one file."""
        row = house.store.models.get(key.project, model)
        pieces = house.lanes.pieces(key.project, _packed(house.store.directory / row.directory))
        house.store.audit.note("downloaded", row.id)
        name = model.replace(":", "_").replace("/", "_") + ".zip"
        return StreamingResponse(pieces, media_type="application/zip", headers=_as_file(name))

    @carries("/data/{dataset_id}/marked.xlsx")
    @lane("looks")
    def marked_workbook(dataset_id: str, key: Caller) -> Response:
        """The data set's workbook with its marks."""
        row = house.store.datasets.get(key.project, dataset_id)
        return marked(CheckBody(file=row.file_id, **row.reading), house, key)

    return router


def _kept(house: House, project: str, filename: str, made: Incoming) -> File:
    """Raises FileError for what is no data: a picture, a PDF, a program."""
    made.sync()
    require_data(made.path, display_name(filename))
    return house.store.files.keep(project, filename, "user_data", made)


def _packed(directory: Path) -> IO[bytes]:
    packed: Any = SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115  closed when it was sent
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for path in sorted(directory.iterdir()):
            if path.name in WITH_PATHS:  # where things lie on the server is not sent along
                archive.writestr(path.name, by_name(path.read_text("utf-8", "replace")))
            elif path.is_file() and not path.is_symlink():
                archive.write(path, path.name)
    packed.seek(0)
    made: IO[bytes] = packed
    return made


def _as_file(name: str) -> dict[str, str]:
    plain = name.encode("ascii", "replace").decode().replace('"', "_").replace("?", "_")
    return {"content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
            "cache-control": "no-store"}  # fmt: skip

"""The routes that carry bytes for the pages: a file comes in, a file or an adapter goes out."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, TYPE_CHECKING, Any
from urllib.parse import quote

from fastapi import APIRouter, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from postil.api import FILE_BYTES, PAGE_UPLOAD, CheckBody, House, Refused, marked, read_form
from postil.dataset import require_data
from postil.errors import PostilError
from postil.store import Incoming, display_name
from postil.web.session import ROOT

if TYPE_CHECKING:
    from postil.store.tables import File

PIECE = 1 << 20
IN_MEMORY = 16 << 20


def routes(house: House) -> APIRouter:
    """Upload, download."""
    router = APIRouter(include_in_schema=False)

    @router.post(PAGE_UPLOAD)
    async def upload(request: Request) -> Response:
        """One file of a form. The answer is for the page's own script."""
        key = request.scope["state"]["key"]
        try:
            with house.store.files.incoming(most=FILE_BYTES) as made:
                form = await read_form(request.headers, request.stream(), "file", made)
                row = await run_in_threadpool(_kept, house, key.project, form.filename or "upload", made)
        except (PostilError, Refused) as error:
            refused = error if isinstance(error, Refused) else Refused(error)
            return refused.response()
        return JSONResponse({"id": row.id, "filename": row.filename})

    @router.get(f"{ROOT}/files/{{file_id}}/content")
    def download(file_id: str, request: Request) -> Response:
        """A file of the project, under its own name."""
        row = house.store.files.get(request.scope["state"]["key"].project, file_id)
        return StreamingResponse(_pieces(house.store.files.open(row)), media_type="application/octet-stream",
                                 headers=_as_file(row.filename))  # fmt: skip

    @router.get(f"{ROOT}/adapters/{{model:path}}.zip")
    def adapter(model: str, request: Request) -> Response:
        """A fine-tuned model's PEFT directory in one file."""
        row = house.store.models.get(request.scope["state"]["key"].project, model)
        packed = _packed(house.store.directory / row.directory)
        return StreamingResponse(_pieces(packed), media_type="application/zip",
                                 headers=_as_file(model.replace(":", "_").replace("/", "_") + ".zip"))  # fmt: skip

    @router.get(f"{ROOT}/data/{{dataset_id}}/marked.xlsx")
    def marked_workbook(dataset_id: str, request: Request) -> Response:
        """The data set's workbook with its marks."""
        key = request.scope["state"]["key"]
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
            if path.is_file() and not path.is_symlink():
                archive.write(path, path.name)
    packed.seek(0)
    made: IO[bytes] = packed
    return made


def _pieces(opened: IO[bytes]) -> Iterator[bytes]:
    with opened:
        while piece := opened.read(PIECE):
            yield piece


def _as_file(name: str) -> dict[str, str]:
    plain = name.encode("ascii", "replace").decode().replace('"', "_").replace("?", "_")
    return {"content-disposition": f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}",
            "cache-control": "no-store"}  # fmt: skip

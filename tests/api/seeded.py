"""The objects whose names stand in upstream's own tests, in the store of a server that is otherwise the real one.

Only tests start it. It adds two things from outside: upstream's fixed key is exchanged for a key of ours, and
`POST /v1/fresh` makes the fixed objects anew.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import text
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from postil.jobs import Order
from postil.store import LOCAL, new_id, now
from postil.store import tables as t
from postil.store.models import add as add_model
from tests.api.served import Served, rows, served

KEYS = ("My API Key", "My Admin API Key")
BASES = ("gpt-4o-mini", "gpt-6-astra")
JOB = "ft-AF1WoRqd3aJAHsqc9NY7iL8F"
FILES = ("file-abc123", "file_id", "string")
UPLOAD, PART, PERMISSION = "upload_abc123", "string", "cp_zc4Q7MP6XxulcVzj4MZdwsAB"
SHARED = "ft:gpt-4o-mini-2024-07-18:org:weather:B7R9VjQd"
MODELS = (JOB, SHARED, "ft:gpt-4o-mini:acemeco:suffix:abc123")
EMPTIED = (t.Permission, t.ModelLog, t.Model, t.Checkpoint, t.JobLabel, t.JobEvent, t.Job, t.Part, t.Upload, t.File,
           t.Gone, t.Reply)  # fmt: skip


def bases(home: Path, tiny: Path) -> Path:
    """A home in which a tiny model has the names of upstream's bases."""
    for name in BASES:
        shutil.copytree(tiny, home / "models" / name)
    return home


@contextmanager
def seeded(directory: Path, home: Path) -> Iterator[Served]:
    """The server with the fixed objects."""
    with served(directory, home, outside=_Outside) as made:
        yield made


class _Outside:
    """What stands before the application."""

    def __init__(self, served: Served, app: Any) -> None:
        self._served, self._app = served, app
        self._bearer = b"Bearer " + served.key(project=LOCAL).encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http":
            if scope["path"] == "/v1/fresh":
                await run_in_threadpool(fill, self._served)
                await Response(status_code=204)(scope, receive, send)
                return
            theirs = {b"Bearer " + key.encode() for key in KEYS}
            scope["headers"] = [
                (name, self._bearer if name == b"authorization" and value in theirs else value)
                for name, value in scope["headers"]
            ]
        await self._app(scope, receive, send)


def fill(served: Served) -> None:
    """Make the objects anew: files, a running job with its checkpoint, models, a permission, an open upload."""
    with served.store.database.write() as session:
        for table in EMPTIED:
            session.query(table).delete()
    for name in FILES:
        _file(served, name)
    job = served.queue.create(LOCAL, Order(kind="training", model=BASES[0], training_file=FILES[0]))
    for name in MODELS:
        _model(served, name)
    upload = served.store.uploads.create(LOCAL, "filename", "user_data", "text/plain", len(rows()))
    with served.store.files.incoming() as made:
        made.write(rows())
        part = served.store.uploads.add_part(LOCAL, upload.id, made)
    with served.store.database.write() as session:
        session.execute(text("PRAGMA defer_foreign_keys=ON"))  # an id and what names it change together
        session.query(t.JobEvent).filter_by(job_id=job.id).update({"job_id": JOB})
        session.query(t.Job).filter_by(id=job.id).update({"id": JOB, "status": "running", "claimed": True})
        session.add(t.Checkpoint(id=new_id("ftckpt_"), job_id=JOB, project=LOCAL, model_id=SHARED, step=1,
                                 metrics={"step": 1, "train_loss": 0.5}, created_at=now()))  # fmt: skip
        session.add(t.Permission(id=PERMISSION, model_id=SHARED, project="proj_other", created_at=now()))
        session.add(t.Permission(id=new_id("cp_"), model_id=JOB, project="proj_other", created_at=now()))
        session.query(t.Upload).filter_by(id=upload.id).update({"id": UPLOAD})
        session.query(t.Part).filter_by(id=part.id).update({"id": PART, "upload_id": UPLOAD})


def _file(served: Served, name: str) -> None:
    with served.store.files.incoming() as made:
        made.write(rows())
        row = served.store.files.keep(LOCAL, "train.jsonl", "fine-tune", made)
    with served.store.database.write() as session:
        session.query(t.File).filter_by(id=row.id).update({"id": name})


def _model(served: Served, name: str) -> None:
    told = {"base": BASES[0], "base_sha256": "0" * 64, "adapter_sha256": "1" * 64, "directory": "adapters/none"}
    with served.store.database.write() as session:
        add_model(session, project=LOCAL, name=name, **told)

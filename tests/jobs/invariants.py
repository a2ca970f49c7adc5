"""What must be true when all is over, whatever happened on the way."""

from __future__ import annotations

import hashlib
import json
from collections import Counter

from sqlalchemy import select

from postil.jobs.processes import is_alive
from postil.jobs.publish import Publisher
from postil.store import LOCAL, TERMINAL
from postil.store.tables import Blob, File, Job, JobEvent, Part
from tests.jobs.shop import Shop


def check(shop: Shop, *, reference: str | None = None) -> None:
    """Assert it. `reference`: the SHA-256 that each published adapter must have."""
    shop.store.database.check()
    with shop.store.database.read() as session:
        jobs = session.scalars(select(Job)).all()
        events = session.scalars(select(JobEvent).order_by(JobEvent.number)).all()
        uses = Counter(session.scalars(select(File.sha256)).all()) + Counter(session.scalars(select(Part.sha256)).all())
        blobs = {blob.sha256: blob.uses for blob in session.scalars(select(Blob))}
    assert blobs == dict(uses)
    for job in jobs:
        own = [event for event in events if event.job_id == job.id]
        assert job.status in TERMINAL and not job.claimed and job.finished_at is not None, (job.id, job.status)
        assert [event.number for event in own] == list(range(1, job.events + 1))
        assert sum(event.key == "end" for event in own) == 1 and own[-1].key == "end", [event.key for event in own]
        steps = [event.data["step"] for event in own if event.type == "metrics" and event.data]
        assert steps == sorted(set(steps)), (job.id, steps)
        if job.kind == "training" and job.status == "succeeded":
            _published(shop, job, steps, reference)
        else:
            assert job.fine_tuned_model is None
    _nothing_left(shop)


def _published(shop: Shop, job: Job, steps: list[int], reference: str | None) -> None:
    model = shop.store.models.get(LOCAL, str(job.fine_tuned_model))
    weights = (shop.store.directory / model.directory / "adapter_model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() == job.adapter_sha256
    if reference is not None:
        assert job.adapter_sha256 == reference
    table = shop.store.files.open(shop.store.files.get(LOCAL, job.result_files[0])).read().decode().splitlines()
    assert [int(line.split(",")[0]) for line in table[1:]] == steps


def _nothing_left(shop: Shop) -> None:
    """No process, no half-written directory, no staged bytes, no earlier attempt."""
    root = shop.store.directory
    Publisher(shop.store).tidy(
        0.0
    )  # a server that is killed while it publishes leaves a copy, which goes after an hour
    for file in root.glob("jobs/*/attempt-*/process.json"):
        record = json.loads(file.read_text("utf-8"))
        assert not is_alive(record), record
    rests = [path for path in root.rglob("*") if path.name.startswith((".tmp-", "in-")) or path.name.endswith(".tmp")]
    assert rests == []
    assert all(len(list(job.glob("attempt-*"))) <= 1 for job in root.glob("jobs/*"))

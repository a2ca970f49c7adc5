"""What a job has made becomes visible: files first, named by their contents, then all rows in one transaction."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from postil.errors import StoreError
from postil.jobs.attempt import RUN
from postil.jobs.ledger import end, held, tell
from postil.jobs.queue import model_name
from postil.records import ADAPTER_CONFIG, ADAPTER_WEIGHTS
from postil.store import Incoming, Store, link_or_copy, new_id, now, publish, read_json, sha256, temporary_directory
from postil.store import models as names
from postil.store.pages import bury
from postil.store.tables import Checkpoint, Job, JobEvent, Model, Permission

KEPT_CHECKPOINTS = 3
COLUMNS = (
    "step",
    "train_loss",
    "train_accuracy",
    "valid_loss",
    "valid_mean_token_accuracy",
    "train_mean_token_accuracy",
    "full_valid_loss",
    "full_valid_mean_token_accuracy",
)
NOT_OF_A_CHECKPOINT = (
    "result.json",
    "evaluation.json",
    "report.md",
    "report.html",
    "metrics.jsonl",
    "test.jsonl",
    ADAPTER_WEIGHTS,
)


class Publisher:
    """Makes results of attempts visible in a store."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def succeed(
        self, job: Job, attempt: Path, outcome: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]
    ) -> bool:
        """The job has succeeded: model, files, status and last events become visible at once, or nothing does.

        Raises StoreError `bytes_changed` when a file is not what the worker wrote.
        """
        run = attempt / RUN
        files = {name: run / name for name in outcome["files"]}
        for name, path in files.items():
            if not path.exists() or sha256(path) != outcome["files"][name]:
                raise StoreError("bytes_changed", sha256=outcome["files"][name])
        if job.kind == "training":
            directory = self._adapter(files)
            return self._succeed_training(job, run, directory, outcome, metrics)
        return self._succeed_other(job, files, outcome)

    def _succeed_training(
        self, job: Job, run: Path, directory: str, outcome: Mapping[str, Any], metrics: Sequence[Mapping[str, Any]]
    ) -> bool:
        plan, result = read_json(run / "plan.json"), outcome["result"]
        with self._store.files.incoming() as table:
            # an earlier attempt may have told of steps beyond the end that the run has found since
            last = int(result.get("updates", sys.maxsize))
            table.write(results_csv([row for row in metrics if int(row["step"]) <= last]))
            self._store.files.put(table)
            with self._store.database.write() as session:
                row = held(session, job)
                if row is None:
                    return False
                name = _name_of(session, row, plan["base"]["name"])
                model = names.add(
                    session,
                    project=row.project,
                    name=name,
                    base=plan["base"]["name"],
                    base_sha256=plan["base"]["sha256"],
                    adapter_sha256=outcome["files"][ADAPTER_WEIGHTS],
                    directory=directory,
                    job_id=row.id,
                    result=result,
                )
                csv_file = self._store.files.add(session, row.project, "step_metrics.csv", "fine-tune-results", table)
                row.fine_tuned_model, row.adapter_sha256 = name, model.adapter_sha256
                row.trained_tokens, row.result, row.result_files = result["trained_tokens"], dict(result), [csv_file.id]
                row.progress = {**row.progress, "percent": 100.0}
                tell(session, row, f"New fine-tuned model created: {name}", data={"model": name}, key="model")
                self._end(session, row)
        return True

    def _succeed_other(self, job: Job, files: Mapping[str, Path], outcome: Mapping[str, Any]) -> bool:
        with ExitStack() as until_kept:
            brought = []
            for name, path in files.items():
                made = until_kept.enter_context(self._store.files.incoming())
                with path.open("rb") as source:
                    made.read_from(source)
                self._store.files.put(made)
                brought.append((name, made))
            return self._show(job, brought, outcome)

    def _show(self, job: Job, brought: Sequence[tuple[str, Incoming]], outcome: Mapping[str, Any]) -> bool:
        with self._store.database.write() as session:
            row = held(session, job)
            if row is None:
                return False
            files = [self._store.files.add(session, row.project, name, "user_data", made).id for name, made in brought]
            row.result, row.result_files = dict(outcome["result"]), files
            row.progress = {**row.progress, "percent": 100.0}
            self._end(session, row)
        return True

    def _end(self, session: Session, job: Job) -> None:
        end(job, "succeeded")
        tell(session, job, "The job has successfully completed", key="end")

    # ── checkpoints ──

    def checkpoint(self, job: Job, attempt: Path, step: int) -> None:
        """A checkpoint can be called and continued from, if its files are still there; the oldest one makes room."""
        run = attempt / RUN
        source = run / "checkpoints" / f"step-{step:08d}" / "adapter.safetensors"
        files = {path.name: path for path in run.iterdir() if path.is_file() and path.name not in NOT_OF_A_CHECKPOINT
                 and not path.name.startswith(".")}  # fmt: skip  # the worker may be writing one this moment
        if ADAPTER_CONFIG not in files:
            return
        try:
            directory = self._adapter({**files, ADAPTER_WEIGHTS: source})
        except FileNotFoundError:
            return  # tidied away by the worker: newer ones are there
        plan = read_json(run / "plan.json")
        with self._store.database.write() as session:
            row = held(session, job)
            known = session.scalar(select(Checkpoint.seq).where(Checkpoint.job_id == job.id, Checkpoint.step == step))
            if row is None or known:
                return
            name = f"{_name_of(session, row, plan['base']['name'])}:ckpt-step-{step}"
            made = Checkpoint(
                id=new_id("ftckpt_"),
                job_id=row.id,
                project=row.project,
                model_id=name,
                step=step,
                metrics=_metrics_of(session, job.id, step),
                created_at=now(),
            )
            session.add(made)
            weights = sha256(self._store.directory / directory / ADAPTER_WEIGHTS)
            names.add(
                session,
                project=row.project,
                name=name,
                base=plan["base"]["name"],
                base_sha256=plan["base"]["sha256"],
                adapter_sha256=weights,
                directory=directory,
                job_id=row.id,
                checkpoint=made,
            )
            session.flush()
            self._make_room(session, row)

    def _make_room(self, session: Session, job: Job) -> None:
        """Only the newest few stay, and those that another project was permitted to use."""
        shared = select(Permission.model_id)
        old = select(Checkpoint).where(Checkpoint.job_id == job.id, Checkpoint.model_id.not_in(shared))
        for row in session.scalars(old.order_by(Checkpoint.step.desc()).offset(KEPT_CHECKPOINTS)).all():
            model = session.scalar(select(Model).where(Model.id == row.model_id))
            if model is not None:
                bury(session, model, job.project)
            bury(session, row, job.id)

    # ── adapters ──

    def take_in(self, directory: Path) -> str:
        """The files of a finished run, or of an adapter, as one of the store's directories. Its path from there."""
        return self._adapter({file.name: file for file in directory.iterdir() if file.is_file()}, copy=True)

    def _adapter(self, files: Mapping[str, Path], *, copy: bool = False) -> str:
        """These files as a directory that is named by their contents, below the store's. Its path from there.

        They are linked, or with `copy` copied: a person's own files may change.
        """
        hashes = {name: sha256(path) for name, path in sorted(files.items())}
        address = hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()
        final = self._store.directory / "adapters" / address
        if not final.exists():
            with temporary_directory(final) as made:
                for name, path in files.items():
                    if copy:
                        shutil.copyfile(path, made / name)
                    else:
                        link_or_copy(path, made / name)
                if not final.exists():
                    publish(made, final)
        return f"adapters/{address}"

    def tidy(self, seconds: float = 3600.0) -> None:
        """Remove adapters that no model names, if they are older than `seconds`: younger ones may get a name yet."""
        root = self._store.directory / "adapters"
        with self._store.database.read() as session:
            named = set(session.scalars(select(Model.directory)))
        for path in root.iterdir() if root.exists() else ():
            if f"adapters/{path.name}" not in named and time.time() - path.stat().st_mtime > seconds:
                shutil.rmtree(path, ignore_errors=True)


def results_csv(metrics: Sequence[Mapping[str, Any]]) -> bytes:
    """A row for each step: OpenAI's columns first; only numbers and empty cells."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for data in metrics:
        writer.writerow([data.get(name, "") for name in COLUMNS])
    return text.getvalue().encode()


def _name_of(session: Session, job: Job, base: str) -> str:
    """The model's name is chosen once: its checkpoints have it before the model is there."""
    if "model" not in job.order:
        job.order = {**job.order, "model": model_name(base, job.project, job.suffix)}
        session.flush()
    return str(job.order["model"])


def _metrics_of(session: Session, job_id: str, step: int) -> dict[str, Any]:
    """What was told of this step, perhaps some time ago: a checkpoint takes a while to be written."""
    told = select(JobEvent.data).where(JobEvent.job_id == job_id, JobEvent.key == f"metrics:{step}")
    data = session.scalar(told) or {}
    return {"step": step, **{name: value for name, value in data.items() if name in COLUMNS}}

"""An attempt begins: its directory, what it works on and what it is told, then its process."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from postil.errors import StoreError
from postil.jobs import attempt as desk
from postil.jobs.executor import Executor, RunSpec
from postil.settings import for_worker
from postil.store import Store, make_directory, sync_directory, write_json
from postil.store.tables import File, Job

ENDINGS = (".csv", ".tsv", ".json", ".jsonl", ".txt", ".xlsx", ".xlsm", ".xls", ".xlsb", ".ods", ".parquet")


class Launcher:
    """Starts attempts through an executor. `program`: what the interpreter is to run; `measure`: let plans measure."""

    def __init__(self, store: Store, executor: Executor, program: Sequence[str], *, measure: bool) -> None:
        self._store, self._executor, self._program, self._measure = store, executor, tuple(program), measure

    def launch(self, job: Job, directory: Path, needs: Mapping[str, Any]) -> str:
        """Start this attempt; returns the id of its run.

        Raises StoreError for files that are missing or damaged and for a full disk, OSError for what the system denies.
        """
        make_directory(directory)
        earlier = self._earlier(job)
        for place in earlier:
            desk.fence(place, job.attempt)
        order = {
            "job": job.id, "attempt": job.attempt, "kind": job.kind, "directory": str(directory),
            "phase": "validate" if job.status == "validating_files" else "work",
            "earlier": [str(place) for place in earlier], "inputs": self._inputs(job), "seed": job.seed,
            "wish": job.wish, "measure": self._measure, "integrations": job.request.get("integrations", []),
            **job.order,
            "adapter": str(self._store.directory / job.order["adapter"]) if job.order["adapter"] else None,
        }  # fmt: skip
        write_json(directory / desk.SPEC, order)
        desk.fence(directory, job.attempt, job.wish)
        run = RunSpec(f"{job.id}:{job.attempt}", (*self._program, "--spec", str(directory / desk.SPEC)),
                      for_worker(downloads=job.kind == "base"),
                      str(directory), cpus=needs["cpus"], gpus=needs["gpus"], memory_mb=needs["memory_mb"])  # fmt: skip
        self._executor.launch(run)
        return run.run_id

    def _earlier(self, job: Job) -> list[Path]:
        """The directories of the attempts before this one, newest first. Those that nobody can need any more go."""
        numbers = range(job.attempt - 1, 0, -1)
        places = [path for number in numbers if (path := desk.place(self._store.directory, job.id, number)).exists()]
        with_checkpoint = [path for path in places if any((path / desk.RUN / "checkpoints").glob("step-*"))]
        for path in places[places.index(with_checkpoint[1]) + 1 :] if len(with_checkpoint) > 1 else []:
            shutil.rmtree(path, ignore_errors=True)
        return [path for path in places if path.exists()]

    def _inputs(self, job: Job) -> dict[str, dict[str, str]]:
        """The job's files, laid beside its attempts under plain names."""
        inputs = {}
        for name, file_id in (("training", job.training_file), ("validation", job.validation_file)):
            if file_id is None:
                continue
            row = self._store.files.get(job.project, file_id)
            path = self._store.directory / "jobs" / job.id / "inputs" / (name + _suffix(row))
            make_directory(path.parent)
            if not path.exists():
                beside = path.with_name(f".{path.name}.tmp")
                self._copy(row, beside)
                beside.replace(path)
                sync_directory(path.parent)
            inputs[name] = {"path": str(path), "sha256": row.sha256}
        return inputs

    def _copy(self, row: File, path: Path) -> None:
        try:
            self._store.blobs.copy_to(row.sha256, path)
        except StoreError as error:
            path.unlink(missing_ok=True)
            if error.code not in ("bytes_missing", "bytes_changed"):
                raise
            raise StoreError("input_damaged", name=row.filename, file=row.id) from error


def _suffix(row: File) -> str:
    """The ending by which the reader tells CSV from text; nothing else of a name reaches the disk."""
    ending = "." + row.filename.rpartition(".")[2].lower()
    return ending if ending in ENDINGS else ""

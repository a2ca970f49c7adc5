"""A studio in this process, in which people have lived: two projects, each with one of everything that pages show.

Nothing is trained: jobs stand as they were put, the engine is its twin in memory. Files are really checked.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from postil.api.asking import ask
from postil.jobs import Order
from postil.store import new_id
from postil.store import tables as t
from postil.store.models import judged
from postil.web import attach
from tests.api.served import BASE, Served
from tests.web import dirty

VERDICT = {"outcome": "better", "metric": "char_f1", "difference": 0.7, "interval": [0.5, 0.8], "n": 25,
           "p_value": 0.01, "words": "x"}  # fmt: skip
READINESS = {"level": "not_yet", "n": 25, "right": 3, "near": 2, "cut": 18, "empty": 1, "repeated": 1, "chance": 0.001,
             "exact": False, "words": "x"}  # fmt: skip
RESULT = {"verdict": VERDICT, "readiness": READINESS, "forgetting": 0.0}
ROWS = [{"rows": [i], "question": f"问题 {i}?", "reference": f"答 {i}", "base": f"base {i}", "tuned": f"tuned {i}",
         "base_score": 0.2, "tuned_score": 0.9} for i in range(12)]  # fmt: skip
NEVER = {"memory_mb": 1 << 40, "cpus": 1, "gpus": 0}  # what no machine has


class Lived(Served):
    """`things[project]`: the parts of addresses of what is in it, by the names that the pages' paths have."""

    def __init__(self, directory: Path, home: Path) -> None:
        super().__init__(directory, home, pages=attach)
        self.things: dict[str, dict[str, str]] = {}
        self.sheet = dirty.titles(directory / "shop.xlsx")

    @property
    def studio(self) -> str:
        return f"{self.url}/studio"

    def _ask(self, arguments: Any, seconds: float) -> Any:
        return ask(arguments, seconds)

    def live(self, project: str, mark: str) -> dict[str, str]:
        """Fill a project; `mark` stands in the name of each thing in it."""
        key = self.key(project=project)
        with self.store.files.incoming() as made:
            made.write(self.sheet.read_bytes())
            file = self.store.files.keep(project, f"{mark}.xlsx", "user_data", made)
        first = self.store.datasets.create(project, mark, file.id, {})
        dataset = self.store.datasets.revise(project, first.id, reading={"without": [4]})
        model = self.model(key, name=f"ft:{BASE}:local:shop:{new_id('')[:8]}")
        self._prove(project, model)
        job = self._job(project, file.id, mark, status="succeeded", fine_tuned_model=model,
                        result=RESULT, resolved={"task": "causal_lm"})  # fmt: skip
        with self.store.database.write() as session:
            session.query(t.Model).filter_by(id=model).update({"job_id": job, "verdict": judged(RESULT)})
        self.store.models.set_note(project, model, f"{mark} note", "test")
        self.store.lines.set(project, f"line-{new_id('')[:8]}", model, "test", mark)
        kept = self.store.corrections.create(project, mark)
        self.store.corrections.add(project, kept.id, messages=[{"role": "user", "content": mark}], answer="a",
                                   by="test", right="b", thumb="down", model=model)  # fmt: skip
        ballot = self.store.ballots.create(project, mark, "?", job, model, [{**row, "row": i} for i, row in
                                                                             enumerate(ROWS)])  # fmt: skip
        rater, token = self.store.ballots.invite(project, ballot.id, mark)
        self.things[project] = {
            "file_id": file.id, "dataset_id": dataset.id, "model": model, "name": model, "job_id": job, "line": "line",
            "ballot_id": ballot.id, "rater_id": rater.id, "token": token, "set_id": kept.id, "task_id": job,
            "paused": self._job(project, file.id, f"{mark} paused", status="paused", last_checkpoint="x"),
            "queued": self._job(project, file.id, f"{mark} queued", status="queued", needs=NEVER),
            "running": self._job(project, file.id, f"{mark} runs", status="running", last_checkpoint="x", claimed=True),
            "failed": self._job(project, file.id, f"{mark} failed", {"dataset": dataset.id}, status="failed",
                                error={"postil": "too_few_examples", "values": {}, "message": "few"}),
        }  # fmt: skip
        return self.things[project]

    def _job(self, project: str, file: str, name: str, labels: dict[str, str] | None = None, **values: Any) -> str:
        order = Order(kind="training", model=BASE, training_file=file, suffix=name, metadata=labels or {})
        job = self.queue.create(project, order).id
        self.set(job, **values)
        return job

    def _prove(self, project: str, model: str) -> None:
        figures = {"base": {"char_f1": 0.2}, "tuned": {"char_f1": 0.9}, "rows": ROWS}
        directory = self.store.directory / self.store.models.get(project, model).directory
        proof = json.dumps({**figures, **RESULT})
        (directory / "evaluation.json").write_text(proof, "utf-8")


@contextmanager
def lived(directory: Path, home: Path) -> Iterator[Lived]:
    made = Lived(directory, home)
    made.start()
    try:
        yield made
    finally:
        made.stop()


@contextmanager
def lived_at_home(base: Path, directory: Path) -> Iterator[Lived]:
    """The same in a home of its own, with this tiny base in it."""
    home = directory / "home"
    shutil.copytree(base, home / "models" / BASE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("POSTIL_HOME", str(home))
        with lived(directory / "studio", home) as house:
            yield house

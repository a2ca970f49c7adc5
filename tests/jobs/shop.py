"""A small workshop: a store with a file, a tiny base model under a name, and a watch that is quick."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from postil import flow
from postil.jobs import Executor, LocalExecutor, Order, Pace, Queue, Watch
from postil.store import LOCAL, TERMINAL, Store
from postil.store.tables import Job
from tests.models import titles

BASE = "tiny-qwen2"
QUICK = Pace(tick=0.05, silence=30.0, grace=20.0, sweep=0.5)
SETTINGS = {
    "r": "4", "threads": "1", "learning_rate_probe": "false", "learning_rate": "0.003", "n_epochs": "4",
    "batch_size": "4", "save_steps": "5", "max_length": "512", "patience": "1000", "validation_rows": "6",
    "test_rows": "6", "max_new_tokens": "4", "metric": "loss", "micro_batch_tokens": "512",
}  # fmt: skip


def data(count: int = 60) -> bytes:
    """A training file of `count` lines."""
    return "".join(json.dumps(one.as_json(), ensure_ascii=False) + "\n" for one in titles(count)).encode()


@dataclass
class Shop:
    """A store and its queue, with what is needed to order."""

    directory: Path
    database: str = ""
    store: Store = field(init=False)
    queue: Queue = field(init=False)

    def __post_init__(self) -> None:
        self.store = Store(self.directory, self.database)
        self.queue = Queue(self.store)

    def file(self, content: bytes | None = None, name: str = "训练.jsonl", purpose: str = "fine-tune") -> str:
        with self.store.files.incoming() as made:
            made.write(data() if content is None else content)
            return self.store.files.keep(LOCAL, name, purpose, made).id

    def order(self, **values: Any) -> Job:
        settings = {**SETTINGS, **values.pop("settings", {})}
        file = values.pop("training_file", None) or self.file()
        wanted = {"kind": "training", "model": BASE, "seed": 7, **values}
        return self.queue.create(LOCAL, Order(training_file=file, settings=settings, **wanted))

    def get(self, job: Job) -> Job:
        return self.queue.get(LOCAL, job.id)

    def watch(self, executor: Executor | None = None, pace: Pace = QUICK, **values: Any) -> Watch:
        return Watch(self.store, executor or LocalExecutor(self.store.directory / "jobs"), pace=pace, measure=False,
                     **values)  # fmt: skip

    def messages(self, job: Job) -> list[str]:
        return [event.message for event in self.queue.events_since(LOCAL, job.id, 0, 10_000)[1]]

    def attempt(self, job: Job, number: int) -> Path:
        return self.store.directory / "jobs" / job.id / f"attempt-{number}"


def add_base(directory: Path) -> None:
    """Give the tiny model its name in this test's home."""
    flow.add_base(directory, BASE)


def until(true: Callable[[], object], seconds: float = 900.0, what: Callable[[], str] = str) -> None:
    """Wait for it; the bound only ends a test that hangs. `what`: how it stood then."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, what() or "it never came true"
        time.sleep(0.03)


def ended(shop: Shop, *jobs: Job) -> Callable[[], bool]:
    return lambda: all(shop.get(job).status in TERMINAL for job in jobs)

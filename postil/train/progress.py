"""What a run tells while it goes: stage, percentage, loss, speed, time left, cost so far. And metrics.jsonl."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from postil.records import Event
from postil.store import write_text
from postil.train.trackers import Trackers

Emit = Callable[[Event], None]

# Where each stage begins and ends, in percent of the whole, as a person counts it.
STAGES = {"prepare": (0, 10), "probe": (10, 15), "train": (15, 80), "select": (80, 82), "evaluate": (82, 100)}

WITHIN = ("base_loss", "probe")  # timed stages that `seconds` holds and that are no training


class Progress:
    """Turns what happens in a run into events; rank 0 also keeps the numbers in `metrics.jsonl`.

    afterwards: seconds that the run will take after its last update.
    """

    def __init__(self, directory: Path, emit: Emit, price_per_second: float, *, writes: bool,
                 afterwards: float = 0.0, clock: Callable[[], float] = time.monotonic) -> None:  # fmt: skip
        self._clock = clock
        self._file = directory / "metrics.jsonl"
        self._emit = emit
        self._price, self._afterwards = price_per_second, afterwards
        self._writes = writes
        self._before = 0.0  # seconds of earlier attempts
        self._start = clock()
        self.trackers: Trackers | None = None  # they hear what metrics.jsonl does
        self.stages: dict[str, float] = {}  # what is not training itself: name -> seconds, over all attempts

    @property
    def seconds(self) -> float:
        """Seconds of work so far, over all attempts."""
        return self._before + self._clock() - self._start

    @contextmanager
    def timed(self, name: str) -> Iterator[None]:
        """What is done within is counted, and told, as the stage `name`, apart from the training."""
        start = time.monotonic()
        yield
        took = time.monotonic() - start
        self.stages[name] = self.stages.get(name, 0.0) + took
        self._emit(Event("timed", {"what": name, "seconds": round(took, 2)}))

    def go_on(self, step: int, seconds: float, stages: Mapping[str, float] | None = None) -> None:
        """Continue after `step`: what an earlier attempt did beyond it is forgotten, and what it took is counted."""
        self._before, self._start = seconds, self._clock()
        earlier = stages or {}
        self.stages = {name: earlier.get(name, 0.0) + self.stages.get(name, 0.0) for name in {**earlier, **self.stages}}
        if not self._writes:
            return
        lines = self._file.read_text("utf-8").splitlines() if self._file.exists() else []
        kept = [line for line in lines if 0 < _step_of(line) <= step]
        write_text(self._file, "".join(f"{line}\n" for line in kept))
        if self.trackers is not None:
            self.trackers.begin([json.loads(line) for line in kept])
            self._start = self._clock()  # to open them is no training

    def stage(self, name: str, share: float = 0.0, **data: Any) -> None:
        """`share`: how much of this stage is done, 0 to 1."""
        low, high = STAGES[name]
        self._emit(Event("stage", {"stage": name, "percent": round(low + (high - low) * share, 1), **data}))

    def step(self, step: int, total: int, numbers: Mapping[str, Any]) -> None:
        """Numbers of a finished update. Those that are not finite are left out: they are no JSON."""
        low, high = STAGES["train"]
        trained = self.seconds - sum(self.stages.get(name, 0.0) for name in WITHIN)
        left = max(0.0, trained) / step * (total - step) + self._afterwards
        finite = {key: value for key, value in numbers.items() if value is not None and abs(value) < float("inf")}
        if self._writes:
            with self._file.open("a", encoding="utf-8") as file:
                file.write(json.dumps({"step": step, **finite}) + "\n")
            if self.trackers is not None:
                self.trackers.log(step, finite)
        self._emit(
            Event(
                "metrics",
                {
                    "stage": "train", "step": step, "total_steps": total,
                    "percent": round(low + (high - low) * step / max(1, total), 1),
                    "seconds": round(self.seconds, 1), "seconds_left": round(left, 1),
                    "cost": round(self.seconds * self._price, 4), **finite,
                },
            )
        )  # fmt: skip

    def tell(self, code: str, level: str = "info", **values: Any) -> None:
        """A sentence: `event.<code>` in `locales/`."""
        self._emit(Event("message", {"code": code, **values}, "warn" if level == "warn" else "info"))

    def checkpoint(self, step: int) -> None:
        self._emit(Event("checkpoint", {"step": step}))


def _step_of(line: str) -> int:
    """0 for a line that a kill or a power cut has torn."""
    try:
        return int(json.loads(line)["step"])
    except (ValueError, LookupError, TypeError):
        return 0

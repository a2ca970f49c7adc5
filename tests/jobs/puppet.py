"""A worker that a test plays by hand: it writes into the directory of its attempt what a real one would."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from postil.jobs import InMemoryExecutor
from postil.store import write_json

PLAN = {
    "postil": "0", "plan": {"seed": 1, "n_epochs": 2}, "base": {"name": "tiny-qwen2", "sha256": "b" * 64}, "data": {},
    "estimate": {},
}  # fmt: skip


class Puppet:
    """The newest run of `job` on the twin."""

    def __init__(self, executor: InMemoryExecutor, run_id: str) -> None:
        self.executor, self.run_id = executor, run_id
        self.directory = Path(executor.runs[run_id].spec.run_uri)

    @property
    def spec(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.directory / "spec.json").read_text("utf-8"))
        return told

    @property
    def fence(self) -> dict[str, Any]:
        told: dict[str, Any] = json.loads((self.directory / "fence").read_text("utf-8"))
        return told

    def tell(self, type_: str, **data: Any) -> None:
        with (self.directory / "events.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"type": type_, "level": "info", **data}) + "\n")

    def step(self, step: int, total: int = 10, loss: float = 1.5, **data: Any) -> None:
        self.tell("metrics", step=step, total_steps=total, loss=loss, seconds_left=3.0, **data)

    def checkpoint(self, step: int) -> None:
        self._dress()
        made = self.directory / "run" / "checkpoints" / f"step-{step:08d}"
        made.mkdir(parents=True, exist_ok=True)
        (made / "adapter.safetensors").write_bytes(b"weights of %d" % step)
        self.tell("checkpoint", step=step)

    def beat(self, count: int) -> None:
        (self.directory / "beat").write_text(str(count), "ascii")

    def end(self, outcome: str, **told: Any) -> None:
        write_json(self.directory / "outcome.json", {"outcome": outcome, **told})
        self.executor.exit(self.run_id, 0)

    def validated(self, **needs: float) -> None:
        wanted = {"memory_mb": 300, "cpus": 1, "gpus": 0, **needs}
        self.end(
            "validated", plan={"n_epochs": 2, "batch_size": 4}, examples={"training": 48}, estimate={}, needs=wanted
        )

    def succeed(self, content: bytes = b"adapter", verdict: str | None = "better") -> None:
        run = self._dress()
        (run / "adapter_model.safetensors").write_bytes(content)
        result = {"trained_tokens": 99, **({"verdict": {"outcome": verdict}} if verdict else {})}
        files = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in run.iterdir() if path.is_file()}
        self.end("succeeded", result=result, files=files)

    def fail(self, code: str = "diverged", *, retryable: bool = False) -> None:
        self.end("failed", code=code, postil=code, message="It diverged.", remedy="Use less.", values={}, rows=[],
                 retryable=retryable)  # fmt: skip

    def crash(self, signal: int = 9) -> None:
        self.executor.exit(self.run_id, None, signal)

    def _dress(self) -> Path:
        run = self.directory / "run"
        run.mkdir(exist_ok=True)
        write_json(run / "plan.json", PLAN)
        (run / "adapter_config.json").write_text("{}")
        return run

"""One side of a comparison, in a process of its own: one update each time it is asked for one.

    python -m benchmarks.side SIDE SHAPE

Requests and replies are lines of JSON: {"update": i, "threads": n} is answered with the seconds, the tokens with loss,
the share of an epoch's work, and the peak of memory above the weights [bytes].
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from postil.settings import for_child

if TYPE_CHECKING:
    from benchmarks.shapes import Shape

ROOT = Path(__file__).parents[1]
PEAK = Path("/proc/self/clear_refs")  # writing 5 makes Linux count the peak of memory anew
MATMULS = ((512, 1024, 2816), (1024, 1024, 1024), (512, 576, 1536), (1024, 896, 4864))
MATMUL_SECONDS = 0.3  # for each shape


class Pace:
    """The worker's end of the line."""

    def __init__(self, requests: IO[str], replies: IO[str]) -> None:
        self._requests, self._replies = requests, replies
        self._before = self._weights = 0
        self._started = (0.0, 0.0)

    def before_weights(self) -> None:
        """Everything is loaded but the model."""
        import psutil

        self._before = psutil.Process().memory_info().rss

    def ready(self, model: Any) -> None:
        """The model is loaded and its adapter attached."""
        self._weights = sum(p.numel() * p.element_size() for p in model.parameters())
        if PEAK.exists():
            PEAK.write_text("5")
        self._say({"ready": True})

    def wait(self) -> int | None:
        """The index of the update to do; None when there is none left."""
        import torch

        line = self._requests.readline()
        if not line:
            return None
        asked = json.loads(line)
        torch.set_num_threads(asked["threads"])
        self._started = (time.perf_counter(), time.process_time())
        return int(asked["update"])

    def done(self, **facts: Any) -> None:
        """The update is done."""
        import torch

        _settle(torch)
        wall, cpu = time.perf_counter() - self._started[0], time.process_time() - self._started[1]
        self._say({"wall": wall, "cpu": cpu, "above": self._above(), **facts})

    def go(self, model: Any, update: Callable[[int], Mapping[str, Any]]) -> None:
        """Do updates until no more are asked for."""
        self.ready(model)
        while (index := self.wait()) is not None:
            self.done(**update(index))

    def _above(self) -> int:
        """The peak of memory beyond the weights and what the libraries take [bytes]; on a GPU, of its own memory."""
        import torch

        if torch.cuda.is_available():
            return int(torch.cuda.max_memory_allocated()) - self._weights
        return _peak() - self._before - self._weights

    def _say(self, told: Mapping[str, Any]) -> None:
        self._replies.write(json.dumps(told) + "\n")
        self._replies.flush()


def _peak() -> int:
    """The most memory that this process has held since `Pace.ready`; where that is not told, since it began [bytes]."""
    from postil.model.memory import peak_bytes

    status = Path("/proc/self/status")
    if not (PEAK.exists() and status.exists()):
        return peak_bytes()
    line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


def matmul(shape: Shape, pace: Pace) -> None:
    """No side: the best rate of plain matmuls [FLOP/s], measured as often as the sides are."""
    import torch

    model = torch.nn.Linear(1, 1)
    pairs = [(torch.randn(n, k), torch.randn(k, m)) for n, k, m in MATMULS]

    def update(index: int) -> dict[str, float]:
        rates = [_rate(a, b) for a, b in pairs]
        return {"cpu_rate": max(cpu for _, cpu in rates), "wall_rate": max(wall for wall, _ in rates)}

    pace.before_weights()
    pace.go(model, update)


def _rate(a: Any, b: Any) -> tuple[float, float]:
    """FLOP/s by wall time and by CPU time."""
    import torch

    work, times = 2.0 * a.shape[0] * a.shape[1] * b.shape[1], 0
    a @ b
    _settle(torch)
    wall, cpu = time.perf_counter(), time.process_time()
    while time.perf_counter() - wall < MATMUL_SECONDS:
        a @ b
        _settle(torch)
        times += 1
    return work * times / (time.perf_counter() - wall), work * times / max(1e-9, time.process_time() - cpu)


def _settle(torch: Any) -> None:
    """Wait for a GPU to finish what it was given."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _sides() -> dict[str, Callable[[Shape, Pace], None]]:
    from benchmarks import evaluation, ours, peers, script

    return {
        "script (a)": partial(script.side, dtype="bfloat16"),
        "script (b)": partial(script.side, dtype="float32"),
        "TRL padded": partial(peers.side, layout="padded"),
        "TRL unpadded": partial(peers.side, layout="unpadded"),
        "TRL packed": partial(peers.side, layout="packed"),
        "Postil plain": partial(ours.side, shares=False),
        "Postil shared": ours.side,
        "Postil tight": partial(ours.side, tight_memory=True),
        "generate loops": evaluation.loops,
        "Postil answers": evaluation.postil,
        "matmul": matmul,
    }


# ── the other end ──


@dataclass(frozen=True)
class Took:
    """What an update took. `share`: of an epoch's work; `above`: the peak of memory above the weights [bytes]."""

    wall: float
    cpu: float
    above: int
    share: float = 1.0
    learned: int = 0
    cpu_rate: float = 0.0
    wall_rate: float = 0.0
    said: Sequence[str] = ()


class Child:
    """A side that waits in its own process."""

    def __init__(self, side: str, shape: str) -> None:
        self.side = side
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.side", side, shape],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**for_child(), "PYTHONPATH": str(ROOT)}, cwd=ROOT,
            text=True, encoding="utf-8",
        )  # fmt: skip

    def ready(self) -> None:
        """Wait until it is loaded."""
        self._reply()

    def update(self, index: int, threads: int) -> Took:
        """Have it do update `index`."""
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"update": index, "threads": threads}) + "\n")
        self._process.stdin.flush()
        return Took(**self._reply())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def _reply(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"{self.side} ended with code {self._process.wait()}; what it said stands above")
        told: dict[str, Any] = json.loads(line)
        return told


@contextmanager
def children(sides: list[str], shape: str) -> Iterator[dict[str, Child]]:
    """All sides, loaded one after the other."""
    with ExitStack() as stack:
        found = {}
        for side in sides:
            found[side] = Child(side, shape)
            stack.callback(found[side].end)
            found[side].ready()
        yield found


def main(side: str, shape: str) -> None:
    """Be a side. What libraries print goes to standard error: standard output is the line to the parent."""
    replies = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    from benchmarks.shapes import SHAPES

    _sides()[side](SHAPES[shape](), Pace(sys.stdin, replies))


if __name__ == "__main__":
    main(*sys.argv[1:])

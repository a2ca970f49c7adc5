"""How fast is this machine with this model? Measured for a few seconds in a child process, so that it leaves no trace.

As a program (`python -m postil.model.probe`) it loads its libraries, reads a JSON request on standard input and prints
a JSON answer.
"""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from postil.records import Plan, Probe
from postil.settings import for_child

if TYPE_CHECKING:
    from postil.model.template import Tokens

TIMEOUT_SECONDS = 900  # of a machine that has much else to do; one that dies is seen at once
FEW = 2  # rows

# How much faster a matmul in bfloat16 must be before it is taken, elsewhere and on a CPU. There, matmuls 2.2 to 3.6
# times faster (AVX512-BF16) made a whole training step of a 135M model 1.3 times faster (5.5 against 7.4 CPU seconds,
# medians of five in turn on one thread): too little for a third of the digits. AMX is far above this line.
WORTH_BFLOAT16 = (1.5, 6.0)


class Ask(Protocol):
    """What `probe` does, of a child that has begun."""

    def __call__(self, base: Path | None, rows: Sequence[Tokens] = ()) -> Probe | None: ...


@contextmanager
def begun() -> Iterator[Ask]:
    """The child, which loads its libraries while its caller does something else; what is given asks it, once."""
    with subprocess.Popen(
        [sys.executable, "-m", "postil.model.probe"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
        env=for_child(),
    ) as child:  # fmt: skip
        try:
            yield lambda base, rows=(): _asked(child, base, rows)
        finally:
            child.kill()  # it has answered, or nobody wants to hear it


def probe(base: Path | None, rows: Sequence[Tokens] = ()) -> Probe | None:
    """Measure this machine, with the model in `base` and an update of these rows if given.

    Returns None when the child process cannot measure (no memory for the model, say): an estimate is then made from
    the sizes alone.
    """
    with begun() as ask:
        return ask(base, rows)


def _asked(child: subprocess.Popen[str], base: Path | None, rows: Sequence[Tokens]) -> Probe | None:
    told = [{"ids": row.ids, "weights": row.weights} for row in rows]
    request = json.dumps({"base": str(base) if base else None, "rows": told})
    try:
        said, why = child.communicate(request, TIMEOUT_SECONDS)
    except subprocess.TimeoutExpired:
        return None
    if child.returncode:
        logging.getLogger(__name__).info("the probe failed: %s", why)
        return None
    return Probe(**json.loads(said.splitlines()[-1]))


def _measure(request: dict[str, Any]) -> Probe:
    import torch

    from postil.errors import ModelError
    from postil.model.memory import lacks_memory

    device = _device()
    card = _card() if device == "cuda" else {}  # before anything lies on it
    cores = torch.get_num_threads()
    choices = sorted({1, max(1, cores // 2), cores}) if device == "cpu" else [cores]
    rates: dict[tuple[str, int], float] = {}
    for threads in choices:
        torch.set_num_threads(threads)
        rates["float32", threads] = _gemm_rate("float32", device)
        rates["bfloat16", threads] = _gemm_rate("bfloat16", device, rates["float32", threads])
    best = {dtype: max(rates[dtype, threads] for threads in choices) for dtype in ("float32", "bfloat16")}
    worth = WORTH_BFLOAT16[device == "cpu"]
    dtype = "bfloat16" if best["bfloat16"] > worth * best["float32"] else "float32"
    threads = max(choices, key=lambda count: rates[dtype, count])
    step: dict[str, Any] = {}
    if request["base"]:
        try:
            threads, step = _with_base(request, dtype, device, choices)
        except (RuntimeError, ModelError) as error:
            if device == "cpu" or not lacks_memory(error.__cause__ or error):
                raise
            step = {}  # no room beside what others have there: what is known of the card is still true
    reason = {
        "float32": best["float32"] / 1e9,
        "bfloat16": best["bfloat16"] / 1e9,
        "tried": ", ".join(map(str, choices)),
    }
    return Probe(device, dtype, threads, rates[dtype, threads], reason=reason, **card, **step)


def _device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def _card() -> dict[str, Any]:
    """The GPU's name, and the memory that is free on it [bytes]."""
    import torch

    return {"gpu": torch.cuda.get_device_name(), "gpu_memory_bytes": torch.cuda.mem_get_info()[0]}


def _gemm_rate(dtype: str, device: str, worth: float = 0.0) -> float:
    """FLOP/s of a matmul in the shape of a small model's MLP; of an eighth of it alone, if that is below `worth`.

    A CPU without instructions for bfloat16 takes a hundred times as long as for float32: seconds for the whole.
    """
    import torch

    from postil.model.load import DTYPES

    size = (512, 1024, 2816) if device == "cpu" else (4096, 4096, 8192)
    a = torch.ones(size[0], size[1], dtype=DTYPES[dtype], device=device)
    b = torch.ones(size[1], size[2], dtype=DTYPES[dtype], device=device)

    def rate(rows: int) -> float:
        return 2.0 * rows * size[1] * size[2] / _seconds(lambda: a[:rows] @ b, device, budget=0.15)

    part = rate(size[0] // 8) if worth else 0.0
    return part if part < worth else rate(size[0])


def _seconds(work: Callable[[], Any], device: str, budget: float, *, warm: bool = False) -> float:
    """The shortest time of `work` within `budget` seconds, after one run that does not count unless all is warm."""
    import torch

    def once() -> float:
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        elif device == "mps":
            torch.mps.synchronize()
        return time.perf_counter() - start

    if not warm:
        once()
    end, best = time.perf_counter() + budget, once()
    while time.perf_counter() < end:
        best = min(best, once())
    return best


def _with_base(request: dict[str, Any], dtype: str, device: str, choices: list[int]) -> tuple[int, dict[str, Any]]:
    """The best number of threads for real training steps, and what they took."""
    import torch

    from postil.model.adapt import attach
    from postil.model.attention import Unpackable, takes_packs
    from postil.model.generate import generate
    from postil.model.layout import lay_out
    from postil.model.load import load_base
    from postil.model.loss import Loss
    from postil.model.memory import peak_bytes
    from postil.model.template import Tokens

    plan = Plan(dtype=dtype, device=device)
    loaded = load_base(Path(request["base"]), dtype=dtype, device=device)
    loaded.model = attach(loaded.model, plan, request["base"])
    rows = [Tokens(tuple(row["ids"]), tuple(row["weights"]), ()) for row in request["rows"]]
    packed, loss = takes_packs(loaded.model), Loss(loaded.model)

    def step(some: Sequence[Tokens]) -> None:
        for _, batch in lay_out(some, plan.micro_batch_tokens, packed=packed, device=device):
            loss.sum(batch).backward()  # type: ignore[no-untyped-call]

    try:  # whether a pack gives what its rows give is looked at when they are learned
        step(rows[:FEW])
    except Unpackable:
        packed = False
        step(rows[:FEW])
    took: dict[int, float] = {}
    for threads in [choices[-1], *choices]:  # a few rows show which is faster; how long it takes, all of them
        torch.set_num_threads(threads)
        once = _seconds(lambda: step(rows[:FEW]), device, budget=0.0, warm=True)
        took[threads] = min(once, took.get(threads, once))
    threads = min(choices, key=lambda count: took[count])
    torch.set_num_threads(threads)
    step_seconds = _seconds(lambda: step(rows), device, budget=0.0, warm=device == "cpu")
    prompts, new = [row.ids[: row.weights.index(max(row.weights))] for row in rows], 8
    start = time.perf_counter()
    generate(loaded, prompts, max_new_tokens=new)
    return threads, {
        "step_seconds": step_seconds,
        "step_tokens": sum(len(row.ids) for row in rows),
        "generate_seconds": (time.perf_counter() - start) / new,
        "peak_bytes": peak_bytes(),
    }


def _load() -> None:
    """All that measuring needs, while the rows are still being read."""
    import postil.model.adapt
    import postil.model.generate
    import postil.model.loss  # noqa: F401


if __name__ == "__main__":
    _load()
    print(json.dumps(asdict(_measure(json.loads(sys.stdin.read())))))  # noqa: T201

"""A hundred adapters on one base: what they cost in speed, memory and time to switch. Ratios, one thread, CPU time.

    python -m benchmarks.serving BASE [--adapters 100] [--tokens 32] [--rounds 3] [--device cuda]

On a GPU the base is in bfloat16, time is the clock's, and BASE may be a shape of `bases.py`: random weights. The
adapters are random and of the true shape. A batch of 16 is the base alone, then 16 distinct adapters, in turn; the next
tokens are counted, not the prompts. PEFT's own mixed batch (`adapter_names`) answers the same prompts.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from postil.settings import quiet

quiet()

import psutil  # noqa: E402
import torch  # noqa: E402
from peft import PeftModel  # noqa: E402

from benchmarks import bases  # noqa: E402
from postil.model.adapt import CONFIG, WEIGHTS, attach, config_bytes, to_bytes, weights_of  # noqa: E402
from postil.model.load import DTYPES, Loaded, load_base  # noqa: E402
from postil.records import Message, Plan  # noqa: E402
from postil.serve import Limits, Request  # noqa: E402
from postil.serve.batching import Batch  # noqa: E402
from tests.models import FAMILIES, tokenizer_of  # noqa: E402

ROWS = 16
SHAPES = {"q,k,v,o": "attention-only", "all linear": "all-linear"}
SYSTEM = "You are the shop's assistant. Answer in one or two friendly sentences, and name the product."
GB = 1 << 30
DEVICE = "cpu"
DTYPE = {"cpu": "float32", "cuda": "bfloat16"}


class Nobody:
    """Listens to no answer."""

    def piece(self, piece: Any) -> None: ...
    def reply(self, reply: Any) -> None: ...
    def error(self, error: Exception) -> None:
        raise error


def adapters(base: Path, folder: Path, targets: str, count: int) -> list[Path]:
    """`count` directories with adapters of r 8."""
    model = attach(
        load_base(base, dtype=DTYPE[DEVICE]).model, Plan(r=8, lora_alpha=16, target_modules=targets), str(base)
    )
    config, weights = config_bytes(model), weights_of(model)
    made = [folder / f"{targets}-{i}" for i in range(count)]
    for i, directory in enumerate(made):
        torch.manual_seed(i)
        directory.mkdir()
        (directory / CONFIG).write_bytes(config)
        (directory / WEIGHTS).write_bytes(to_bytes({n: torch.randn_like(t) * 0.01 for n, t in weights.items()}))
    return made


def opened(base: Path) -> Loaded:
    loaded = load_base(base, dtype=DTYPE[DEVICE], device=DEVICE)
    loaded.template.stop_ids = ()  # every row goes on to the end of the measurement
    return loaded


def question(i: int) -> tuple[Message, ...]:
    return Message("system", SYSTEM), Message("user", f"Order {1000 + i}: which dress goes with a blue coat?")


def step_seconds(batch: Batch, voices: Sequence[Path | None], tokens: int) -> list[float]:
    """Seconds of each pass in which all rows are written, from the second token of the last one on."""
    asks = [batch.ask(Request(question(i), voice, tokens, 0.0), Nobody()) for i, voice in enumerate(voices)]
    took: list[float] = []
    more = True
    while more:
        counts = all(asked.written > 1 for asked in asks) and batch.running == len(asks)
        start = clock()
        more = batch.step()
        if counts:
            took.append(clock() - start)
    return took


class Theirs:
    """PEFT's mixed batch of these adapters."""

    def __init__(self, base: Path, paths: Sequence[Path]) -> None:
        loaded = load_base(base, dtype=DTYPE[DEVICE], device=DEVICE)
        self._names = [str(i) for i in range(len(paths))]
        how = {"autocast_adapter_dtype": False}  # else it would cast back and forth on a base in bfloat16
        self._model = PeftModel.from_pretrained(loaded.model, str(paths[0]), adapter_name="0", **how)
        for name, path in zip(self._names[1:], paths[1:], strict=True):
            self._model.load_adapter(str(path), adapter_name=name, **how)
        self._model.to(DTYPES[DTYPE[DEVICE]])
        self._ids = torch.tensor([loaded.template.prompt(question(0))] * len(paths), device=DEVICE)

    def seconds(self, tokens: int) -> float:
        """Seconds of one next token."""
        took = []
        for new in (1, 1 + tokens):
            start = clock()
            self._model.generate(
                input_ids=self._ids, attention_mask=torch.ones_like(self._ids), max_new_tokens=new,
                min_new_tokens=new, do_sample=False, adapter_names=self._names, pad_token_id=0,
            )  # fmt: skip
            took.append(clock() - start)
        return (took[1] - took[0]) / tokens


def speed(base: Path, paths: Sequence[Path], tokens: int, rounds: int) -> dict[str, Any]:
    """Each round: the base alone, 16 adapters, PEFT. Speeds are the medians of what the rounds give, with their least
    and greatest."""
    batch = Batch(opened(base), Limits(adapter_bytes=8 * GB))
    before = held_bytes()
    loads = [_milliseconds(lambda path=path: batch.shelf.hold(path)) for path in paths]  # type: ignore[misc]
    grown = held_bytes() - before
    switches = [_milliseconds(lambda path=path: batch.shelf.hold(path)) for path in paths]  # type: ignore[misc]
    theirs = Theirs(base, paths[:ROWS])
    found: list[tuple[float, float, float]] = []
    for turn in range(rounds):
        some = random.Random(turn).sample(list(paths), min(ROWS, len(paths)))
        alone, mixed = (statistics.mean(step_seconds(batch, voices, tokens)) for voices in ([None] * ROWS, some))
        found.append((alone, mixed, theirs.seconds(tokens)))
    return {
        "tokens/s over base alone": spread([alone / mixed for alone, mixed, _ in found]),
        "tokens/s over PEFT's mixed batch": spread([peft / mixed for _, mixed, peft in found]),
        "base step, ms": spread([1e3 * alone for alone, _, _ in found]),
        "mixed step, ms": spread([1e3 * mixed for _, mixed, _ in found]),
        "PEFT's step, ms": spread([1e3 * peft for _, _, peft in found]),
        "memory over own bytes": round(grown / batch.shelf.bytes, 3),
        "from disk, ms": round(statistics.median(loads), 1),
        "to a resident one, ms": round(statistics.median(switches), 3),
    }


def clock() -> float:
    """CPU seconds of this thread; on a GPU those that have passed when it has done its work."""
    if DEVICE == "cpu":
        return time.thread_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def held_bytes() -> int:
    return psutil.Process().memory_info().rss if DEVICE == "cpu" else torch.cuda.memory_allocated()


def written(shape: str, folder: Path) -> Path:
    """A directory with random weights of a shape, in the numbers of this device."""
    model = bases.read(shape, DTYPE[DEVICE])
    model.save_pretrained(folder)
    tokenizer_of(FAMILIES["qwen2"]).save_pretrained(folder)
    return folder


def spread(numbers: Sequence[float]) -> str:
    return f"{statistics.median(numbers):.3g} ({min(numbers):.3g} to {max(numbers):.3g})"


def _milliseconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return (time.perf_counter() - start) * 1e3


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base")
    parser.add_argument("--device", default="cpu", choices=tuple(DTYPE))
    for name, default in (("--adapters", 100), ("--tokens", 32), ("--rounds", 3)):
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args()
    global DEVICE
    DEVICE = given.device
    torch.set_num_threads(1)
    for name, targets in SHAPES.items():
        with tempfile.TemporaryDirectory() as folder:
            base = written(given.base, Path(folder) / "base") if given.base in bases.SHAPES else Path(given.base)
            paths = adapters(base, Path(folder), targets, given.adapters)
            figures = speed(base, paths, given.tokens, given.rounds)
        print(json.dumps({"adapters": name, **figures}, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()

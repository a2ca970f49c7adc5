"""A base that is stored in 16 bits: its weights multiplied as such, or as float32. One thread, CPU time.

    python -m benchmarks.halves BASE [--tokens 32] [--rounds 3]

The base is BASE with its weights rounded to bfloat16, as most open models are stored. Each round is two fresh
processes, one for each way; a step writes one token of each row, the next tokens alone are counted, and the memory is
the process's own, without what it shares with files.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

from postil.settings import quiet

quiet()

import psutil  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

from benchmarks.serving import GB, opened, spread, step_seconds  # noqa: E402
from postil.model.panels import Halves  # noqa: E402
from postil.serve import Limits  # noqa: E402
from postil.serve.batching import Batch  # noqa: E402

ROWS = (1, 2, 4, 8, 16)
WAYS = {"float16 weights": True, "float32 weights": False}
Figures = dict[str, float]


def rounded(base: Path, folder: Path) -> Path:
    """A copy of the base with the numbers that bfloat16 has."""
    copy = folder / "rounded"
    shutil.copytree(base, copy, ignore=shutil.ignore_patterns("*.safetensors"))
    for file in base.glob("*.safetensors"):
        save_file({name: one.bfloat16() for name, one in load_file(file).items()}, copy / file.name, {"format": "pt"})
    return copy


@torch.inference_mode()
def measured(base: Path, halved: bool, tokens: int) -> Figures:
    """Milliseconds of a step, by the number of rows; megabytes that the base takes, ready to answer."""
    if not halved:
        Halves.can_hold = staticmethod(lambda weight: False)  # type: ignore[method-assign]
    torch.set_num_threads(1)
    before = _own_bytes()
    batch = Batch(opened(base), Limits(adapter_bytes=GB))
    found = {"MB": (_own_bytes() - before) / 1e6}
    time.sleep(3)  # panels move to huge pages
    for rows in ROWS:
        step_seconds(batch, [None] * rows, tokens)
        found[f"{rows} rows"] = 1e3 * statistics.mean(step_seconds(batch, [None] * rows, tokens))
    return found


def _own_bytes() -> int:
    told = psutil.Process().memory_info()
    return int(told.rss - getattr(told, "shared", 0))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("base", type=Path)
    for name, default in (("--tokens", 32), ("--rounds", 3)):
        parser.add_argument(name, type=int, default=default)
    given = parser.parse_args()
    found: dict[str, list[Figures]] = {way: [] for way in WAYS}
    with tempfile.TemporaryDirectory() as folder:
        base = rounded(given.base, Path(folder))
        for _ in range(given.rounds):
            for way, halved in WAYS.items():
                with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
                    found[way].append(alone.submit(measured, base, halved, given.tokens).result())
    for way, rounds in found.items():
        print(json.dumps({"": way, **{one: spread([each[one] for each in rounds]) for one in rounds[0]}}))
    first, second = found.values()
    ratios = {one: spread([b[one] / a[one] for a, b in zip(first, second, strict=True)]) for one in first[0]}
    print(json.dumps({"": "float32 over float16", **ratios}))


if __name__ == "__main__":
    main()

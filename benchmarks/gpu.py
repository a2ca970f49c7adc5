"""The same on a GPU: python benchmarks/gpu.py [--tiny] [--rounds N].

Random weights in the shapes of 0.5B and 7B, bfloat16, Postil beside plain PEFT, and Liger and Unsloth where they are.
Each side runs in a process of its own, alone on the card, and measures the rate of matmuls after each of its updates.
--tiny takes a model that a CPU trains in a moment, to see that all of it works; nothing is then written.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

sys.path[0] = str(Path(__file__).parents[1])  # `benchmarks` as a package, from wherever it is called

from postil.settings import for_child, quiet  # noqa: E402

quiet()  # before torch is loaded

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from torch.nn.utils.rnn import pad_sequence  # noqa: E402

from benchmarks import ours, results  # noqa: E402
from benchmarks.bases import PLAN, RATE, TARGETS, config, read  # noqa: E402
from benchmarks.results import spread  # noqa: E402
from benchmarks.shapes import Row, Shape, learned, synthetic  # noqa: E402

Update = Callable[[int, Sequence[Row]], None]

ROWS_A_PASS = 32  # of short rows, for the peers: as many tokens as a pass of Postil; one of 4096 tokens
KINDS = ("packed", "short")
BASES = ("qwen2.5-0.5b", "qwen2.5-7b")
NEEDS = {"PEFT": "peft", "Liger": "liger_kernel", "Unsloth": "unsloth", "Postil": "postil", "Postil compiled": "postil"}
MATMULS = ((8192, 8192, 8192), (4096, 4096, 16_384))
MATMUL_SECONDS = 0.2
TIMEOUT = 300  # seconds for a side


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype() -> str:
    return "bfloat16" if device() == "cuda" else "float32"


def data(base: str, kind: str) -> Shape:
    """`packed`: sequences of 4096 tokens without padding, half of them with loss. `short`: rows of 110 tokens."""
    name = f"{base} {kind}"
    if base == "tiny":
        return synthetic(name, base, count=16, length=64 if kind == "packed" else 20, shared=0, learned=10)
    if kind == "packed":
        return synthetic(name, base, count=16, length=4096, shared=0, learned=2048, update=4)
    return synthetic(name, base, count=512, length=110, shared=0, learned=30, update=128)


# ── the sides ──


def postil(base: str, *, compiled: bool) -> Update:
    """Postil's learner on this device."""
    chosen = ours.plan(device=device(), dtype=dtype(), micro_batch_tokens=4096, torch_compile=compiled)
    learner = ours.learner_of(read(base, dtype(), device()), chosen, shares=True)

    def update(index: int, rows: Sequence[Row]) -> None:
        learner.update(index, [row.tokens for row in rows], RATE)

    return update


def peer(name: str, base: str) -> Update:
    """A plain loop as a good tutorial has it: rows of like length padded to the longest, bfloat16, no checkpointing."""
    model = {"PEFT": _peft, "Liger": _liger, "Unsloth": _unsloth}[name](base).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=True)

    def update(index: int, rows: Sequence[Row]) -> None:
        count = learned(rows)
        size = 1 if len(rows[0].tokens[0].ids) > 1024 else ROWS_A_PASS
        for at in range(0, len(rows), size):
            model(**_padded(rows[at : at + size]), num_items_in_batch=count, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return update


def _padded(rows: Sequence[Row]) -> dict[str, torch.Tensor]:
    sequences = [s for row in rows for s in row.tokens]
    ids = pad_sequence([torch.tensor(s.ids) for s in sequences], batch_first=True)
    mask = pad_sequence([torch.ones(len(s.ids), dtype=torch.long) for s in sequences], batch_first=True)
    counts = pad_sequence([torch.tensor(s.weights) for s in sequences], batch_first=True)
    found = {"input_ids": ids, "attention_mask": mask, "labels": ids.masked_fill(counts == 0, -100)}
    return {name: tensor.to(device()) for name, tensor in found.items()}


def _lora(model: Any) -> Any:
    told = LoraConfig(task_type="CAUSAL_LM", r=PLAN.r, lora_alpha=PLAN.lora_alpha, lora_dropout=0.0, bias="none",
                      target_modules=TARGETS.split(","))  # fmt: skip
    return get_peft_model(model, told)


def _peft(base: str) -> Any:
    return _lora(read(base, dtype(), device()))


def _liger(base: str) -> Any:
    from liger_kernel.transformers import apply_liger_kernel_to_qwen2

    apply_liger_kernel_to_qwen2()  # fused linear cross-entropy, norms, rotary embedding
    return _lora(read(base, dtype(), device()))


def _unsloth(base: str) -> Any:
    """Unsloth reads directories only: the random weights are written to one first."""
    from unsloth import FastLanguageModel

    with tempfile.TemporaryDirectory() as folder:
        read(base, dtype(), device()).save_pretrained(folder)
        model, _ = FastLanguageModel.from_pretrained(folder, max_seq_length=4096, dtype=torch.bfloat16,
                                                     load_in_4bit=False)  # fmt: skip
    return FastLanguageModel.get_peft_model(model, r=PLAN.r, lora_alpha=PLAN.lora_alpha, lora_dropout=0.0,
                                            target_modules=TARGETS.split(","), bias="none",
                                            use_gradient_checkpointing=False)  # fmt: skip


# ── one side, in its process ──


def side(name: str, base: str, rounds: int) -> dict[str, Any]:
    """What each kind of data took: seconds of the updates, the matmul rates beside them, the peak of memory.

    `least`: F_min of each update [FLOP]; `above`: the peak of the card's memory above the weights [bytes].
    """
    if find_spec(NEEDS[name]) is None or (device() == "cpu" and name in ("Liger", "Unsloth")):
        return {"missing": f"{NEEDS[name]} is not installed, or needs a GPU"}
    own = name.startswith("Postil")
    update = postil(base, compiled=name != "Postil") if own else peer(name, base)
    weights = torch.cuda.memory_allocated() if device() == "cuda" else 0
    return {kind: _measured(update, data(base, kind), rounds, weights) for kind in KINDS}


def _measured(update: Update, shape: Shape, rounds: int, weights: int) -> dict[str, Any]:
    rate = _matmuls()
    if device() == "cuda":
        torch.cuda.reset_peak_memory_stats()
    seconds, rates, least = [], [], []
    for index in range(rounds + 1):  # the first warms up
        rows = shape.update(index)
        _settle()
        start = time.perf_counter()
        update(index, rows)
        _settle()
        took = time.perf_counter() - start
        print(f"{shape.name} {index}: {took:.3f} s", file=sys.stderr, flush=True)
        if index:
            seconds.append(took)
            least.append(shape.least(rows, shared=False))
            rates.append(rate())
    above = torch.cuda.max_memory_allocated() - weights if device() == "cuda" else 0
    tokens = sum(len(s.ids) for row in shape.update(0) for s in row.tokens)
    return {"seconds": seconds, "rates": rates, "least": least, "tokens": tokens, "above": above}


def _matmuls() -> Callable[[], float]:
    """The best rate of plain matmuls of random numbers in the type of the runs [FLOP/s]."""
    sizes = MATMULS if device() == "cuda" else ((512, 1024, 2816),)
    how: Any = {"device": device(), "dtype": getattr(torch, dtype())}

    def rate() -> float:
        return max(_rate(torch.randn(n, k, **how), torch.randn(k, m, **how)) for n, k, m in sizes)

    return rate


def _rate(a: torch.Tensor, b: torch.Tensor) -> float:
    for _ in range(3):
        a @ b
    _settle()
    times, start = 0, time.perf_counter()
    while time.perf_counter() - start < MATMUL_SECONDS:
        for _ in range(4):  # so that the card always has the next one waiting
            a @ b
        _settle()
        times += 4
    return 2.0 * a.shape[0] * a.shape[1] * b.shape[1] * times / (time.perf_counter() - start)


def _settle() -> None:
    if device() == "cuda":
        torch.cuda.synchronize()


# ── the table ──


def asked(name: str, base: str, rounds: int) -> dict[str, Any]:
    """What `side` says in a fresh process."""
    command = [sys.executable, __file__, "--side", name, "--base", base, "--rounds", str(rounds)]
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, env=for_child(), text=True, encoding="utf-8",
                              timeout=TIMEOUT, check=True)  # fmt: skip
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        return {"missing": f"it failed here ({type(error).__name__}; what it said stands above)"}
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def page(base: str, told: dict[str, dict[str, Any]]) -> list[tuple[str, ...]]:
    """The rows of one base: every side's figures, and why it did not run."""
    rows: list[tuple[str, ...]] = []
    for kind in KINDS:
        plain = median(told["PEFT"][kind]["seconds"])
        for name, of in told.items():
            if "missing" in of:
                rows.append((f"{base} {kind}", name, f"not run: {of['missing']}", "", "", ""))
                continue
            found = of[kind]
            shares = [f / (s * r) for f, s, r in zip(found["least"], found["seconds"], found["rates"], strict=True)]
            rows.append((
                f"{base} {kind}", name, f"{found['tokens'] / median(found['seconds']):.0f}",
                spread(plain / one for one in found["seconds"]), spread(shares), f"{found['above'] / 1e6:.0f}",
            ))  # fmt: skip
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, on whatever device there is")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--side", choices=list(NEEDS), help=argparse.SUPPRESS)
    parser.add_argument("--base", nargs="*", help="of these only", default=BASES)
    given = parser.parse_args()
    if given.side:
        print(json.dumps(side(given.side, *given.base, given.rounds)))
        return
    if not given.tiny and device() != "cuda":
        sys.exit("No GPU here. `--tiny` shows that the rest works.")
    rows: list[tuple[str, ...]] = []
    rates: list[float] = []
    for base in ("tiny",) if given.tiny else given.base:
        config(base)
        told = {name: asked(name, base, given.rounds) for name in NEEDS}
        rows += page(base, told)
        rates += [r for of in told.values() for kind in KINDS if kind in of for r in of[kind]["rates"]]
    name = torch.cuda.get_device_name() if device() == "cuda" else results.processor()
    header = ("shape", "side", "tokens/s", "PEFT / it", "share of the matmul rate", "peak above weights, MB")
    command = f"python benchmarks/gpu.py --rounds {given.rounds}{' --tiny --quick' * given.tiny}"
    rate = f"Matmuls in the same minutes: {spread((r / 1e12 for r in rates), 0)} TFLOP/s."
    results.write("gpu", command, f"{results.table(header, rows)}\n\n{rate}", name)


if __name__ == "__main__":
    main()

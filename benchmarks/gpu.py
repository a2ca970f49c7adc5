"""The same on a GPU: python benchmarks/gpu.py [--tiny] [--rounds N].

Random weights in the shapes of 0.5B and 7B, bfloat16, Postil beside plain PEFT, and Liger and Unsloth where they are.
--tiny takes a model that a CPU trains in a moment, to see that all of it works; nothing is then written.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path[0] = str(Path(__file__).parents[1])  # `benchmarks` as a package, from wherever it is called

from postil.settings import quiet  # noqa: E402

quiet()  # before torch is loaded

import torch  # noqa: E402
from peft import LoraConfig, get_peft_model  # noqa: E402
from torch.nn.utils.rnn import pad_sequence  # noqa: E402

from benchmarks import ours, results, speed  # noqa: E402
from benchmarks.bases import PLAN, RATE, SHAPES, TARGETS, read  # noqa: E402
from benchmarks.results import spread  # noqa: E402
from benchmarks.shapes import Row, Shape, learned, synthetic  # noqa: E402

if TYPE_CHECKING:
    from benchmarks.side import Pace

ROWS_A_PASS = 16  # of short rows, for the peers; one of 4096 tokens
PEERS = {"PEFT": "peft", "Liger": "liger_kernel", "Unsloth": "unsloth"}  # and the package that each needs
SIDES = ("GPU PEFT", "GPU Liger", "GPU Unsloth", "GPU Postil", "GPU matmul")
MATMULS = ((8192, 8192, 8192), (4096, 4096, 16_384))


def device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype() -> str:
    return "bfloat16" if device() == "cuda" else "float32"


# ── the data ──


def data(base: str, kind: str) -> Shape:
    """`packed`: sequences of 4096 tokens without padding, half of them with loss. `short`: rows of about 110 tokens."""
    name = f"gpu {base} {kind}"
    if base == "tiny":
        return synthetic(name, base, count=16, length=64 if kind == "packed" else 20, shared=0, learned=10)
    if kind == "packed":
        return synthetic(name, base, count=16, length=4096, shared=0, learned=2048)
    return synthetic(name, base, count=512, length=110, shared=0, learned=30, update=128)


DATA: dict[str, Callable[[], Shape]] = {
    f"gpu {base} {kind}": partial(data, base, kind) for base in SHAPES for kind in ("packed", "short")
}


# ── the sides ──


def postil(shape: Shape, pace: Pace) -> None:
    """Postil's learner on this device."""
    pace.before_weights()
    chosen = ours.plan(device=device(), dtype=dtype(), micro_batch_tokens=4096, batch_size=len(shape.update(0)))
    learner = ours.learner_of(read(shape.base, dtype(), device()), chosen, shares=True)

    def update(index: int) -> Mapping[str, Any]:
        rows = shape.update(index)
        learner.update(index, [row.tokens for row in rows], RATE)
        return {"share": len(rows) / len(shape.rows), "learned": learned(rows)}

    pace.go(learner.model, update)


def peer(shape: Shape, pace: Pace, *, name: str) -> None:
    """A plain loop as a good tutorial has it: rows of like length padded to the longest, bfloat16, no checkpointing."""
    pace.before_weights()
    model = {"PEFT": _peft, "Liger": _liger, "Unsloth": _unsloth}[name](shape.base).train()
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=RATE, fused=True)

    def update(index: int) -> Mapping[str, Any]:
        rows = shape.update(index)
        count = learned(rows)
        size = 1 if len(rows[0].tokens[0].ids) > 1024 else ROWS_A_PASS
        for at in range(0, len(rows), size):
            model(**_padded(rows[at : at + size]), num_items_in_batch=count, use_cache=False).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return {"share": len(rows) / len(shape.rows), "learned": count}

    pace.go(model, update)


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
        read(base, dtype()).save_pretrained(folder)
        model, _ = FastLanguageModel.from_pretrained(folder, max_seq_length=4096, dtype=torch.bfloat16,
                                                     load_in_4bit=False)  # fmt: skip
    return FastLanguageModel.get_peft_model(model, r=PLAN.r, lora_alpha=PLAN.lora_alpha, lora_dropout=0.0,
                                            target_modules=TARGETS.split(","), bias="none",
                                            use_gradient_checkpointing=False)  # fmt: skip


def matmul(shape: Shape, pace: Pace) -> None:
    """The best rate of plain matmuls in the number type of the runs [FLOP/s]."""
    from benchmarks import side

    sizes = MATMULS if device() == "cuda" else side.MATMULS[:1]
    side.matmul(shape, pace, sizes=sizes, device=device(), dtype=dtype())


def sides() -> dict[str, Callable[[Shape, Pace], None]]:
    """By name, as benchmarks.side starts them."""
    return {
        **{f"GPU {name}": partial(peer, name=name) for name in PEERS},
        "GPU Postil": postil,
        "GPU matmul": matmul,
    }


# ── the table ──


def missing() -> dict[str, str]:
    """Peers that cannot run here, and why."""
    found = {f"GPU {name}": f"{package} is not installed" for name, package in PEERS.items() if not find_spec(package)}
    if device() != "cuda":
        found |= {f"GPU {name}": "needs a GPU" for name in ("Liger", "Unsloth")}
    return found


def page(measured: speed.Measured) -> list[tuple[str, ...]]:
    """The rows of one kind of data."""
    rows: list[tuple[str, ...]] = []
    for side in (side for side in measured.rounds if side != "GPU matmul"):
        seconds = measured.epoch(side, "wall")
        rows.append((
            measured.shape.name.removeprefix("gpu "), side.removeprefix("GPU "),
            f"{measured.shape.tokens / sorted(seconds)[len(seconds) // 2]:.0f}",
            spread(measured.ratio(side, "wall", over="GPU PEFT")),
            spread(measured.useful(side, shared=side == "GPU Postil", clock="wall", peak="GPU matmul")),
            f"{measured.above(side):.0f}",
        ))  # fmt: skip
    reasons = missing()
    return rows + [(measured.shape.name.removeprefix("gpu "), side.removeprefix("GPU "), f"not run: {why}", "", "", "")
                   for side, why in reasons.items()]  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, on whatever device there is")
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    if not given.tiny and device() != "cuda":
        sys.exit("No GPU here. `--tiny` shows that the rest works.")
    present = [side for side in SIDES[:-1] if side not in missing()]
    rows: list[tuple[str, ...]] = []
    for base in ("tiny",) if given.tiny else ("qwen2.5-0.5b", "qwen2.5-7b"):
        for kind in ("packed", "short"):
            shape = data(base, kind)
            rows += page(speed.measure(shape, present, given.rounds, clocks=("wall",), peak="GPU matmul"))
    name = torch.cuda.get_device_name() if device() == "cuda" else results.processor()
    header = ("shape", "side", "tokens/s", "PEFT / it", "share of the matmul rate", "peak above weights, MB")
    command = f"python benchmarks/gpu.py --rounds {given.rounds}{' --tiny --quick' * given.tiny}"
    results.write("gpu", command, results.table(header, rows), name)


if __name__ == "__main__":
    main()

"""A run that is killed and resumed, as often as you like, ends in the byte-identical adapter."""

import json
import os
import random
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

from postil.settings import for_child
from tests.models import titles
from tests.runs import adapter_hashes, laid_out

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not hasattr(os, "fork"), reason="needs a system that can fork")]

UPDATES = 48
PLANS = {
    "plain": {},
    "dropout": {"lora_dropout": 0.2},
    "probed": {"learning_rate_probe": True, "evaluations_per_epoch": 2, "patience": 1000},
    "unvalidated": {"validation": ()},
}
RANDOM = random.Random(42)
ORDERS = {
    # before the first checkpoint, twice in the same place, and at random moments
    "plain": [0, 2, *sorted(RANDOM.sample(range(3, UPDATES - 2), 9)), UPDATES - 1],
    "dropout": sorted(RANDOM.sample(range(1, UPDATES), 2)),
    "probed": sorted(RANDOM.sample(range(1, UPDATES), 3)),
    # at every kind of moment inside the writing of a checkpoint
    "unvalidated": [{"sync": n} for n in (1, 3, 4, 6, 9, 11, 13, 14, 15, 27)],
}


every = pytest.mark.parametrize("name", PLANS)


def layout(directory: Path, base: Path, name: str) -> None:
    examples = titles(38)
    laid_out(directory, base, **{
        "training": examples[:32], "validation": examples[32:], "batch_size": 4, "n_epochs": 6, "patience": 1000,
        "micro_batch_tokens": 512, "weight_decay": 0.01, **PLANS[name],
    })  # fmt: skip


def train(orders: list[dict], hash_seed: int) -> list[dict]:
    """What tests/train/killed.py says to `orders`, in a process with another order of sets than ours."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.train.killed"], input="".join(json.dumps(order) + "\n" for order in orders),
        capture_output=True, text=True, encoding="utf-8", timeout=900, check=True, cwd=Path(__file__).parents[2],
        env={**for_child(), "PYTHONHASHSEED": str(hash_seed), "PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def runs(base, tmp_path_factory):
    """`runs(name)`: the directory of a run never killed, that of the killed one, and how often it was."""
    home = tmp_path_factory.mktemp("killed")

    @cache
    def train_both():
        for name in PLANS:
            layout(home / f"{name}-whole", base("qwen2"), name)
            layout(home / f"{name}-killed", base("qwen2"), name)
        whole = train([{"directory": str(home / f"{name}-whole"), "at": []} for name in PLANS], 1)
        killed = train([{"directory": str(home / f"{name}-killed"), "at": ORDERS[name]} for name in PLANS], 2)
        assert all(said["end"] == 0 for said in (*whole, *killed))
        return {name: said["kills"] for name, said in zip(PLANS, killed, strict=True)}

    def pair(name):
        return home / f"{name}-whole", home / f"{name}-killed", train_both()[name]

    return pair


@every
def test_a_killed_and_resumed_run_ends_in_the_same_bytes(runs, name):
    whole, killed, kills = runs(name)
    print(f"{name}: {kills} kills")
    assert kills >= len(ORDERS[name]) - 1  # the last one may come too late
    assert adapter_hashes(killed) == adapter_hashes(whole)


@every
def test_what_it_tells_of_the_run_is_the_same_too(runs, name):
    whole, killed, _ = runs(name)
    told = [json.loads((directory / "result.json").read_text("utf-8")) for directory in (whole, killed)]
    same = ("updates", "epochs", "best_update", "learning_rate", "trained_tokens", "validation_loss")
    assert {key: told[0][key] for key in same} == {key: told[1][key] for key in same}
    steps = [json.loads(line)["step"] for line in (killed / "metrics.jsonl").read_text("utf-8").splitlines()]
    assert steps == list(range(1, UPDATES + 1))  # no line twice, none missing


def test_the_run_learned_something_and_dropout_was_on(runs):
    losses = json.loads((runs("plain")[0] / "result.json").read_text("utf-8"))["validation_loss"]
    assert losses["tuned"] < 0.7 * losses["base"]
    assert adapter_hashes(runs("dropout")[0]) != adapter_hashes(runs("plain")[0])


@every
def test_nothing_half_written_is_left(runs, name):
    assert not [path for path in (runs(name)[1] / "checkpoints").iterdir() if path.name.startswith(".tmp-")]

"""Whatever is learned: a run that was ended and goes on makes the same adapter, to the byte."""

from __future__ import annotations

from dataclasses import replace

import pytest

from postil.errors import TrainError
from postil.train import run
from tests.models import dialogue, titles
from tests.runs import adapter_hashes, laid_out
from tests.sided import build_t5, rewrites


def examples_of(task):
    if task == "seq_2_seq_lm":
        return rewrites(20)
    if task == "dpo":
        return [replace(example, rejected=f"no {i}") for i, example in enumerate(titles(20))]
    return [dialogue(("assistant", f"The {i}. order was sent. " * (1 + i % 4)), rows=(i,)) for i in range(20)]


@pytest.mark.slow
@pytest.mark.parametrize("task", ["dpo", "pretraining", "seq_2_seq_lm"])
def test_ended_and_resumed_it_is_the_same_to_the_byte(base, tmp_path, task):
    model = build_t5(tmp_path / "t5") if task == "seq_2_seq_lm" else base("qwen2")
    rows, hashes = examples_of(task), []
    for stops in ((), (3, 2)):
        directory = tmp_path / f"out{len(stops)}"
        laid_out(directory, model, training=rows[:16], validation=rows[16:], task=task, save_steps=2, max_length=64
                 if task != "dpo" else 256)  # fmt: skip
        for stop in stops:
            seen = []
            with pytest.raises(TrainError) as ended:
                run(directory, lambda event: None, stop=lambda seen=seen, stop=stop: bool(seen.append(0)) or len(
                    seen) >= stop)  # fmt: skip
            assert ended.value.code == "interrupted"
        result = run(directory, lambda event: None)
        hashes.append((adapter_hashes(directory), result["updates"], result["validation_loss"]))
    assert hashes[0] == hashes[1] and hashes[0][1] == 8
    assert hashes[0][2]["tuned"] < hashes[0][2]["base"]  # and something was learned

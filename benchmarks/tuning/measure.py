"""One task, one setting, one seed: what the adapter answers, what it forgets, and what it cost. Kept by content.

A measurement stands in `measured/` under a name made of all that decides it: the rows, the settings, the seed and a
mark of the rules that the automatic plan follows. What stands there is not measured again.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.tuning.settings import PLAIN, SETTINGS
from benchmarks.tuning.tasks import TuningTask, task_of

ROOT = Path(__file__).parents[2]
KEPT = Path(__file__).with_name("measured")
WORK = ROOT / "out" / "benchmarks" / "tuning"
# what an automatic plan follows
RULES = ("postil/plan/choose.py", "postil/plan/presets.json", "postil/train/loop.py", "postil/train/grade.py",
         "postil/train/anchor.py", "postil/model/own_texts.py")  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """Shares are 0..1 of the test rows; forgetting in nats per token; times in seconds of this machine, then."""

    task: str
    setting: str
    seed: int
    score: float  # the task's own metric
    loss: float  # nats per token of the references
    ended: float  # answers that ended by themselves
    forgetting: float  # on the product's own neutral texts, by which rules were chosen
    second_forgetting: float  # on texts by which nothing was chosen
    updates: int
    best_update: int
    learning_rate: float
    cpu_seconds: float  # of planning and training, probe and choice included
    stages: Mapping[str, float]


def second_guard() -> list[str]:
    """Short texts, Chinese and English in turn, by which no rule and no run was ever chosen."""
    texts: list[str] = json.loads(Path(__file__).with_name("second_guard.json").read_text("utf-8"))
    return texts


def measured(task: TuningTask, name: str, setting: Mapping[str, str], seed: int) -> Measured:
    """From what is kept, or measured now."""
    file = KEPT / _name(task, setting, seed)
    if file.exists():
        return Measured(**json.loads(file.read_text("utf-8")))
    found = _measure(task, name, setting, seed)
    KEPT.mkdir(exist_ok=True)
    file.write_text(json.dumps(asdict(found), indent=1, ensure_ascii=False) + "\n", "utf-8")
    return found


def kept() -> list[Measured]:
    """All that was measured under the present rules; what an older automatic plan came to is left out."""
    found = []
    for file in sorted(KEPT.glob("*.json")):
        one = Measured(**json.loads(file.read_text("utf-8")))
        setting = SETTINGS.get(one.setting)
        if setting is not None and file.name == _name(task_of(one.task), setting, one.seed):
            found.append(one)
    return found


def _forgetting(pair: Any, texts: Sequence[str]) -> float:
    """How much the loss of the texts rose, in nats per token."""
    after, before = (pair.losses_of_texts(texts, tuned=tuned) for tuned in (True, False))
    return round(fmean(after) - fmean(before), 4)


def _name(task: TuningTask, setting: Mapping[str, str], seed: int) -> str:
    return f"{task.name}-{_digest(task, setting, seed)}.json"


def _digest(task: TuningTask, setting: Mapping[str, str], seed: int) -> str:
    rows = [*task.lines("training"), *task.lines("test")]
    rules = [] if PLAIN.items() <= setting.items() else [(ROOT / file).read_text("utf-8") for file in RULES]
    content = json.dumps([rows, dict(setting), seed, rules], ensure_ascii=False, sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def _measure(task: TuningTask, name: str, setting: Mapping[str, str], seed: int) -> Measured:
    from postil import flow, train
    from postil.evaluate.metrics import score
    from postil.evaluate.neutral import neutral_texts
    from postil.model.pair import open_pair
    from postil.settings import quiet

    quiet()
    directory = WORK / f"{task.name}-{os.getpid()}"
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    files = {}
    for part in ("training", "test"):
        files[part] = directory / f"{part}.jsonl"
        files[part].write_text("\n".join(task.lines(part)) + "\n", "utf-8")
    base = flow.fetched(flow.find_base(flow.EMBEDDED))
    started = time.process_time()
    rows, asked = flow.check(files["training"]), flow.check(files["test"])
    wishes = {**setting, "seed": str(seed), "dtype": "float32"}
    prepared = flow.plan(rows, base, settings=wishes, test=asked, measure=False)
    run = directory / "run"
    flow.lay_out(prepared, run)
    result: dict[str, Any] = train.run(run, lambda event: None)
    spent = time.process_time() - started
    pair = open_pair(flow.open_adapter(run))
    answers, losses = pair.tried(asked.examples, tuned=True)
    references = [pair.asks(example).answer for example in asked.examples]
    scores = score(references, answers, losses)
    assert losses
    return Measured(
        task.name,
        name,
        seed,
        round(fmean(scores[task.metric]), 4),
        round(fmean(losses), 4),
        round(fmean(scores["stopped"]), 4),
        _forgetting(pair, neutral_texts()),
        _forgetting(pair, second_guard()),
        int(result["updates"]),
        int(result["best_update"]),
        float(result["learning_rate"]),
        round(spent, 1),
        {stage: round(seconds, 1) for stage, seconds in result["stages"].items()},
    )

"""What lies in the directory of a run, and who may write there. Loads neither torch nor transformers.

plan.json            the plan, its reasons, the base model and the hashes of the data
data/*.jsonl         training, validation and test examples, as they were split
metrics.jsonl        a line for each logged update
course.json          what the run has decided on its way because of the machine; where there is nothing, no file
tensorboard/         the same as event files; wandb/, swanlab/, mlflow/ where they are switched on
checkpoints/         while it runs, and the last ones after that
adapter_*.{json,safetensors}, tokenizer files: a plain PEFT adapter
result.json          written last: a run is finished when it is there
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

from postil import __version__
from postil.errors import AdapterError, TrainError
from postil.model.labelset import LABELS
from postil.records import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    Adapter,
    Base,
    Choice,
    Estimate,
    Example,
    Message,
    Plan,
    Proposal,
    Shape,
    Split,
)  # fmt: skip
from postil.store import read_json, sha256, write_json, write_text
from postil.train.course import COURSE, read_cuts
from postil.train.lock import HOLDER, LOCK, PLACE, is_only_locked
from postil.train.pace import FEWEST_ROWS, FEWEST_UPDATES, Budget
from postil.train.trackers import KINDS

NO_SHAPE = Shape(0, 0, 0, 0, 0, 0, 0, 0)  # of a base of which only name and place are written
PARTS = ("training", "validation", "test")


def prepare(directory: Path, proposal: Proposal, base: Base, base_sha256: str, split: Split,
            source: Mapping[str, Any], *, force: bool, start: Path | None = None,
            stages: Mapping[str, float] | None = None) -> None:  # fmt: skip
    """Lay out a new run in `directory`. `start`: an adapter of the same plan's shape, to go on from; `stages`: the
    seconds of what was done for it already.

    Raises TrainError when a run is there already: `run_finished`, or `run_unfinished` (resume it); with `force` it is
    removed, but only if it is a run: other people's files are never touched.
    """
    refuse_to_overwrite(directory, force=force)
    _clear(directory)
    for part in PARTS:
        examples: Sequence[Example] = getattr(split, part)
        lines = (json.dumps({**e.as_json(), "rows": e.rows}, ensure_ascii=False) for e in examples)
        write_text(directory / "data" / f"{part}.jsonl", "".join(f"{line}\n" for line in lines))
    data = {part: sha256(directory / "data" / f"{part}.jsonl") for part in PARTS}
    write_json(
        directory / "plan.json",
        {
            "postil": __version__,
            **proposal.as_json(),
            "base": {"name": base.name, "path": str(base.path), "sha256": base_sha256, "source": base.source,
                     "licence": base.licence},
            "data": {**source, **data},
            "stages": dict(stages or {}),
            **({"start": {"path": str(start), "sha256": sha256(start / ADAPTER_WEIGHTS)}} if start else {}),
        },
    )  # fmt: skip


def refuse_to_overwrite(directory: Path, *, force: bool) -> None:
    """Raise TrainError when `directory` is not free for a new run."""
    if _is_run(directory):
        if not force:
            finished = (directory / "result.json").exists()
            raise TrainError("run_finished" if finished else "run_unfinished", path=str(directory))
    elif directory.exists() and (not directory.is_dir() or not is_only_locked(directory)):
        raise TrainError("directory_not_empty", path=str(directory))
    _refuse_unwritable(directory)


def _refuse_unwritable(directory: Path) -> None:
    """Raise TrainError `directory_not_writable` where nothing can be written, without writing anything."""
    place = directory.absolute()
    nearest = next(folder for folder in (place, *place.parents) if folder.exists())
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise TrainError("directory_not_writable", path=str(directory), place=str(nearest))


def examples_of(directory: Path, part: str) -> tuple[Example, ...]:
    """The examples of one part of the split of a run.

    Raises TrainError `data_changed` when the file is not the one that the run began with.
    """
    file = directory / "data" / f"{part}.jsonl"
    if not file.exists() or sha256(file) != read_plan(directory)["data"][part]:
        raise TrainError("data_changed", path=str(file))
    return tuple(_example(json.loads(line)) for line in lines_of(file))


def has_examples(directory: Path) -> bool:
    """Whether the examples of a run lie beside it; those of an adapter that others made do not."""
    return bool(lines_of(file)) if (file := directory / "data" / "training.jsonl").exists() else False


def read_adapter(directory: Path) -> Adapter:
    """What is known of the adapter in `directory`. Raises AdapterError when it is none, or not finished."""
    if not _is_run(directory):
        raise AdapterError("not_an_adapter", path=str(directory))
    if not (directory / ADAPTER_WEIGHTS).exists():
        raise AdapterError("adapter_unfinished", path=str(directory))
    return _adapter(directory)


def read_unfinished(directory: Path) -> Adapter:
    """The same of a run that has no adapter yet. Raises TrainError `nothing_to_resume` when there is no run."""
    return _adapter(directory)


@dataclass(frozen=True)
class Told:
    """What the directory of a run tells of it. `split`: numbers of examples; `history`: lines of metrics.jsonl."""

    base: Base
    base_sha256: str
    proposal: Proposal
    split: tuple[int, int, int]
    history: tuple[Mapping[str, Any], ...]

    @property
    def tokens_per_second(self) -> float | None:
        """The median over the updates."""
        speeds = sorted(line["tokens_per_second"] for line in self.history if "tokens_per_second" in line)
        return speeds[len(speeds) // 2] if speeds else None


def read_run(directory: Path) -> Told:
    """What is written of the run in `directory`. Raises TrainError `nothing_to_resume` when there is none."""
    told = read_plan(directory)
    base, estimate = told["base"], told["estimate"]
    pairs = {name: tuple(value) for name, value in estimate.items() if isinstance(value, list)}
    reasons = {name: Choice(c["value"], c["code"], c["source"], c["values"]) for name, c in told["reasons"].items()}
    sizes = [len(lines_of(directory / "data" / f"{part}.jsonl")) for part in PARTS]
    metrics = directory / "metrics.jsonl"
    lines = metrics.read_text("utf-8").splitlines() if metrics.exists() else []
    return Told(
        Base(base["name"], NO_SHAPE, source=base["source"], licence=base["licence"], path=Path(base["path"])),
        base["sha256"],
        Proposal(Plan.model_validate(told["plan"]), reasons, Estimate(**{**estimate, **pairs})),
        (sizes[0], sizes[1], sizes[2]),
        tuple(json.loads(line) for line in lines),
    )


def _is_run(directory: Path) -> bool:
    """Whether `directory` holds a run of ours, and not somebody's own plan.json."""
    try:
        told = read_json(directory / "plan.json")
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and {"postil", "plan", "base", "data"} <= set(told)


def proof_seconds(directory: Path) -> float:
    """How long the answers of base and tuned model will take after the training, as the plan has estimated it."""
    low, high = read_plan(directory)["estimate"].get("proof_seconds", (0.0, 0.0))
    return float(low + high) / 2


def budget_of(directory: Path) -> Budget:
    """What the plan says of the time that a run and its proof may take."""
    content = read_plan(directory)
    estimate = content["estimate"]
    return Budget(
        update=float(estimate.get("update_seconds", 0.0)),  # plans of older versions do not say
        proof=proof_seconds(directory),
        limit=60 * float(content["plan"].get("minutes", 0.0)),
        spent=sum(content.get("stages", {}).values()),
        fewest=max(FEWEST_UPDATES, -(-FEWEST_ROWS // content["plan"]["batch_size"])),
    )


def time_left_out(directory: Path) -> dict[str, list[Any]]:
    """What there was no time for: field of the plan, or "updates" -> [how many there are, how many there would be]."""
    content = read_plan(directory)
    changes = {name: [choice["value"], choice["values"]["rule"]] for name, choice in content["reasons"].items()
               if choice["code"] == f"fit_{name}"}  # fmt: skip
    if cuts := read_cuts(directory):
        rows, plan = len(lines_of(directory / "data" / "training.jsonl")), content["plan"]
        planned = -(-rows // plan["batch_size"]) * plan["n_epochs"]
        if cuts[-1][1] < planned:  # it may have been lengthened to the plan again
            changes["updates"] = [cuts[-1][1], planned]
    return changes


def threads_are_settled(directory: Path) -> bool:
    """Whether somebody has decided how many threads compute: what was measured may be measured again."""
    choice = read_plan(directory)["reasons"].get("threads", {})
    return choice.get("source") not in ("measured", "rule")


def read_plan(directory: Path) -> dict[str, Any]:
    """All that plan.json says. Raises TrainError `nothing_to_resume` when there is no run."""
    if not _is_run(directory):
        raise TrainError("nothing_to_resume", path=str(directory))
    told: dict[str, Any] = read_json(directory / "plan.json")
    return told


def _adapter(directory: Path) -> Adapter:
    told = read_plan(directory)
    base = told["base"]
    return Adapter(directory, base["name"], Path(base["path"]), base["sha256"], Plan.model_validate(told["plan"]))


def lines_of(file: Path) -> list[str]:
    """The lines of a JSONL file. Not `splitlines`: it also splits at characters that may stand inside a JSON text."""
    return [line for line in file.read_text("utf-8").split("\n") if line]


def _example(told: Mapping[str, Any]) -> Example:
    known = ("role", "content", "weight")
    messages = (
        Message(m["role"], m["content"], m.get("weight", 1.0), {k: v for k, v in m.items() if k not in known})
        for m in told["messages"]
    )
    return Example(
        tuple(messages), tuple(told["rows"]), tools=tuple(told.get("tools", ())), rejected=told.get("rejected")
    )


def _clear(directory: Path) -> None:
    """Remove what a run wrote, and nothing else."""
    for name in ("data", *KINDS):
        rmtree(directory / name, ignore_errors=True)
    for path in (directory / PLACE).glob("*"):
        if path.name not in (LOCK, HOLDER):  # which this process may hold
            rmtree(path, ignore_errors=True)
    ours = (
        "result.json",
        "evaluation.json",
        "metrics.jsonl",
        "plan.json",
        COURSE,
        ADAPTER_CONFIG,
        ADAPTER_WEIGHTS,
        LABELS,
    )
    for name in ours:
        (directory / name).unlink(missing_ok=True)

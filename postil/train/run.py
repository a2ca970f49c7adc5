"""A directory with a plan and its data becomes a directory with an adapter: the worker's program.

plan.json            the plan, its reasons, the base model and the hashes of the data
data/*.jsonl         training, validation and test examples, as they were split
metrics.jsonl        a line for each logged update
tensorboard/         the same as event files; wandb/, swanlab/, mlflow/ where they are switched on
checkpoints/         while it runs, and the last ones after that
adapter_*.{json,safetensors}, tokenizer files: a plain PEFT adapter
result.json          written last: a run is finished when it is there
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import rmtree
from typing import Any

import torch
import torch.distributed as dist

from postil import __version__
from postil.errors import AdapterError, ModelError, TrainError
from postil.model.adapt import CONFIG, METHODS, WEIGHTS, attach, config_bytes, put_weights, read_tensors, to_bytes
from postil.model.labelset import LABELS, Labels, labels_of, read_labels, write_labels
from postil.model.load import Loaded, load_planned, stored_dtypes
from postil.model.memory import peak_bytes
from postil.model.trust import fingerprint
from postil.records import (
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
from postil.settings import Ranks
from postil.store import read_json, sha256, write_bytes, write_json, write_text
from postil.train.checkpoint import Position, latest, whole
from postil.train.learner import Rows
from postil.train.loop import Loop
from postil.train.objectives import Objective, objective
from postil.train.progress import Emit, Progress
from postil.train.samples import Samples
from postil.train.trackers import KINDS, Trackers

NO_SHAPE = Shape(0, 0, 0, 0, 0, 0, 0, 0)  # of a base of which only name and place are written
PARTS = ("training", "validation", "test")
STORED_AS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}  # the words of safetensors
WITHIN = ("base_loss", "probe")  # stages that `seconds` holds and that are no training


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
            **({"start": {"path": str(start), "sha256": sha256(start / WEIGHTS)}} if start else {}),
        },
    )  # fmt: skip


def refuse_to_overwrite(directory: Path, *, force: bool) -> None:
    """Raise TrainError when `directory` is not free for a new run."""
    if _is_run(directory):
        if not force:
            finished = (directory / "result.json").exists()
            raise TrainError("run_finished" if finished else "run_unfinished", path=str(directory))
    elif directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
        raise TrainError("directory_not_empty", path=str(directory))


def examples_of(directory: Path, part: str) -> tuple[Example, ...]:
    """The examples of one part of the split of a run.

    Raises TrainError `data_changed` when the file is not the one that the run began with.
    """
    file = directory / "data" / f"{part}.jsonl"
    if not file.exists() or sha256(file) != _told(directory)["data"][part]:
        raise TrainError("data_changed", path=str(file))
    return tuple(_example(json.loads(line)) for line in _lines(file))


def has_examples(directory: Path) -> bool:
    """Whether the examples of a run lie beside it; those of an adapter that others made do not."""
    return bool(_lines(file)) if (file := directory / "data" / "training.jsonl").exists() else False


def read_adapter(directory: Path) -> Adapter:
    """What is known of the adapter in `directory`. Raises AdapterError when it is none, or not finished."""
    if not _is_run(directory):
        raise AdapterError("not_an_adapter", path=str(directory))
    if not (directory / WEIGHTS).exists():
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
    told = _told(directory)
    base, estimate = told["base"], told["estimate"]
    pairs = {name: tuple(estimate[name]) for name in ("seconds", "cost")}
    reasons = {name: Choice(c["value"], c["code"], c["source"], c["values"]) for name, c in told["reasons"].items()}
    sizes = [len(_lines(directory / "data" / f"{part}.jsonl")) for part in PARTS]
    metrics = directory / "metrics.jsonl"
    lines = metrics.read_text("utf-8").splitlines() if metrics.exists() else []
    return Told(
        Base(base["name"], NO_SHAPE, source=base["source"], licence=base["licence"], path=Path(base["path"])),
        base["sha256"],
        Proposal(Plan.model_validate(told["plan"]), reasons, Estimate(**{**estimate, **pairs})),
        (sizes[0], sizes[1], sizes[2]),
        tuple(json.loads(line) for line in lines),
    )


def run(
    directory: Path,
    emit: Emit,
    *,
    price_per_second: float = 0.0,
    stop: Callable[[], bool] = lambda: False,
    ranks: Ranks | None = None,
) -> dict[str, Any]:
    """Train what `prepare` laid out, from its newest checkpoint if there is one. Returns the result.

    Raises TrainError, DataError `labels_wrong` when the labels of any example would be wrong, and ModelError, among
    others `base_changed` when the base model is not the one that the run began with.
    """
    ranks = ranks or Ranks()
    told = _adapter(directory)
    plan = told.plan
    progress = Progress(directory, emit if ranks.rank == 0 else lambda event: None, price_per_second,
                        writes=ranks.rank == 0)  # fmt: skip
    with ExitStack() as leave:
        leave.enter_context(_together(ranks))
        if ranks.rank == 0:
            progress.trackers = Trackers(directory, plan, progress.tell)
            leave.callback(progress.trackers.close)
        progress.stage("prepare")
        torch.set_num_threads(plan.threads)
        torch.use_deterministic_algorithms(plan.device == "cpu")
        torch.utils.deterministic.fill_uninitialized_memory = False  # nothing reads what it has not written
        if ranks.world > 1 and plan.device == "cuda":
            torch.cuda.set_device(ranks.local_rank)
        with progress.timed("load"):
            loaded, learned, rows = _loaded(directory, told, progress)
        model = learned.model
        if ranks.rank == 0:
            _dress(directory, model, loaded)
        progress.stage("prepare", 1.0)
        samples = Samples(loaded, model, examples_of(directory, "validation"), told, progress)
        loop = Loop(learned, plan, rows["training"], rows["validation"], directory, progress, stop, ranks,
                    samples.show if ranks.rank == 0 else lambda step: None)  # fmt: skip
        position, best = loop.run()
        _check_base(told)  # its weights were mapped into memory: what was written into them meanwhile was trained on
        result = _result(directory, position, plan, len(rows["training"]), progress.seconds, progress.stages)
        if ranks.rank == 0:
            _publish(directory, best, result)
    return result


def keep(directory: Path) -> dict[str, Any]:
    """The best so far of a run that was stopped becomes its adapter. Returns the result, as `run` does.

    Raises TrainError `nothing_to_resume` when it has no checkpoint that is whole.
    """
    plan, saved = _adapter(directory).plan, latest(directory / "checkpoints")[0]
    if saved is None:
        raise TrainError("nothing_to_resume", path=str(directory))
    examples = len(_lines(directory / "data" / "training.jsonl"))
    result = _result(directory, saved.position, plan, examples, saved.position.seconds, {})
    _publish(directory, saved.best, result)
    return result


# ── the directory ──


def _is_run(directory: Path) -> bool:
    """Whether `directory` holds a run of ours, and not somebody's own plan.json."""
    try:
        told = read_json(directory / "plan.json")
    except (OSError, ValueError):
        return False
    return isinstance(told, dict) and {"postil", "plan", "base", "data"} <= set(told)


def _told(directory: Path) -> dict[str, Any]:
    if not _is_run(directory):
        raise TrainError("nothing_to_resume", path=str(directory))
    told: dict[str, Any] = read_json(directory / "plan.json")
    return told


def _adapter(directory: Path) -> Adapter:
    told = _told(directory)
    base = told["base"]
    return Adapter(directory, base["name"], Path(base["path"]), base["sha256"], Plan.model_validate(told["plan"]))


def _lines(file: Path) -> list[str]:
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
    for name in ("checkpoints", "data", *KINDS):
        rmtree(directory / name, ignore_errors=True)
    for name in ("result.json", "evaluation.json", "metrics.jsonl", CONFIG, WEIGHTS, LABELS, "plan.json"):
        (directory / name).unlink(missing_ok=True)


def _loaded(directory: Path, told: Adapter, progress: Progress) -> tuple[Loaded, Objective, dict[str, Rows]]:
    """The base, what is learned by a fresh adapter on it, and the sequences of the training and the validation part."""
    plan = told.plan
    _check_base(told)
    parts = {part: examples_of(directory, part) for part in PARTS}
    labels = labels_of(plan.task, parts["training"], parts["validation"])
    loaded = load_planned(told.base_path, plan, labels.names)
    write_labels(directory, labels)
    wanted = STORED_AS[plan.dtype]
    other = [name for name in sorted(stored_dtypes(told.base_path) - {wanted}) if name in STORED_AS.values()]
    if other and plan.device == "cpu":
        progress.tell("weights_converted", stored=", ".join(other), wanted=wanted)
    progress.stage("prepare", 0.5)
    every = [example for part in parts.values() for example in part]
    model = attach(loaded.model, plan, str(told.base_path))
    learned = objective(model, plan)
    rows: dict[str, Rows] = {part: learned.sequences(parts[part], loaded.template, every) for part in PARTS[:2]}
    start = METHODS[plan.method].start
    if start and not any(map(whole, (directory / "checkpoints").glob("step-*"))):
        with progress.timed("start"):
            start(model, plan, [s.ids for row in rows["training"] for s in row])
    _start_from(directory, model, labels)
    return loaded, learned, rows


def _check_base(told: Adapter) -> None:
    if not told.base_path.is_dir() or fingerprint(told.base_path) != told.base_sha256:
        raise ModelError("base_changed", name=told.base, path=str(told.base_path))


def _start_from(directory: Path, model: Any, labels: Labels) -> None:
    """Give a fresh adapter the weights that the run is to go on from, if there are any.

    Raises AdapterError `labels_differ` when it told other labels apart: its head would mean something else.
    """
    start = _told(directory).get("start")
    if not start:
        return
    file = Path(start["path"]) / WEIGHTS
    if not file.exists() or sha256(file) != start["sha256"]:
        raise TrainError("data_changed", path=str(file))
    if labels.names and read_labels(file.parent).names != labels.names:
        raise AdapterError("labels_differ", path=str(file.parent))
    put_weights(model, read_tensors(file))


def _dress(directory: Path, model: Any, loaded: Loaded) -> None:
    """All of an adapter but its weights: with them, any checkpoint is one."""
    loaded.tokenizer.save_pretrained(str(directory))
    write_bytes(directory / CONFIG, config_bytes(model))


def _result(
    directory: Path, position: Position, plan: Plan, examples: int, seconds: float, stages: Mapping[str, float]
) -> dict[str, Any]:
    before = {**_told(directory).get("stages", {}), **stages}
    apart = sum(stages.get(name, 0.0) for name in WITHIN)
    return {
        "adapter": str(directory),
        "updates": position.step,
        "epochs": round(position.step * plan.batch_size / max(1, examples), 2),
        "best_update": position.best_step,
        "learning_rate": position.learning_rate,
        "seconds": round(seconds, 2),
        "trained_tokens": position.trained_tokens,
        "trained_parameters": position.trained_parameters,
        "peak_rss_bytes": peak_bytes(),
        "validation_loss": {"base": position.base_loss, "tuned": position.best_loss},
        "stages": {name: round(took, 2) for name, took in {**before, "train": seconds - apart}.items()},
    }


def _publish(directory: Path, best: Mapping[str, torch.Tensor], result: Mapping[str, Any]) -> None:
    write_bytes(directory / WEIGHTS, to_bytes(dict(best)))
    write_json(directory / "result.json", result)


@contextmanager
def _together(ranks: Ranks) -> Iterator[None]:
    """A process group when there is more than one process."""
    with ExitStack() as leave:
        if ranks.world > 1:
            dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo")
            leave.callback(dist.destroy_process_group)
        yield

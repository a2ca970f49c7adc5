"""A directory with a plan and its data (`train/directory.py`) becomes one with an adapter: the worker's program."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from postil.errors import AdapterError, ModelError, TrainError
from postil.model.adapt import CONFIG, METHODS, WEIGHTS, attach, config_bytes, put_weights, read_tensors, to_bytes
from postil.model.labelset import Labels, labels_of, read_labels, write_labels
from postil.model.load import Loaded, load_planned, stored_dtypes
from postil.model.memory import peak_bytes, usable_cores
from postil.model.neighbours import Neighbours
from postil.model.trust import fingerprint
from postil.records import Adapter, Plan
from postil.settings import Ranks
from postil.store import sha256, write_bytes, write_json
from postil.train.anchor import Anchor, texts_of
from postil.train.batches import Schedule
from postil.train.checkpoint import Position, latest, whole
from postil.train.course import Course
from postil.train.crew import Crew
from postil.train.directory import (
    PARTS,
    budget_of,
    examples_of,
    lines_of,
    proof_seconds,
    read_plan,
    read_unfinished,
    threads_are_settled,
)
from postil.train.helm import Helm
from postil.train.learner import Rows
from postil.train.loop import Loop
from postil.train.objectives import Objective, objective
from postil.train.pace import Pace
from postil.train.progress import WITHIN, Emit, Progress
from postil.train.samples import Samples
from postil.train.trackers import Trackers

STORED_AS = {"float32": "F32", "bfloat16": "BF16", "float16": "F16"}  # the words of safetensors


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
    told = read_unfinished(directory)
    plan = told.plan
    progress = Progress(
        directory,
        emit if ranks.rank == 0 else lambda event: None,
        price_per_second,
        writes=ranks.rank == 0,
        afterwards=proof_seconds(directory),
    )
    with ExitStack() as leave:
        leave.enter_context(_together(ranks))
        if ranks.rank == 0:
            progress.trackers = Trackers(directory, plan, progress.tell)
            leave.callback(progress.trackers.close)
        progress.stage("prepare")
        torch.set_num_threads(plan.threads)
        torch.use_deterministic_algorithms(plan.device == "cpu")
        # nothing reads what it has not written
        torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
        if ranks.world > 1 and plan.device == "cuda":
            torch.cuda.set_device(ranks.local_rank)
        with progress.timed("load"):
            loaded, learned, rows = _loaded(directory, told, progress)
        model = learned.model
        if ranks.rank == 0:
            _dress(directory, model, loaded)
        progress.stage("prepare", 1.0)
        samples = Samples(loaded, model, examples_of(directory, "validation"), told, progress)
        anchor = _anchor(directory, plan, replace(loaded, model=model), progress, ranks)
        helm = _helm(directory, plan, len(rows["training"]), progress, ranks)
        loop = Loop(
            learned,
            plan,
            rows["training"],
            rows["validation"],
            directory,
            progress,
            stop,
            ranks,
            samples.show if ranks.rank == 0 else lambda step: None,
            helm,
            anchor=anchor,
        )
        position, best = loop.run()
        _check_base(told)  # its weights were mapped into memory: what was written into them meanwhile was trained on
        result = _result(directory, position, plan, len(rows["training"]), progress.seconds, progress.stages)
        result["proof_share"] = round(helm.proof_share(), 3)
        if ranks.rank == 0:
            _publish(directory, best, result)
    return result


def _helm(directory: Path, plan: Plan, examples: int, progress: Progress, ranks: Ranks) -> Helm:
    """What may end the run sooner, or let other threads compute. Several processes would have to agree: they do not."""
    budget = budget_of(directory)
    budget = replace(budget, spent=budget.spent + progress.stages.get("load", 0.0))
    if ranks.world > 1:
        budget = replace(budget, limit=0.0)
    crew = None
    if ranks.world == 1 and plan.device == "cpu" and not threads_are_settled(directory):
        crew = Crew(plan.threads, usable_cores(), Neighbours())
    course = Course(directory, writes=ranks.rank == 0)
    return Helm(Schedule(examples, plan), course, Pace(budget), crew, progress)


def _anchor(directory: Path, plan: Plan, loaded: Loaded, progress: Progress, ranks: Ranks) -> Anchor | None:
    """What keeps the model near its base, where the plan wants that."""
    if not plan.kl_weight:
        return None
    with progress.timed("own_texts"):
        if ranks.rank == 0:
            texts_of(directory, loaded, plan.seed)
        if ranks.world > 1:
            dist.barrier()
        return Anchor(loaded.model, texts_of(directory, loaded, plan.seed), plan.device)


def keep(directory: Path) -> dict[str, Any]:
    """The best so far of a run that was stopped becomes its adapter. Returns the result, as `run` does.

    Raises TrainError `nothing_to_resume` when it has no checkpoint that is whole.
    """
    plan, saved = read_unfinished(directory).plan, latest(directory / "checkpoints")[0]
    if saved is None:
        raise TrainError("nothing_to_resume", path=str(directory))
    examples = len(lines_of(directory / "data" / "training.jsonl"))
    result = _result(directory, saved.position, plan, examples, saved.position.seconds, {})
    _publish(directory, saved.best, result)
    return result


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
    start = read_plan(directory).get("start")
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
    before = {**read_plan(directory).get("stages", {}), **stages}
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

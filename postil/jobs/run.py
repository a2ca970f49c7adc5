"""What a worker does for each kind of job, and how its end is written."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil import flow, judging
from postil.errors import ModelError, PostilError, TrainError
from postil.jobs.attempt import RUN, STORAGE_FULL, Desk
from postil.locales import LANGUAGES
from postil.records import Event, Plan
from postil.store import FULL, in_our_words, read_json, sha256

if TYPE_CHECKING:
    from postil.records import Dataset, Left

MOST_NAMED = 20  # rows in one event
RETRIED = ("storage_full", "storage_broken")  # the disk's fault, not the job's
NAMES = {  # of ours in the words of the API
    "too_few_examples": "invalid_n_examples",
    "labels_wrong": "no_trainable_tokens",
    "diverged": "diverged",
    "out_of_memory": "out_of_memory",
    "memory_short": "out_of_memory",
    "model_memory": "out_of_memory",
    **dict.fromkeys(RETRIED, "storage_full"),
}


def work(spec: Mapping[str, Any], desk: Desk) -> int:
    """Do what `spec` says and write the outcome."""
    try:
        with in_our_words():
            outcome = KINDS[spec["kind"]](spec, desk)
            desk.end("succeeded" if "outcome" not in outcome else outcome.pop("outcome"), **outcome)
    except PostilError as error:
        return _failed(error, desk)
    except (MemoryError, RuntimeError) as error:
        from postil.model.memory import lacks_memory

        if not lacks_memory(error):
            raise
        return _failed(TrainError("memory_short", batch_size=_batch_size(desk.directory / RUN)), desk)
    return 0


def _batch_size(run: Path) -> int:
    """Half of the plan's, which is what to try next; 1 when there is no plan yet."""
    try:
        return max(1, int(read_json(run / "plan.json")["plan"]["batch_size"]) // 2)
    except (OSError, ValueError):
        return 1


def _failed(error: PostilError, desk: Desk) -> int:
    if error.code == "interrupted":
        desk.end("paused" if desk.wish == "pause" else "stopped")
        return 0
    try:
        desk.end(
            "failed",
            code=_name(error),
            postil=error.code,
            kind=type(error).__name__,
            message=error.cause("en"),
            remedy=error.remedy("en"),
            values=error.values,
            rows=list(error.rows),
            retryable=error.code in RETRIED,
        )
    except OSError as fault:
        return STORAGE_FULL if fault.errno in FULL else 1
    return 0


def _name(error: PostilError) -> str:
    if error.code in NAMES:
        return NAMES[error.code]
    return "model_load_failed" if isinstance(error, ModelError) else "invalid_training_file"


# ── training ──


def training(spec: Mapping[str, Any], desk: Desk) -> dict[str, Any]:
    """Check and plan (the phase `validate`), or train, evaluate and publish in the attempt's own directory."""
    from postil import train
    from postil.jobs.carry import carry

    run = desk.directory / RUN
    step, damaged = carry(desk.directory, [Path(one) for one in spec["earlier"]])
    if step < 0:
        _lay_out(spec, desk, run)
    if spec["phase"] == "validate":
        return {"outcome": "validated", **_planned(run)}
    for event in damaged:
        desk.emit(event)
    train.order_trackers(run, _trackers(spec))
    try:
        result = flow.resume(run, desk.emit, stop=desk.stops)
    except TrainError as error:
        if error.code != "interrupted" or desk.wish != "keep":
            raise
        result = _kept(run, desk, error.values["step"])
    _keep_test(run)
    return {"result": result, "files": _files(run)}


def _trackers(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Where the order wants its curves to be shown; without a name there, they have the job's."""
    wanted = {one["type"]: one.get(one["type"], {}) for one in spec.get("integrations", ())}
    return {name: {"name": spec["job"], **told} for name, told in wanted.items()}


def _keep_test(run: Path) -> None:
    """The test part stays with the adapter: an evaluation set can be made of it later."""
    test = run / "data" / "test.jsonl"
    if test.exists() and test.stat().st_size:
        (run / "test.jsonl").write_bytes(test.read_bytes())


def _kept(run: Path, desk: Desk, step: int) -> dict[str, Any]:
    """Stop and keep: the best so far is the result, proven like any other."""
    from postil import train

    train.keep(run)
    desk.emit(Event("message", {"code": "kept", "step": step}, "warn"))
    return flow.finish(run, desk.emit, lambda: False, None)


def _lay_out(spec: Mapping[str, Any], desk: Desk, run: Path) -> None:
    inputs = {name: _input(one) for name, one in spec["inputs"].items()}
    base = flow.find_base(spec["base"])
    if base.path is None:
        raise ModelError("base_missing", name=base.name)
    reading = flow.Reading(**spec["reading"])
    dataset = flow.check(inputs["training"], reading)
    validation = flow.check(inputs["validation"], reading.of_another_file()) if "validation" in inputs else None
    for checked in (dataset, validation):
        if checked is not None:
            _tell_left_out(checked, desk)
    start = Path(spec["adapter"]) if spec["adapter"] else None
    prepared = flow.plan(
        dataset,
        base,
        preset=spec["preset"],
        validation=validation,
        measure=spec["measure"],
        output=desk.directory,
        settings={"seed": str(spec["seed"]), **_shape_of(start), **spec["settings"]},
        rate_multiplier=spec["learning_rate_multiplier"],
    )
    flow.lay_out(prepared, run, start=start)


def _tell_left_out(dataset: Dataset, desk: Desk) -> None:
    """Which rows cannot be learned from, and why: an event for each kind of reason."""
    reasons: dict[str, list[Left]] = {}
    for left in dataset.dropped:
        if left.code != "left_out_by_user":
            reasons.setdefault(left.code, []).append(left)
    for code, rows in reasons.items():
        numbers = ", ".join(str(left.row) for left in rows[:MOST_NAMED]) + (", …" if len(rows) > MOST_NAMED else "")
        desk.emit(
            Event(
                "message",
                {
                    "code": "rows_left_out",
                    "reason": code,
                    "file": dataset.path.name,
                    "n": len(rows),
                    "rows": dataset.rows,
                    "numbers": numbers,
                    "why": {lang: rows[0].message(lang) for lang in LANGUAGES},
                },
                "warn",
            )
        )


def _shape_of(start: Path | None) -> dict[str, str]:
    """An adapter that goes on keeps its rank, its scale and its layers."""
    if start is None:
        return {}
    plan = Plan.model_validate(read_json(start / "plan.json")["plan"])
    return {"r": str(plan.r), "lora_alpha": str(plan.lora_alpha), "target_modules": plan.target_modules}


def _input(told: Mapping[str, str]) -> Path:
    """A file of the order, which must be the one that was ordered."""
    path = Path(told["path"])
    if not path.exists() or sha256(path) != told["sha256"]:
        raise TrainError("data_changed", path=str(path))
    return path


def _planned(run: Path) -> dict[str, Any]:
    """What the plan says, for the job's row."""
    told = read_json(run / "plan.json")
    estimate = told["estimate"]
    examples = {
        name: len((run / "data" / f"{name}.jsonl").read_text("utf-8").split("\n")) - 1
        for name in ("training", "validation", "test")
    }
    return {
        "plan": told["plan"],
        "estimate": estimate,
        "examples": examples,
        "needs": {
            "memory_mb": estimate["host_bytes"] >> 20,
            "cpus": told["plan"]["threads"],
            "gpus": 1 if told["plan"]["device"] == "cuda" else 0,
        },
    }


def _files(directory: Path) -> dict[str, str]:
    """The files that are published, with their hashes."""
    return {file.name: sha256(file) for file in sorted(directory.iterdir()) if file.is_file()}


# ── evaluation, answers ──


def evaluation(spec: Mapping[str, Any], desk: Desk) -> dict[str, Any]:
    """Base and tuned answer the questions of a file; it comes back with the answers and their scores beside it."""
    source, reading = _input(spec["inputs"]["training"]), flow.Reading(**spec["reading"])
    found = flow.evaluate(Path(spec["adapter"]), source, reading, desk.emit)
    file = desk.directory / RUN / "evaluation.json"
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(found.as_json(), ensure_ascii=False, indent=2) + "\n", "utf-8")
    flow.write_scores(file.with_suffix(".xlsx"), found, path=source, reading=reading)
    result = {"base": dict(found.base), "tuned": dict(found.tuned), **found.judged(), "rows": len(found.rows)}
    return {"result": result, "files": _files(file.parent)}


def answers(spec: Mapping[str, Any], desk: Desk) -> dict[str, Any]:
    """The user's own sheet, with the model's answers as a new column; goes on where an earlier attempt stood."""
    source = _input(spec["inputs"]["training"])
    output = desk.directory / RUN / "answers.xlsx"
    output.parent.mkdir(exist_ok=True)
    before = next(
        (one / RUN / output.name for one in map(Path, spec["earlier"]) if (one / RUN / output.name).exists()), None
    )
    if before is not None:
        output.write_bytes(before.read_bytes())
    result = flow.answer(Path(spec["adapter"]), source, output, flow.Reading(**spec["reading"]), desk.emit)
    return {"result": {**result, "output": output.name}, "files": _files(output.parent)}


def judgement(spec: Mapping[str, Any], desk: Desk) -> dict[str, Any]:
    """A judge compares the answers in a file of rows; goes on where an earlier attempt stood."""
    from postil.dataset import write_scores

    lines = _input(spec["inputs"]["training"]).read_text("utf-8").split("\n")
    rows, wanted = [json.loads(line) for line in lines if line], spec["settings"]
    run = desk.directory / RUN
    run.mkdir(exist_ok=True)
    notes = run / "judging.jsonl"
    before = next(
        (one / RUN / notes.name for one in map(Path, spec["earlier"]) if (one / RUN / notes.name).exists()), None
    )
    if before is not None:
        notes.write_bytes(before.read_bytes())
    made = flow.judge(
        rows,
        wanted["judge"],
        wanted["kind"],
        prompt=wanted["prompt"],
        criteria=wanted["criteria"],
        notes=notes,
        emit=desk.emit,
    )
    told = made.as_json()
    (run / "judgement.json").write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", "utf-8")
    write_scores(run / "judgement.xlsx", *judging.score_table(None, rows, made))
    files = {name: digest for name, digest in _files(run).items() if name != notes.name}
    return {"result": {**{name: told[name] for name in SUMMARY}, "rows": len(rows)}, "files": files}


# ── base models ──


def base(spec: Mapping[str, Any], desk: Desk) -> dict[str, Any]:
    """A base model of the catalogue comes onto this machine; what an earlier attempt has downloaded is used."""

    def tell(words: str, share: float | None) -> None:
        done = {} if share is None else {"percent": round(100 * share, 1)}
        desk.emit(Event("stage", {"stage": "fetch", "what": words, **done}))

    found = flow.fetched(flow.find_base(spec["base"]), tell)
    return {"result": {"base": found.name}, "files": {}}


# ── export ──


def export(spec: Mapping[str, Any], desk: Desk) -> dict[str, Any]:
    """A model as files for others, in one archive; its certificate stands in the result."""
    told, run = spec["settings"], desk.directory / RUN
    run.mkdir(exist_ok=True)
    made = flow.export(
        Path(spec["adapter"]),
        told["to"],
        desk.directory / "export",
        type=told.get("type"),
        name=told.get("name"),
        emit=desk.emit,
    )
    flow.pack(desk.directory / "export", run / f"{made['name']}-{told['to']}.zip")
    result = {name: value for name, value in made.items() if name not in ("output", "files")}
    return {"result": {**result, "contents": made["files"]}, "files": _files(run)}


SUMMARY = ("judge", "preference", "agreement", "first_share", "unclear", "base_mark", "tuned_mark")
KINDS = {
    "training": training,
    "evaluation": evaluation,
    "answers": answers,
    "judgement": judgement,
    "base": base,
    "export": export,
}

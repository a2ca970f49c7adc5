"""What Postil does, told in six verbs: import → plan → train → evaluate → export → serve.

Rooms are imported where they are needed, so that looking at a file loads no model library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil import asking, exporting, judging
from postil.adopting import adopted, is_adapter
from postil.asking import Comparison
from postil.bases import (
    add_base,
    advice_on_base,
    fetched,
    find_base,
    fingerprint,
    on_its_base,
    open_adapter,
    recommended_base,
    template_of,
    thinks,
)
from postil.errors import DataError
from postil.exporting import pack
from postil.records import (
    Base,
    Counts,
    Dataset,
    Evaluation,
    Event,
    Finding,
    Issue,
    Kind,
    Proposal,
    Split,
    Target,
)
from postil.settings import EMBEDDED, Ranks, Settings, quiet

if TYPE_CHECKING:
    from postil.dataset import Raw
    from postil.evaluate import Judgement, Tally
    from postil.model.probe import Ask
    from postil.model.template import Template
    from postil.plan import Given

__all__ = [
    "EMBEDDED",
    "Comparison",
    "Emit",
    "Prepared",
    "Reading",
    "Stop",
    "add_base",
    "adopted",
    "advice_on_base",
    "answer",
    "check",
    "count_votes",
    "diagnose",
    "evaluate",
    "export",
    "fetched",
    "find_base",
    "fingerprint",
    "finish",
    "is_adapter",
    "judge",
    "judge_run",
    "keep",
    "lay_out",
    "open_adapter",
    "pack",
    "parity",
    "plan",
    "price_per_second",
    "recommended_base",
    "report",
    "resume",
    "train",
    "vote_sheet",
    "write_scores",
    "xray",
]

Emit = Callable[[Event], None]
Stop = Callable[[], bool]  # whether a person wants the run to stop after the present update


@dataclass(frozen=True)
class Reading:
    """How a file is to be read: what the user knows better than the detection, and what he has put right in it."""

    sheet: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)  # role -> column letter, header or key
    system: str | None = None
    instruction: str | None = None
    mask: bool = False
    edits: Mapping[str, str] = field(
        default_factory=dict
    )  # address of a text (B7, 12:answer) -> what shall stand there
    without: Sequence[int] = ()  # numbers of rows to leave out
    task: str | None = None  # what is to be learned, where that changes what an example is

    def of_another_file(self) -> Reading:
        """The same without what was put right: that is of one file alone."""
        return replace(self, edits={}, without=())


@dataclass(frozen=True)
class Prepared:
    """All that a run needs, before it begins."""

    dataset: Dataset
    split: Split
    base: Base
    counts: Counts
    proposal: Proposal
    doubts: tuple[Issue, ...]  # what stands against it on this machine
    stages: Mapping[str, float] = field(default_factory=dict)  # seconds of what was done for it, by name


# ── import ────────────────────────────────────────────────────────────────────────────────────────


def check(path: Path, reading: Reading = Reading(), base: str | None = None) -> Dataset:
    """A file becomes a checked data set; with `base`, the labels of every example are proven with its tokenizer."""
    from postil import dataset as data

    raw = data.read(path, reading.sheet)
    found = data.load(raw, mask=reading.mask, edits=reading.edits, without=reading.without, **options(raw, reading))
    return against(base, data.for_task(found, reading.task), reading.task)


def options(raw: Raw, reading: Reading) -> dict[str, Any]:
    """What `dataset.load` is told of a file besides its corrections: `system` may name a column of it, or "-": none."""
    from postil import dataset as data

    columns, system = dict(reading.columns), reading.system
    if system and (system == "-" or data.has_column(raw, system, reading.sheet)):
        columns, system = {**columns, "system": system}, None
    return {"sheet": reading.sheet, "columns": columns, "system": system, "instruction": reading.instruction}


def against(base: str | None, found: Dataset, task: str | None = None) -> Dataset:
    """The data set, held against the labels that a base model's template gives it. task: None: what the data says."""
    if base is None:
        return found
    from postil.dataset import with_actions
    from postil.model.proof import with_issues
    from postil.plan import longest, task_of

    model = fetched(find_base(base))
    task = task or task_of(found.examples, model)[0]
    template = template_of(model, thinks(found.examples), task)
    return with_actions(with_issues(found, template, longest(task, model.shape.context), task))


def xray(path: Path, base: str, reading: Reading = Reading(), max_length: int | None = None) -> dict[str, Any]:
    """For every example: which tokens are learned, ignored, or cut, and whether the end of the answer is learned."""
    from postil.model.xray import look
    from postil.plan import longest, task_of

    dataset, found = check(path, reading), fetched(find_base(base))
    task = reading.task or task_of(dataset.examples, found)[0]
    template = template_of(found, thinks(dataset.examples), task)
    return look(dataset.examples, template, max_length or longest(task, found.shape.context), task)


# ── plan ──────────────────────────────────────────────────────────────────────────────────────────


def plan(
    dataset: Dataset,
    base: Base,
    *,
    preset: str | None = None,
    settings: Mapping[str, str] | None = None,
    validation: Dataset | None = None,
    test: Dataset | None = None,
    measure: bool = True,
    skip_faulty: bool = False,
    output: Path | None = None,
    given: Given | None = None,
    rate_multiplier: float | None = None,
) -> Prepared:
    """Checked examples, a base model and this machine become decided numbers, each with its reason.

    `given`: an earlier plan, taken as it is but for `settings`; then nothing is measured. `rate_multiplier`: of the
    learning rate that would be chosen.
    """
    from postil import dataset as data
    from postil import plan as room

    begun = time.monotonic()
    room.preset(preset)  # a name that there is not, and a wrong value, are told before anything is measured
    wishes = {"system": dataset.system, "instruction": dataset.instruction, **room.check_settings(settings or {})}
    wishes = {name: value for name, value in wishes.items() if value is not None}
    kept = given.values if given else {}
    with ExitStack() as leave:
        ask = leave.enter_context(_measuring()) if measure and base.path and not given else None
        from postil.drafting import Draft, Wish  # loads libraries for seconds: the child has begun to do the same

        task = room.settled_task(dataset.examples, base, {**kept, **wishes})
        dataset = data.for_task(dataset, task)
        thinking = {"thinking": thinks(dataset.examples), **kept, **wishes}["thinking"]
        limit = room.longest(task, base.shape.context, {**kept, **wishes})
        template = template_of(base, thinking, task) if base.path else None
        if template:
            dataset = _proven(dataset, template, limit, task, skip_faulty)
        data.require_enough(dataset)
        draft = Draft(dataset, base, task, template, limit, Wish(preset, wishes, kept, validation, test), output)
        if ask and template:
            draft.measure(ask)
        if rate_multiplier:
            draft.multiply_rate(rate_multiplier)
        draft.fit_into_time(begun)
        hints = room.suggestions(task, dataset.examples, tagged=data.looks_tagged(dataset.examples))
        proposal = draft.proposal()
        doubts = (
            *draft.doubts,
            *room.doubts(proposal.plan, draft.counts, proposal.estimate, draft.machine),
            *hints,
            *_marks(dataset, template),
        )
        measured = draft.stages
        planned = {"plan": time.monotonic() - begun - sum(measured.values())} if measured else {}
        return Prepared(dataset, draft.split, base, draft.counts, proposal, doubts, {**measured, **planned})


def _proven(dataset: Dataset, template: Template, max_length: int, task: str, skip_faulty: bool) -> Dataset:
    """The data set, if the labels of all its examples are right; or what is left of it without those that are not."""
    from postil.model.proof import without_faulty
    from postil.model.tokenised import tokenised

    if skip_faulty:
        dataset = without_faulty(dataset, template, max_length, task)
    tokenised(dataset.examples, template, max_length, task=task)
    return dataset


def _marks(dataset: Dataset, template: Template | None) -> tuple[Issue, ...]:
    from postil.model.proof import doubt_of_marks

    return doubt_of_marks(dataset.examples, template) if template else ()


def _measuring() -> AbstractContextManager[Ask]:
    """The child process that will measure: its libraries load while the data is read."""
    from postil.model.probe import begun

    return begun()


# ── train ─────────────────────────────────────────────────────────────────────────────────────────


def train(
    prepared: Prepared, output: Path, emit: Emit, *, force: bool = False, stop: Stop = lambda: False
) -> dict[str, Any]:
    """A plan becomes an adapter in `output`, with its proof and its report."""
    from postil import train as room

    room.refuse_to_overwrite(output, force=force)
    with room.in_use(output):
        lay_out(prepared, output, force=force)
        return finish(output, emit, stop, prepared.dataset)


def lay_out(prepared: Prepared, output: Path, *, force: bool = False, start: Path | None = None) -> None:
    """Write down in `output` all that a training needs, for `resume` to begin it. `start`: an adapter to go on from."""
    from postil import train as room

    dataset, base = prepared.dataset, prepared.base
    source = {
        "path": str(dataset.path.resolve()),
        "sha256": dataset.sha256,
        "check": _summary(dataset),
        "system": dataset.system,
        "instruction": dataset.instruction,
        "columns": dict(dataset.columns),
        "column_names": dict(dataset.column_names),
    }
    room.prepare(
        output,
        prepared.proposal,
        base,
        fingerprint(base),
        prepared.split,
        source,
        force=force,
        start=start,
        stages=prepared.stages,
    )


def resume(output: Path, emit: Emit, path: Path | None = None, *, stop: Stop = lambda: False) -> dict[str, Any]:
    """Go on with an unfinished run, from its newest checkpoint. `path`: the data file, which must be unchanged."""
    from postil import train as room
    from postil.errors import TrainError
    from postil.store import read_json, sha256

    _require_a_run(output)
    if path and (not path.is_file() or sha256(path) != read_json(output / "plan.json")["data"]["sha256"]):
        raise TrainError("data_changed", path=str(path))
    on_its_base(room.read_unfinished(output))
    if Ranks().rank:  # the process that writes holds it for all
        return finish(output, emit, stop, None)
    with room.in_use(output):
        return finish(output, emit, stop, None)


def keep(output: Path, emit: Emit) -> dict[str, Any]:
    """End an unfinished run where it stands: the best that it has learned so far is the adapter, proven like any other.

    Raises TrainError `nothing_to_resume` when it has not learned anything yet, `run_in_use` while it goes on.
    """
    from postil import train as room

    _require_a_run(output)
    on_its_base(room.read_unfinished(output))
    with room.in_use(output):
        if not (output / "result.json").exists():
            room.keep(output)
        return finish(output, emit, lambda: False, None)


def _require_a_run(output: Path) -> None:
    from postil.errors import TrainError

    if not (output / "plan.json").exists():
        raise TrainError("nothing_to_resume", path=str(output))


def finish(output: Path, emit: Emit, stop: Stop, dataset: Dataset | None) -> dict[str, Any]:
    """Train what is laid out in `output`, prove it on the test part, write the report."""
    quiet()
    from postil import train as room
    from postil.store import read_json, write_json

    done = output / "result.json"
    result: dict[str, Any] = (
        read_json(done) if done.exists() else room.run(output, emit, price_per_second=price_per_second(), stop=stop)
    )
    if Ranks().rank:
        return result
    started = time.monotonic()
    evaluation = None
    left_out = room.time_left_out(output)
    if questions := len(room.examples_of(output, "test")):
        most = _test_questions(questions, result)
        if most < questions:
            emit(Event("message", {"code": "proof_shortened", "n": most, "of": questions}, "warn"))
            left_out["test_rows"] = [most, questions]
        evaluation = evaluate(output, emit=emit, most=most)
        result = {**result, **evaluation.judged()}
    result["left_out"] = left_out
    result["evaluation_seconds"] = round(time.monotonic() - started, 2)
    result["stages"] = {**result.get("stages", {}), "evaluate": result["evaluation_seconds"]}
    report(output, result, evaluation, dataset)
    write_json(done, result)
    emit(Event("done", {"percent": 100.0, "path": str(output)}))
    return result


def _test_questions(n: int, result: Mapping[str, Any]) -> int:
    """For how many of them there is time after the training; never so few that no verdict is possible."""
    from postil.plan import FEWEST_TEST

    return min(n, max(FEWEST_TEST, round(n * float(result.get("proof_share", 1.0)))))


def price_per_second() -> float:
    """What this machine costs, in the settings' currency."""
    from postil.plan import cost

    return cost(3600.0, Settings()) / 3600.0


def _summary(dataset: Dataset) -> dict[str, Any]:
    told = dataset.as_json()
    names = ("format", "encoding", "sheet", "rows", "used", "not_data", "examples")
    return {**{name: told[name] for name in names}, "edited": dataset.edited, "left_out": dataset.left_out}


# ── evaluate ──────────────────────────────────────────────────────────────────────────────────────


def evaluate(
    directory: Path,
    path: Path | None = None,
    reading: Reading = Reading(),
    emit: Emit = lambda event: None,
    most: int | None = None,
) -> Evaluation:
    """Base and tuned answer the same questions: those of the test part, or of a file; at most the first `most`."""
    quiet()
    from postil import evaluate as room
    from postil import train as training
    from postil.model.pair import open_pair
    from postil.plan import check_rows
    from postil.store import write_json

    adapter = open_adapter(directory)
    if path:
        reading = replace(
            reading,
            system=reading.system or adapter.plan.system,
            instruction=reading.instruction or adapter.plan.instruction,
            task=adapter.plan.task,
        )
        examples = check(path, reading).examples
    else:
        examples = training.examples_of(directory, "test")
    if not examples:
        raise DataError("nothing_to_evaluate", path=str(path or directory))
    check_rows(adapter.plan.task, examples)
    examples = examples[:most]

    told_at: list[float] = []  # of the answers

    def tell(what: str, share: float) -> None:
        percent = _EVALUATED[what](share)
        data: dict[str, Any] = {"stage": "evaluate", "what": what, "percent": round(percent, 1)}
        if what != "neutral":
            told_at.append(time.monotonic())
            done = (percent - _ASKED_FROM) / (100 - _ASKED_FROM)
            if done >= _ENOUGH:
                data["seconds_left"] = round((told_at[-1] - told_at[0]) / done * (1 - done), 1)
        emit(Event("stage", data))

    learned = training.examples_of(directory, "training") if training.has_examples(directory) else ()
    plan = adapter.plan
    evaluation = room.evaluate(open_pair(adapter), examples, plan.metric, plan.task, tell, learned, plan.kind)
    if not path:
        write_json(directory / "evaluation.json", evaluation.as_json())
    return evaluation


_ENOUGH = 0.1  # of the answers, before it is said how long the others will take
_ASKED_FROM = 84  # percent
_EVALUATED: Mapping[str, Callable[[float], float]] = {
    "neutral": lambda share: 82 + 2 * share,
    "base": lambda share: _ASKED_FROM + 8 * share,
    "tuned": lambda share: 92 + 8 * share,
}


def answer(
    directory: Path,
    path: Path,
    output: Path,
    reading: Reading = Reading(),
    emit: Emit = lambda event: None,
) -> dict[str, Any]:
    """The user's own sheet back, with the tuned model's answers as a new column. Called again, it goes on."""
    column = reading.columns.get("question")
    return asking.answer(directory, path, output, sheet=reading.sheet, column=column, emit=emit)


def judge(
    rows: Sequence[Mapping[str, Any]],
    named: str,
    kind: Kind = "service_qa",
    *,
    prompt: str = "",
    criteria: str = "",
    notes: Path | None = None,
    emit: Emit = lambda event: None,
) -> Judgement:
    """Let a judge (`local:MODEL` or `endpoint`) compare "base" and "tuned" of each row, in both orders."""
    quiet()
    return judging.judge(rows, named, kind, prompt=prompt, criteria=criteria, notes=notes, emit=emit)


def judge_run(
    directory: Path,
    found: Evaluation,
    named: str,
    prompt: Path | None = None,
    criteria: str = "",
    emit: Emit = lambda event: None,
) -> Judgement:
    """Let a judge compare the answers of a run's evaluation; broken off, it goes on when it is called again.

    prompt: a file with the user's own. The judgement also stands in the run's judgement.json.
    """
    from postil.evaluate import read_case
    from postil.store import write_json

    own = judging.read_prompt(prompt) if prompt else ""
    made = judge(
        found.rows,
        named,
        read_case(directory).plan.kind,
        prompt=own,
        criteria=criteria,
        notes=directory / "judging.jsonl",
        emit=emit,
    )
    write_json(directory / "judgement.json", made.as_json())
    return made


def vote_sheet(directory: Path, found: Evaluation, output: Path) -> dict[str, Any]:
    """A sheet for one rater, with the answers of a run's evaluation and without a hint whose they are."""
    return judging.vote_sheet(directory, found.rows, output)


def count_votes(directory: Path, found: Evaluation, sheets: Sequence[Path]) -> Tally:
    """What the sheets that came back say together."""
    return judging.count_votes(directory, found.rows, sheets)


def write_scores(
    output: Path,
    found: Evaluation,
    judgement: Judgement | None = None,
    tally: Tally | None = None,
    path: Path | None = None,
    reading: Reading = Reading(),
) -> tuple[str, ...]:
    """Answers and all scores there are as a workbook: new columns of the user's own, if the questions came from one
    (`path`). Returns sentences on what the new file does not carry."""
    from postil import dataset as room

    head, table = judging.score_table(found, found.rows, judgement, tally.by_row if tally else ())
    if path is not None:
        known = 3  # row, question and reference stand in the user's sheet already
        dataset = check(path, reading)
        cells = {row["rows"][0]: line[known:] for row, line in zip(found.rows, table, strict=True)}
        lost = room.write_beside(path, output, dataset.sheet, dataset.header_row, head[known:], cells)
        if lost is not None:
            return lost
    room.write_scores(output, head, table)
    return ()


def diagnose(directory: Path) -> list[Finding]:
    """What is wrong with the run in `directory`, finished or not, and which settings would mend it; the worst first."""
    from postil import evaluate as room
    from postil.plan import machine

    return room.diagnose(room.read_case(directory, machine().memory_bytes))


# ── export ────────────────────────────────────────────────────────────────────────────────────────


def export(
    directory: Path,
    to: Target,
    output: Path,
    *,
    type: str | None = None,
    name: str | None = None,
    data: Path | None = None,
    check: bool = True,
    force: bool = False,
    push: str | None = None,
    public: bool = False,
    emit: Emit = lambda event: None,
) -> dict[str, Any]:
    """An adapter becomes files for others in `output`, with a certificate that they say the same.

    type: number type of the weights; name: what others call the model; data: a file whose questions the certificate
    asks, where those of the run's own test part are not wanted; check: whether there is to be a certificate; push:
    where it is to go then, huggingface:ORG/NAME or modelscope:ORG/NAME, private unless it is `public`.
    """
    told: dict[str, Any] = {"type": type, "name": name, "data": data, "check": check, "push": push, "public": public}
    return exporting.export(directory, to, output, emit, force=force, **told)


def parity(directory: Path, data: Path | None = None) -> dict[str, Any]:
    """Whether our own serving engine says what the trainer says, as a certificate."""
    return exporting.parity(directory, data)


# ── report ────────────────────────────────────────────────────────────────────────────────────────


def report(output: Path, result: Mapping[str, Any], evaluation: Evaluation | None, dataset: Dataset | None) -> None:
    """report.md and report.html beside the adapter."""
    from postil import evaluate as room
    from postil import train
    from postil.plan import cost

    told = train.read_run(output)
    run = room.Run(
        updates=result["updates"],
        epochs=result["epochs"],
        seconds=result["seconds"],
        trained_tokens=result["trained_tokens"],
        trained_parameters=result.get("trained_parameters"),
        tokens_per_second=told.tokens_per_second,
        peak_bytes=result["peak_rss_bytes"],
        best_step=result["best_update"],
        cost=cost(result["seconds"], Settings()),
    )
    case = replace(room.read_case(output), result=result, evaluation=evaluation)
    facts = room.Facts(
        output,
        told.base,
        told.base_sha256,
        told.proposal,
        run,
        dataset,
        told.split,
        told.history,
        evaluation,
        room.diagnose(case),
    )
    room.write_report(output, facts)

"""What Postil does, told in six verbs: import → plan → train → evaluate → export → serve.

Rooms are imported where they are needed, so that looking at a file loads no model library.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from postil.errors import DataError, ModelError
from postil.locales import language, say
from postil.records import (
    Adapter,
    Answer,
    Base,
    Counts,
    Dataset,
    Evaluation,
    Event,
    Example,
    Issue,
    Message,
    Proposal,
    Shape,
    Split,
)  # fmt: skip
from postil.settings import Settings, quiet

if TYPE_CHECKING:
    from postil.model.template import Template

Emit = Callable[[Event], None]
Stop = Callable[[], bool]  # whether a person wants the run to stop after the present update
EMBEDDED = "smollm2-135m-instruct"
_NO_SHAPE = Shape(0, 0, 0, 0, 0, 0, 0, 0)  # where only a name and a place are needed


@dataclass(frozen=True)
class Reading:
    """How a file is to be read: what the user knows better than the detection."""

    sheet: str | None = None
    columns: Mapping[str, str] = field(default_factory=dict)  # role -> column letter, header or key
    system: str | None = None
    instruction: str | None = None
    mask: bool = False


@dataclass(frozen=True)
class Prepared:
    """All that a run needs, before it begins."""

    dataset: Dataset
    split: Split
    base: Base
    counts: Counts
    proposal: Proposal
    doubts: tuple[Issue, ...]  # what stands against it on this machine


# ── import ────────────────────────────────────────────────────────────────────────────────────────


def check(path: Path, reading: Reading = Reading(), base: str | None = None) -> Dataset:
    """A file becomes a checked data set; with `base`, the labels of every example are proven with its tokenizer."""
    from postil import dataset as data

    columns, system = dict(reading.columns), reading.system
    if system and data.has_column(path, system, reading.sheet):
        columns, system = {**columns, "system": system}, None
    found = data.load(path, sheet=reading.sheet, columns=columns, system=system, instruction=reading.instruction,
                      mask=reading.mask)  # fmt: skip
    if base is None:
        return found
    from postil.model.proof import with_issues

    model = fetched(find_base(base))
    return with_issues(found, _template(model, _thinks(found.examples)), model.shape.context)


def xray(path: Path, base: str, reading: Reading = Reading(), max_length: int | None = None) -> dict[str, Any]:
    """For every example: which tokens are learned, ignored, or cut, and whether the end of the answer is learned."""
    from postil.model.xray import look

    dataset, found = check(path, reading), fetched(find_base(base))
    template = _template(found, _thinks(dataset.examples))
    return look(dataset.examples, template, max_length or found.shape.context)


# ── base models ───────────────────────────────────────────────────────────────────────────────────


def find_base(name: str) -> Base:
    """The base model of that name, repository id or directory."""
    from postil.plan import find

    return find(name, Settings().home)


def add_base(directory: Path, name: str | None = None) -> Base:
    """Give a base model in a directory a name of its own; its files are linked, or copied where they cannot be."""
    quiet()
    from postil.model.add import add

    find_base(str(directory))
    return find_base(add(directory, Settings().home, name or directory.resolve().name))


def fetched(base: Base, tell: Callable[[str, float | None], None] = lambda text, share: None) -> Base:
    """The base with its files on this machine: fetched if they are not."""
    if base.path is not None:
        return base
    from postil.model.fetch import fetch

    settings = Settings()
    path = fetch(base, settings.home, settings.hub, settings.hub_mirror, language(), tell)
    return replace(base, path=path)


def fingerprint(base: Base) -> str:
    """The SHA-256 that adapters record of their base."""
    from postil.model.trust import fingerprint as of

    assert base.path is not None
    return of(base.path)


def _template(base: Base, thinking: bool) -> Template:
    quiet()
    from postil.model.load import load_template

    assert base.path is not None
    return load_template(base.path, thinking=thinking)


def _thinks(examples: Sequence[Example]) -> bool:
    """Whether the answers show their reasoning."""
    return 2 * sum("<think>" in example.answer for example in examples) > max(1, len(examples))


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
) -> Prepared:
    """Checked examples, a base model and this machine become decided numbers, each with its reason."""
    from postil import dataset as data
    from postil import plan as room
    from postil.model.count import count

    wishes = room.check_settings(settings or {})
    wishes = {"system": dataset.system, "instruction": dataset.instruction, **wishes}
    wishes = {name: value for name, value in wishes.items() if value is not None}
    template = _template(base, _thinks(dataset.examples)) if base.path else None
    if template:
        dataset = _proven(dataset, template, base.shape.context, skip_faulty)
    data.require_enough(dataset)
    split = _split(dataset, preset, wishes, validation, test)
    counts = count(split, template) if template else room.rough_counts(
        split.training, base, len(split.validation), len(split.test)
    )  # fmt: skip
    machine = room.machine(output)
    probe = _measured(split, base, template) if measure and template else None
    chosen, reasons = room.choose(split.training, counts, base, machine, probe, preset, wishes)
    estimate = room.estimate(chosen, counts, base, machine, probe, Settings())
    doubts = room.doubts(chosen, counts, estimate, machine)
    return Prepared(dataset, split, base, counts, Proposal(chosen, reasons, estimate), doubts)


def _proven(dataset: Dataset, template: Template, max_length: int, skip_faulty: bool) -> Dataset:
    """The data set, if the labels of all its examples are right; or what is left of it without those that are not."""
    from postil.model.labels import proven
    from postil.model.proof import without_faulty

    if skip_faulty:
        return without_faulty(dataset, template, max_length)
    proven(dataset.examples, template, max_length)
    return dataset


def _split(
    dataset: Dataset, preset: str | None, wishes: Mapping[str, Any], validation: Dataset | None, test: Dataset | None
) -> Split:
    """Three parts; the user's own validation and test files overrule what would be held out."""
    from postil import dataset as data
    from postil.plan import split_sizes, training_rows

    n_validation, n_test = split_sizes(len(dataset.examples), preset, wishes)
    split = data.split(
        dataset.examples,
        validation_rows=0 if validation else n_validation,
        test_rows=0 if test else n_test,
        seed=int(wishes.get("seed", 42)),
    )
    own = {
        **({"validation": validation.examples} if validation else {}),
        **({"test": test.examples} if test else {}),
    }
    split = replace(split, **own)
    rows = training_rows(preset, wishes)
    return replace(split, training=split.training[:rows]) if rows else split


def _measured(split: Split, base: Base, template: Template) -> Any:
    """A short real step of rows like these, in a child process."""
    from postil.model.probe import probe

    rows = [sequence for example in split.training[:8] for sequence in template.sequences(example)][:8]
    return probe(base.path, rows)


# ── train ─────────────────────────────────────────────────────────────────────────────────────────


def train(
    prepared: Prepared, output: Path, emit: Emit, *, force: bool = False, stop: Stop = lambda: False
) -> dict[str, Any]:
    """A plan becomes an adapter in `output`, with its proof and its report."""
    from postil import train as room

    dataset, base = prepared.dataset, prepared.base
    source = {
        "path": str(dataset.path.resolve()), "sha256": dataset.sha256, "check": _summary(dataset),
        "system": dataset.system, "instruction": dataset.instruction,
        "columns": dict(dataset.columns), "column_names": dict(dataset.column_names),
    }  # fmt: skip
    room.prepare(output, prepared.proposal, base, fingerprint(base), prepared.split, source, force=force)
    return finish(output, emit, stop, dataset)


def resume(output: Path, emit: Emit, path: Path | None = None, *, stop: Stop = lambda: False) -> dict[str, Any]:
    """Go on with an unfinished run, from its newest checkpoint. `path`: the data file, which must be unchanged."""
    from postil import train as room
    from postil.errors import TrainError
    from postil.store import read_json, sha256

    if not (output / "plan.json").exists():
        raise TrainError("nothing_to_resume", path=str(output))
    if path and (not path.is_file() or sha256(path) != read_json(output / "plan.json")["data"]["sha256"]):
        raise TrainError("data_changed", path=str(path))
    _on_its_base(room.read_unfinished(output))
    return finish(output, emit, stop, None)


def finish(output: Path, emit: Emit, stop: Stop, dataset: Dataset | None) -> dict[str, Any]:
    """Train what is laid out in `output`, prove it on the test part, write the report."""
    quiet()
    from postil import train as room
    from postil.settings import Ranks
    from postil.store import read_json, write_json

    done = output / "result.json"
    result: dict[str, Any] = read_json(done) if done.exists() else room.run(
        output, emit, price_per_second=price_per_second(), stop=stop
    )  # fmt: skip
    if Ranks().rank:
        return result
    started = time.monotonic()
    evaluation = None
    if room.examples_of(output, "test"):
        evaluation = evaluate(output, emit=emit)
        result = {**result, "verdict": evaluation.verdict.as_json(), "forgetting": evaluation.forgetting}
    result["evaluation_seconds"] = round(time.monotonic() - started, 2)
    report(output, result, evaluation, dataset)
    write_json(done, result)
    emit(Event("done", {"percent": 100.0, "path": str(output)}))
    return result


def price_per_second() -> float:
    """What this machine costs, in the settings' currency."""
    from postil.plan import cost

    return cost(3600.0, Settings()) / 3600.0


def _summary(dataset: Dataset) -> dict[str, Any]:
    told = dataset.as_json()
    return {name: told[name] for name in ("format", "encoding", "sheet", "rows", "used", "not_data", "examples")}


# ── evaluate ──────────────────────────────────────────────────────────────────────────────────────


def open_adapter(directory: Path) -> Adapter:
    """The adapter in `directory` with its base, which must be the very one that it was made on."""
    from postil import train as room

    return _on_its_base(room.read_adapter(directory))


def _on_its_base(adapter: Adapter) -> Adapter:
    if not adapter.base_path.is_dir():
        base = find_base(adapter.base)
        if base.path is None:
            raise ModelError("base_missing", name=adapter.base)
        adapter = replace(adapter, base_path=base.path)
    found = fingerprint(Base(adapter.base, _NO_SHAPE, path=adapter.base_path))
    if found != adapter.base_sha256:
        raise ModelError("base_changed", name=adapter.base, path=str(adapter.base_path))
    return adapter


def evaluate(
    directory: Path,
    path: Path | None = None,
    reading: Reading = Reading(),
    emit: Emit = lambda event: None,
) -> Evaluation:
    """Base and tuned answer the same questions: those of the test part, or those of a file."""
    quiet()
    from postil import evaluate as room
    from postil import train as training
    from postil.model.pair import Pair
    from postil.store import write_json

    adapter = open_adapter(directory)
    if path:
        reading = replace(
            reading,
            system=reading.system or adapter.plan.system,
            instruction=reading.instruction or adapter.plan.instruction,
        )
        examples = check(path, reading).examples
    else:
        examples = training.examples_of(directory, "test")
    if not examples:
        raise DataError("nothing_to_evaluate", path=str(path or directory))

    def tell(what: str, share: float) -> None:
        emit(Event("stage", {"stage": "evaluate", "what": what, "percent": round(_EVALUATED[what](share), 1)}))

    evaluation = room.evaluate(Pair.open(adapter), examples, adapter.plan.metric, tell)
    if not path:
        write_json(directory / "evaluation.json", evaluation.as_json())
    return evaluation


_EVALUATED: Mapping[str, Callable[[float], float]] = {
    "base": lambda share: 82 + 8 * share,
    "tuned": lambda share: 90 + 8 * share,
    "neutral": lambda share: 98 + 2 * share,
}


class Comparison:
    """Base and tuned side by side, from one base in memory; the run's own system prompt and instruction are used."""

    def __init__(self, directory: Path) -> None:
        quiet()
        from postil.model.pair import Pair

        self._adapter = open_adapter(directory)
        self._pair = Pair.open(self._adapter)

    def ask(self, question: str, *, tuned: bool, say: Callable[[str], None] = lambda piece: None,
            sample: bool = False, system: str | None = None) -> Answer:  # fmt: skip
        """The answer of the tuned model, or of the base; `say` hears it piece by piece."""
        return self._pair.stream(self._messages(question, system), say, tuned=tuned, sample=sample)

    def answers(self, questions: Sequence[str], tell: Callable[[int], None]) -> list[Answer]:
        """The tuned model's answers to many questions."""
        return self._pair.answers([self._messages(question) for question in questions], tuned=True, tell=tell)

    def _messages(self, question: str, system: str | None = None) -> tuple[Message, ...]:
        from postil.dataset import ask

        plan = self._adapter.plan
        return ask(question, system or plan.system, plan.instruction)


def answer(
    directory: Path,
    path: Path,
    output: Path,
    reading: Reading = Reading(),
    emit: Emit = lambda event: None,
) -> dict[str, Any]:
    """The user's own sheet back, with the tuned model's answers as a new column. Called again, it goes on."""
    from postil import dataset as data
    from postil.evaluate import visible
    from postil.store import read_json

    told = read_json(directory / "plan.json")["data"] if (directory / "plan.json").exists() else {}
    sheet = data.questions(path, sheet=reading.sheet, column=reading.columns.get("question"),
                           known=told.get("column_names", {}).get("question"))  # fmt: skip
    answers = data.read_answers(output, sheet.questions, sheet.column)
    earlier = len(answers)
    left = [row for row in sheet.questions if row not in answers]
    lost = data.write_answers(path, output, sheet.sheet, sheet.header_row, answers)  # refuses a bad name at once
    comparison = Comparison(directory) if left else None
    saved = time.monotonic()
    try:
        for start in range(0, len(left), _ROWS_AT_ONCE):
            rows = left[start : start + _ROWS_AT_ONCE]
            assert comparison is not None
            given = comparison.answers([sheet.questions[row] for row in rows], lambda done: None)
            answers.update({row: visible(one.text) for row, one in zip(rows, given, strict=True)})
            if time.monotonic() - saved > _SAVE_SECONDS:
                data.write_answers(path, output, sheet.sheet, sheet.header_row, answers)
                saved = time.monotonic()
            emit(Event("answers", {"done": len(answers), "of": len(sheet.questions)}))
    finally:  # when a person ends it, too
        if len(answers) > earlier:
            data.write_answers(path, output, sheet.sheet, sheet.header_row, answers)
    return {
        "output": str(output), "rows": len(sheet.questions), "answered": len(answers), "from_earlier": earlier,
        "empty": sheet.empty, "not_carried_over": list(lost),
    }  # fmt: skip


_ROWS_AT_ONCE = 32
_SAVE_SECONDS = 30.0  # a long sheet takes seconds to write; so much work is lost at most when it is interrupted


# ── report ────────────────────────────────────────────────────────────────────────────────────────


def report(output: Path, result: Mapping[str, Any], evaluation: Evaluation | None, dataset: Dataset | None) -> None:
    """report.md and report.html beside the adapter."""
    from postil import evaluate as room
    from postil import train
    from postil.plan import cost

    told = train.read_run(output)
    run = room.Run(
        updates=result["updates"], epochs=result["epochs"], seconds=result["seconds"],
        trained_tokens=result["trained_tokens"], tokens_per_second=told.tokens_per_second,
        peak_bytes=result["peak_rss_bytes"], best_step=result["best_update"],
        cost=cost(result["seconds"], Settings()),
    )  # fmt: skip
    facts = room.Facts(output, told.base, told.base_sha256, told.proposal, run, dataset, told.split, told.history,
                       evaluation)  # fmt: skip
    room.write_report(output, facts)


# ── advice ────────────────────────────────────────────────────────────────────────────────────────


def advice_on_base(dataset: Dataset, base: Base) -> str | None:
    """A sentence on a base model that suits this data better than the embedded demonstration, if there is one."""
    from postil.plan import chinese_share, machine, recommend

    better, reason, values = recommend(chinese_share(dataset.examples), machine())
    if base.name != EMBEDDED or better.name == base.name:
        return None
    return say(f"reason.{reason}", **values)

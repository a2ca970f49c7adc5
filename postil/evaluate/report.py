"""The report of a training run: report.md, report.html (one file, no script, nothing from elsewhere) and curve.svg."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any

from postil.evaluate.curve import draw
from postil.evaluate.metrics import METRICS, NUMBERS, visible
from postil.evaluate.render import Block, Code, Heading, Paragraph, Picture, Piece, Table, to_html, to_markdown
from postil.evaluate.verdict import forgetting_words
from postil.locales import as_argument, knows, language, say
from postil.records import Base, Confusion, Dataset, Evaluation, Finding, Issue, Left, Proposal, Repair
from postil.store import write_text

_ROWS_SHOWN = 12  # of the test questions, the first ones: a choice would flatter
_TEXT_SHOWN = 160  # characters of a cell
_FINDINGS_SHOWN = 8
_OPENING = 12  # characters, from which a shared beginning of all questions is told apart
_MAIN_FIELDS = (
    "kind",
    "metric",
    "learning_rate",
    "r",
    "lora_alpha",
    "lora_dropout",
    "target_modules",
    "n_epochs",
    "batch_size",
    "max_length",
    "device",
    "dtype",
)
_CLASSES = {
    "seq_cls": ("AutoModelForSequenceClassification", ", num_labels=len(labels)"),
    "token_cls": ("AutoModelForTokenClassification", ", num_labels=len(labels)"),
    "seq_2_seq_lm": ("AutoModelForSeq2SeqLM", ""),
}
_WORDS = re.compile(r"\s+|[A-Za-z0-9]+|.", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Run:
    """What a training run took. Seconds of wall time, bytes; None: not measured."""

    updates: int
    epochs: float
    seconds: float
    trained_tokens: int | None = None
    tokens_per_second: float | None = None
    peak_bytes: int | None = None
    best_step: int | None = None
    cost: float | None = None  # in the estimate's currency
    trained_parameters: int | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the report says.

    history: {"step", "loss", "validation_loss"} of the run, either loss may be missing.
    split: rows for training, validation and test.
    evaluation.rows: each with the texts "question", "reference", "base", "tuned".
    """

    adapter: Path
    base: Base
    base_sha256: str
    proposal: Proposal
    run: Run | None = None
    dataset: Dataset | None = None
    split: tuple[int, int, int] | None = None
    history: Sequence[Mapping[str, Any]] = ()
    evaluation: Evaluation | None = None
    findings: Sequence[Finding] = ()  # of the run doctor


def write_report(directory: Path, facts: Facts, lang: str | None = None) -> None:
    """Write report.md, report.html and curve.svg into `directory`, in `lang` ("zh" or "en")."""
    spoken = lang or language()
    curve = draw(facts.history, facts.run.best_step if facts.run else None, spoken)
    blocks = list(_blocks(facts, curve, spoken))
    write_text(directory / "curve.svg", curve)
    write_text(directory / "report.md", to_markdown(blocks))
    write_text(directory / "report.html", to_html(blocks, say("report.title", spoken), spoken))


def marked(reference: str, answer: str) -> tuple[Piece, ...]:
    """The answer in pieces; those that the reference does not have, in this order, are marked."""
    wanted, given = _WORDS.findall(reference), _WORDS.findall(answer)
    matcher = SequenceMatcher(None, wanted, given, autojunk=False)
    pieces = ((kind != "equal", "".join(given[start:end])) for kind, _, _, start, end in matcher.get_opcodes())
    return tuple(Piece(text, differs and not text.isspace()) for differs, text in pieces if text)


# ── sections ──────────────────────────────────────────────────────────────────────────────────────


def _blocks(facts: Facts, curve: str, lang: str) -> Iterator[Block]:
    yield Heading(say("report.title", lang), 1)
    if facts.evaluation is None:
        yield Paragraph(say("report.not_evaluated", lang), lead=True)
    else:
        if facts.evaluation.readiness:
            yield Paragraph(facts.evaluation.readiness.words(lang), lead=True)
        yield Paragraph(facts.evaluation.verdict.words(lang), lead=True)
        yield from _evaluation(facts.evaluation, lang)
    yield from _doctor(facts, lang)
    if facts.dataset is not None:
        yield from _data(facts.dataset, facts.split, lang)
    yield from _run(facts, curve, lang)
    yield from _plan(facts.proposal, lang)
    yield from _base(facts, lang)
    yield from _use(facts, lang)


def _evaluation(evaluation: Evaluation, lang: str) -> Iterator[Block]:
    yield Heading(say("report.metrics", lang))
    known = (*METRICS, *(name for name in evaluation.tuned if name not in METRICS))
    names = [name for name in known if name in evaluation.base and name in evaluation.tuned]
    head = [say(f"report.metrics.{part}", lang) for part in ("metric", "base", "tuned", "change")]
    plain = list(evaluation.others)
    yield Table(
        [*head, *(say(f"others.{name}", lang) for name in plain)],
        [[*_metric(evaluation, name, lang), *_theirs(evaluation, name)] for name in names],
    )
    if evaluation.confusion is not None:
        yield Paragraph(say("report.labels_base", lang))
    for sentence in evaluation.against_words(lang):
        yield Paragraph(sentence)
    if evaluation.confusion is None:  # a model that picks labels has no language of its own to forget
        yield Paragraph(forgetting_words(evaluation.forgetting, lang))
    else:
        yield from _confusion(evaluation.confusion, lang)
    if evaluation.rows:
        yield Heading(say("report.answers", lang))
        shown = evaluation.rows[:_ROWS_SHOWN]
        yield Paragraph(say("report.answers.legend", lang, shown=len(shown), all=len(evaluation.rows)))
        opening = _opening([str(row.get("question", "")) for row in shown])
        if opening:
            yield Paragraph(say("report.answers.opening", lang, opening=_short(opening)))
        head = [say(f"report.answers.{part}", lang) for part in ("question", "reference", "base", "tuned")]
        yield Table(head, [_answers(row, len(opening), lang) for row in shown])


def _confusion(confusion: Confusion, lang: str) -> Iterator[Block]:
    yield Heading(say("report.confusion", lang))
    yield Paragraph(say("report.confusion.legend", lang))
    rows = zip(confusion.labels, confusion.counts, strict=True)
    yield Table(
        [say("report.confusion.wanted", lang), *confusion.labels],
        [[label, *(str(count) if count else "" for count in counts)] for label, counts in rows],
    )


def _theirs(evaluation: Evaluation, name: str) -> list[str]:
    """A metric of each of the plain means."""
    return [f"{scores[name]:.1%}" if name in scores else "-" for scores in evaluation.others.values()]


def _opening(questions: Sequence[str]) -> str:
    """What all questions begin with, up to a space or punctuation: a fixed instruction need be read only once."""
    if len(questions) < 2:
        return ""
    first, last = min(questions), max(questions)
    same = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), min(len(first), len(last)))
    found = re.match(r".*\W", first[:same], re.DOTALL)
    return found[0] if found and len(found[0]) >= _OPENING and found[0] not in questions else ""


def _metric(evaluation: Evaluation, name: str, lang: str) -> list[str]:
    base, tuned = evaluation.base[name], evaluation.tuned[name]
    label = say(f"metric.{name}", lang)
    if name == evaluation.verdict.metric:
        label = say("report.metrics.decides", lang, metric=label)
    if name in NUMBERS:
        digits = NUMBERS[name]
        return [label, f"{base:.{digits}f}", f"{tuned:.{digits}f}", f"{round(tuned - base, digits) + 0.0:+.{digits}f}"]
    change = round(100 * (tuned - base), 1) + 0.0
    return [label, f"{base:.1%}", f"{tuned:.1%}", say("report.points", lang, change=change)]


def _answers(row: Mapping[str, Any], skipped: int, lang: str) -> list[str | tuple[Piece, ...]]:
    reference = visible(str(row.get("reference", "")))
    cells: list[str | tuple[Piece, ...]] = [_short(str(row.get("question", ""))[skipped:]), _short(reference)]
    for name in ("base", "tuned"):
        answer = _short(visible(str(row.get(name, ""))))
        cells.append(marked(_short(reference), answer) if answer else say("report.answers.empty", lang))
    return cells


def _doctor(facts: Facts, lang: str) -> Iterator[Block]:
    """What is wrong with the run, and the settings that would mend it, as `postil train` takes them."""
    if not facts.findings:
        return
    yield Heading(say("report.doctor", lang))
    head = [say(f"report.doctor.{part}", lang) for part in ("finding", "fix", "settings")]
    yield Table(head, [[one.message(lang), one.fix(lang), one.options()] for one in facts.findings])


def _data(dataset: Dataset, split: tuple[int, int, int] | None, lang: str) -> Iterator[Block]:
    yield Heading(say("report.data", lang))
    yield Paragraph(
        say(
            "report.data.rows",
            lang,
            file=dataset.path.name,
            rows=dataset.rows,
            used=dataset.used,
            examples=len(dataset.examples),
            dropped=len(dataset.dropped),
            not_data=len(dataset.not_data),
            repaired=len(dataset.repaired),
        )
    )
    if split is not None:
        yield Paragraph(say("report.data.split", lang, training=split[0], validation=split[1], test=split[2]))
    if dataset.edited or dataset.left_out:
        yield Paragraph(say("report.data.corrected", lang, edited=dataset.edited, left_out=dataset.left_out))
    yield from _findings(dataset, lang)


def _findings(dataset: Dataset, lang: str) -> Iterator[Block]:
    """What was dropped, repaired and reported, one line for each kind with its first row."""
    serious = [issue for issue in dataset.issues if issue.severity != "advice"]
    found: list[Left | Repair | Issue] = [*dataset.untold, *dataset.repaired, *serious]
    if not found:
        return
    kinds = Counter((type(each), each.code) for each in found)
    first = {(type(each), each.code): each for each in reversed(found)}
    common = kinds.most_common(_FINDINGS_SHOWN)
    head = [say(f"report.data.{part}", lang) for part in ("finding", "times", "first")]
    yield Table(
        head, [[_short(first[kind].message(lang)), str(times), str(first[kind].row or "-")] for kind, times in common]
    )
    if len(kinds) > len(common):
        yield Paragraph(say("report.data.more", lang, more=len(kinds) - len(common)))


def _run(facts: Facts, curve: str, lang: str) -> Iterator[Block]:
    yield Heading(say("report.run", lang))
    if facts.run is not None:
        head = [say(f"report.run.{part}", lang) for part in ("what", "estimated", "measured")]
        yield Table(head, list(_measured(facts.run, facts.proposal, lang)))
    yield Picture(curve, "curve.svg", say("report.curve.title", lang))


def _measured(run: Run, proposal: Proposal, lang: str) -> Iterator[list[str]]:
    estimate = proposal.estimate
    low, high = (_duration(seconds, lang) for seconds in estimate.seconds)
    yield [say("report.run.time", lang), low if low == high else f"{low} - {high}", _duration(run.seconds, lang)]
    memory = "-" if run.peak_bytes is None else _bytes(run.peak_bytes)
    yield [say("report.run.memory", lang), _bytes(estimate.memory_bytes), memory]
    cost = "-" if run.cost is None else f"{run.cost:.2f} {estimate.currency}"
    yield [say("report.run.cost", lang), f"{estimate.cost[0]:.2f} - {estimate.cost[1]:.2f} {estimate.currency}", cost]
    yield [say("report.run.updates", lang), f"{estimate.updates:,}" if estimate.updates else "-", f"{run.updates:,}"]
    yield [say("report.run.epochs", lang), str(proposal.plan.n_epochs), f"{run.epochs:.3g}"]
    if run.trained_parameters:
        estimated = f"{estimate.trained_parameters:,}" if estimate.trained_parameters else "-"
        yield [say("report.run.parameters", lang), estimated, f"{run.trained_parameters:,}"]
    if run.trained_tokens is not None:
        yield [
            say("report.run.tokens", lang),
            f"{estimate.tokens:,}" if estimate.tokens else "-",
            f"{run.trained_tokens:,}",
        ]
    if run.tokens_per_second is not None:
        yield [say("report.run.speed", lang), "-", f"{run.tokens_per_second:,.0f}"]


def _plan(proposal: Proposal, lang: str) -> Iterator[Block]:
    values = proposal.plan.model_dump()
    chosen = [*_MAIN_FIELDS, *(field for field in values if field not in _MAIN_FIELDS and _of_user(proposal, field))]
    yield Heading(say("report.plan", lang))
    head = [say(f"report.plan.{part}", lang) for part in ("field", "value", "reason")]
    yield Table(head, [_choice(proposal, field, values[field], lang) for field in chosen])
    rest = ", ".join(f"{field}={values[field]}" for field in values if field not in chosen)
    yield Paragraph(say("report.plan.rest", lang, rest=rest))


def _of_user(proposal: Proposal, field: str) -> bool:
    return field in proposal.reasons and proposal.reasons[field].source == "user"


def _choice(proposal: Proposal, field: str, value: Any, lang: str) -> list[str]:
    label = f"plan.{field}.label"
    name = f"{say(label, lang)} ({field})" if knows(label) else field
    reason = proposal.reasons[field].why(lang) if field in proposal.reasons else "-"
    return [name, _short(str(value)), reason]


def _base(facts: Facts, lang: str) -> Iterator[Block]:
    yield Heading(say("report.base", lang))
    base = facts.base
    rows = [
        ("name", base.name),
        ("source", base.source),
        ("licence", base.licence or say("report.base.ask", lang)),
        ("sha256", facts.base_sha256),
    ]
    head = [say(f"report.base.{part}", lang) for part in ("what", "value")]
    yield Table(head, [[say(f"report.base.{key}", lang), value or "-"] for key, value in rows])


def _use(facts: Facts, lang: str) -> Iterator[Block]:
    adapter = facts.adapter.as_posix()
    base = facts.base.path.as_posix() if facts.base.path else facts.base.name
    yield Heading(say("report.use", lang))
    yield Paragraph(say("report.use.commands", lang))
    quoted, question = as_argument(adapter), as_argument(say("report.use.question", lang))
    yield Code(f"postil compare {quoted} {question}\npostil answer {quoted} FILE.xlsx --output OUT.xlsx", "sh")
    yield Paragraph(say("report.use.peft", lang))
    base_text, adapter_text = (json.dumps(path, ensure_ascii=False) for path in (base, adapter))
    kind, told = _CLASSES.get(facts.proposal.plan.task, ("AutoModelForCausalLM", ""))
    labels = (
        "" if not told else f"labels = json.load(open({adapter_text} + '/labels.json', encoding='utf-8'))['labels']\n"
    )
    yield Code(
        f"{'import json' + chr(10) if told else ''}from peft import PeftModel\n"
        f"from transformers import {kind}, AutoTokenizer\n\n{labels}"
        f"tokenizer = AutoTokenizer.from_pretrained({adapter_text})\n"
        f"base = {kind}.from_pretrained({base_text}{told})\n"
        f"model = PeftModel.from_pretrained(base, {adapter_text})\n",
        "python",
    )


# ── small print ───────────────────────────────────────────────────────────────────────────────────


def _short(text: str) -> str:
    text = text.strip()
    return text if len(text) <= _TEXT_SHOWN else text[:_TEXT_SHOWN] + "…"


def _duration(seconds: float, lang: str) -> str:
    if seconds < 60:
        return say("report.seconds", lang, seconds=seconds)
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return say("report.minutes", lang, minutes=minutes, seconds=rest)
    return say("report.hours", lang, hours=minutes // 60, minutes=minutes % 60)


def _bytes(count: int) -> str:
    if count < 2**30:
        return f"{count / 2**20:.0f} MiB"
    return f"{count / 2**30:.1f} GiB"

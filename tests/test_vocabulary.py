"""Words that the source puts together from a part that is only known when it runs: every such part has its sentence.

`say(f"role.{role}")` fails for the one role that nobody thought of, and only in front of a person. So each such call is
found in the source. What may stand in its braces comes from the code that decides it (`DOMAINS`), or is written out in
the loop around the call (`WRITTEN_OUT`); a call of neither kind fails here, where it is cheap.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable, Iterator
from typing import get_args, get_type_hints

import pytest

from postil.api.lanes import LANES
from postil.dataset.columns import ROLES
from postil.dataset.words import words
from postil.jobs.run import KINDS
from postil.locales import LANGUAGES
from postil.model.fields import Form
from postil.plan import fields, groups, presets
from postil.plan.fit import PARTS
from postil.records import Issue, Plan, Preference, Readiness, Target, Verdict
from postil.store import ACTS, SCOPES, TERMINAL
from tests.test_locales import sentences, trees

SPEAKING = ("say", "title")


def families() -> Iterator[tuple[str, str]]:
    """Each call that puts a key together: where it stands, and its form with {} for what is filled in."""
    for file, tree in trees().items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            if _name(call) in SPEAKING and call.args and isinstance(call.args[0], ast.JoinedStr):
                parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in call.args[0].values)
                yield f"{file}:{call.lineno}", "".join(map(str, parts))


def beside(key: str) -> set[str]:
    """All literal texts that stand behind `key` in a dictionary of the source."""
    pairs = (
        (name, text)
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.Dict)
        for name, text in zip(node.keys, node.values, strict=True)
    )
    return {
        text.value
        for name, text in pairs
        if isinstance(name, ast.Constant) and name.value == key
        and isinstance(text, ast.Constant) and isinstance(text.value, str)
    }  # fmt: skip


def handed_to(*names: str, place: int = 0) -> set[str]:
    """All literal texts that are an argument, the first one or at another `place`, of a call of one of these."""
    calls = (node for tree in trees().values() for node in ast.walk(tree) if isinstance(node, ast.Call))
    words = (call.args[place] for call in calls if len(call.args) > place and _name(call) in names)
    return {word.value for word in words if isinstance(word, ast.Constant) and isinstance(word.value, str)}


def _name(call: ast.Call) -> str:
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def choices(record: type, name: str) -> Iterable[str]:
    """What a field of a record may be."""
    return [str(choice) for choice in get_args(get_type_hints(record)[name])]


def snake(names: Iterable[str]) -> list[str]:
    return [name.replace("-", "_") for name in names]


def metrics() -> Iterable[str]:
    return choices(Plan, "metric")


STATES = (*TERMINAL, "validating_files", "queued", "running", "paused")
DOMAINS: dict[str, Callable[[], Iterable[str]]] = {
    "audit.act.{}": lambda: ACTS,
    "card.what.{}": lambda: ("merged", "peft"),
    "extra.{}": lambda: handed_to("missing", "require", "load", place=1),
    "export.readme.{}": lambda: snake(get_args(Target)),
    "form.{}": lambda: get_args(Form),
    "judge.criteria.{}": lambda: choices(Plan, "kind"),
    "kind.{}": lambda: choices(Plan, "kind"),
    "lane.{}": lambda: LANES,
    "left_out.{}": lambda: (*PARTS, "n_epochs", "training_rows", "learning_rate_probe"),
    "marks.severity.{}": lambda: choices(Issue, "severity"),
    "metric.{}": metrics,
    "money.{}": lambda: ("CNY", "USD"),
    "plan.{}.help": lambda: [field.name for field in fields()],
    "plan.{}.label": lambda: [field.name for field in fields()],
    "preference.{}": lambda: choices(Preference, "outcome"),
    "readiness.{}": lambda: [*choices(Readiness, "level"), "near", "cut", "empty", "repeated"],
    "role.{}": lambda: ROLES,
    "severity.{}": lambda: choices(Issue, "severity"),
    "stage.{}": lambda: beside("stage") | handed_to("stage", "timed"),
    "verdict.{}{}": lambda: [f"{name}{unit}" for name in choices(Verdict, "outcome") for unit in ("", ".loss")],
    "web.keys.scope.{}": lambda: SCOPES,
    "web.keys.scope.{}.name": lambda: SCOPES,
    "web.data_kind.{}": lambda: choices(Plan, "kind"),
    "web.export.{}": lambda: snake(get_args(Target)),
    "web.kind.{}": lambda: KINDS,
    "web.outcome.{}": lambda: [*choices(Verdict, "outcome"), "none"],
    "web.plan.group.{}": lambda: groups(),
    "web.preset.{}": lambda: presets(),
    "web.preset.{}.lead": lambda: presets(),
    "web.severity.{}": lambda: choices(Issue, "severity"),
    "web.status.{}": lambda: STATES,
    "web.task.{}": lambda: choices(Plan, "task"),
    "web.task.{}.lead": lambda: choices(Plan, "task"),
}
# codes, each of which test_locales.py looks up where it is raised
CODES = {"error.{}.cause", "error.{}.remedy", "event.{}", "finding.{}.fix", "finding.{}.message", "foreign.{}",
         "import.{}", "issue.label_{}.message", "issue.{}.fix", "issue.{}.message", "parity.cause.{}",
         "parity.not_checked.{}", "parity.remedy.{}", "reason.{}", "repair.{}", "web.error.{}.remedy"}  # fmt: skip
WRITTEN_OUT = {
    "against.{}.{}", "card.parity.{}", "cli.word.{}", "doctor.load_{}", "doctor.{}", "marks.column.{}",
    "marks.legend.{}", "marks.lost.{}", "others.{}", "report.answers.{}", "report.base.{}", "report.data.{}",
    "report.doctor.{}", "report.metrics.{}", "report.plan.{}", "report.run.{}", "scores.for.{}", "scores.{}",
    "show.base_{}", "show.service_{}", "show.verdict_{}", "show.{}", "stage.what_{}", "votes.choice.{}", "votes.{}",
    "web.audit.{}", "web.compare.{}", "web.corrections.{}", "web.data.gauge.{}", "web.data.role.{}", "web.data.{}",
    "web.event.{}", "web.files.{}", "web.fix.{}", "web.job.wish.{}", "web.job.{}", "web.job.{}.sure", "web.jobs.{}",
    "web.keys.{}", "web.language.{}", "web.lines.{}", "web.login.{}", "web.model.log.{}", "web.models.{}",
    "web.nav.{}", "web.new.sample.{}", "web.plan.estimate.{}", "web.rate.choose.{}", "web.rate.{}", "web.result.{}",
    "web.stage.{}", "web.steps.{}", "web.versions.{}", "web.vote.{}", "web.xray.{}", "web.{}", "{}.{}",
}  # fmt: skip


def test_every_call_that_puts_a_key_together_says_what_from() -> None:
    forms = {form for _, form in families()}
    assert len(forms) > 80, "the scan no longer sees the calls"
    unknown = [(where, form) for where, form in families() if form not in {*DOMAINS, *CODES, *WRITTEN_OUT}]
    assert not unknown, "add what may stand there to DOMAINS, or the form to WRITTEN_OUT if its loop writes it out"
    assert not {*DOMAINS, *CODES, *WRITTEN_OUT} - forms, "no call of this form is left"


@pytest.mark.parametrize("form", sorted(DOMAINS))
def test_everything_that_may_stand_there_has_its_words(form: str) -> None:
    names = list(DOMAINS[form]())
    keys = {form.replace("{}", name, 1).replace("{}", "") for name in names}
    assert names
    assert not [(lang, key) for lang in LANGUAGES for key in sorted(keys) if key not in sentences(lang)]


# what a reader of records makes questions, answers and turns of, and what is known to mean nothing
PARTS_OF_OTHERS = {"history", "input", "instruction", "messages", "nothing", "tools"}


def test_every_role_that_a_heading_can_mean_is_in_the_list() -> None:
    words_file = words()
    named = {*words_file["names"], *words_file["beginnings"].values(), *words_file["endings"].values(),
             *words_file["last_words"].values()}  # fmt: skip
    assert named - {*ROLES, *PARTS_OF_OTHERS} == set(), "a new role needs its word"

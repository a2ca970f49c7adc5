"""Records on a terminal: tables and colours in a window, plain lines in a pipe, JSON lines for scripts."""

from __future__ import annotations

import atexit
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.live import Live
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table
from rich.text import Text

from postil.console import json_line
from postil.errors import PostilError
from postil.locales import knows, language, say
from postil.records import Base, Dataset, Evaluation, Event, Finding, Issue, Proposal
from postil.wording import (
    allowed,
    as_metric,
    as_value,
    duration,
    end_of,
    in_a_line,
    in_common,
    moneys,
    numbers_of,
    percent_of,
    places,
    short,
    stage_of,
)

if TYPE_CHECKING:
    from postil.dataset import Difference
    from postil.evaluate import Tally
    from postil.plan import Foreign

COLOURS = {"error": "red", "warning": "yellow", "advice": "cyan"}
FATES = {"learned": "green", "ignored": "bright_black", "cut": "red"}
FEWEST = 10  # examples that training asks for
PIPE_WIDTH = 110  # characters of a line where no terminal says how many there are
LEAST_TOLD = 0.5  # seconds; what took less is no news
FEW_ALIKE = 2  # findings of one kind that differ in their details
# how people end a conversation with a program, whatever it was told to be
FAREWELLS = frozenset(lead + word for lead in ("", "/", ":") for word in ("exit", "quit", "bye", "q", "退出", "结束"))
FEW = 8  # rows of anything that a person is shown before "and so many more"


class Screen:
    """Where a command speaks. With `as_json` the result is one JSON object on standard output; all else goes to
    standard error."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self.console = Console(stderr=as_json, highlight=False, width=None if sys.stdout.isatty() else PIPE_WIDTH)
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._stage = ""
        self._told_at = 0.0
        self._started = time.monotonic()

    # ── the simplest things ──

    def say(self, key: str, style: str = "", **values: Any) -> None:
        """A sentence from `locales/`."""
        self.line(say(key, **values), style)

    def line(self, text: str, style: str = "") -> None:
        if not self.as_json:
            self.console.print(Text(text, style=style))

    def unbroken(self, text: str) -> None:
        """A line with a key or an address that people copy: no line break stands in it, however narrow the screen."""
        if not self.as_json:
            self.console.print(Text(text), soft_wrap=True)

    def title(self, key: str, **values: Any) -> None:
        if not self.as_json:
            self.console.print()
            self.console.print(Text(f"── {say(key, **values)} ", style="bold"))

    def result(self, value: Mapping[str, Any]) -> None:
        """The one JSON object, for scripts."""
        if self.as_json:
            sys.stdout.write(json_line(value, sys.stdout))

    def error(self, error: PostilError) -> None:
        """An error as a person reads it: what happened, what to do, and the code to look up."""
        self.close()
        if self.as_json:
            told = {"code": error.code, "cause": error.cause(), "remedy": error.remedy(), "rows": list(error.rows)}
            sys.stdout.write(json_line({"error": told}, sys.stdout))
            return
        screen = Console(stderr=True, highlight=False, soft_wrap=True)
        screen.print(Text(f"{say('show.error')} {error.cause()}", style="bold red"))
        screen.print(Text(f"{say('show.remedy')} {error.remedy()}"))
        screen.print(Text(f"({error.code})", style="bright_black"))

    # ── data ──

    def dataset(self, dataset: Dataset) -> None:
        if self.as_json:
            return
        self.title("show.check", file=dataset.path.name)
        parts = [dataset.format, dataset.encoding, *([dataset.sheet] if dataset.sheet else [])]
        self.line(" · ".join(part for part in parts if part))
        if dataset.columns:
            named = [
                say("show.column", role=say(f"role.{role}"), column=column, name=dataset.column_names.get(role, "-"))
                for role, column in dataset.columns.items()
            ]
            self.line(say("show.columns", columns=" · ".join(named)))
        self.say(
            "show.rows",
            rows=dataset.rows,
            used=dataset.used,
            examples=len(dataset.examples),
            dropped=len(dataset.dropped),
            not_data=len(dataset.not_data),
        )
        if dataset.edited or dataset.left_out:
            self.say("show.corrected", edited=dataset.edited, left_out=dataset.left_out)
        self._findings(dataset)
        self._repairs(dataset)
        self._dropped(dataset)
        left_out = len(dataset.dropped)
        verdict = "too_few" if len(dataset.examples) < FEWEST else "left_out" if left_out else "good"
        self.say(f"show.verdict_{verdict}", "bold", examples=len(dataset.examples), dropped=left_out, least=FEWEST)

    def _findings(self, dataset: Dataset) -> None:
        kinds: dict[str, dict[str, list[Issue]]] = {}
        for issue in sorted(dataset.issues, key=lambda issue: list(COLOURS).index(issue.severity)):
            kinds.setdefault(issue.code, {}).setdefault(issue.message(), []).append(issue)
        if not kinds:
            return
        table = Table(box=None, pad_edge=False, show_header=False)
        for messages in kinds.values():
            groups = list(messages.values())
            for issues in groups[:FEW_ALIKE]:
                first, colour = issues[0], COLOURS[issues[0].severity]
                told = Text(f"{first.message()}\n").append(f"→ {first.fix()}", style="bright_black")
                table.add_row(
                    Text(say(f"severity.{first.severity}"), style=colour), told, Text(places(issues), style=colour)
                )
            rest = [issue for issues in groups[FEW_ALIKE:] for issue in issues]
            if rest:
                table.add_row("", Text(say("show.more_alike", n=len(rest)), style="bright_black"), places(rest))
        self.console.print(table)

    def _repairs(self, dataset: Dataset) -> None:
        if not dataset.repaired:
            return
        self.say("show.repaired", "bold", n=len(dataset.repaired))
        for code, n in Counter(repair.code for repair in dataset.repaired).items():
            first = next(repair for repair in dataset.repaired if repair.code == code)
            where = first.cell or first.row
            self.line(f"  {first.message()} × {n}" + (f" ({where})" if where else ""), "green")
            self.line(f"    - {short(first.before)}", "red")
            self.line(f"    + {short(first.after)}", "green")

    def _dropped(self, dataset: Dataset) -> None:
        """Those that the findings have not told of yet."""
        if not dataset.untold:
            return
        self.say("show.dropped", "bold", n=len(dataset.untold))
        for left in dataset.untold[:FEW]:
            self.line("  " + say("show.row", row=left.row) + f" {left.message()}")
        if len(dataset.untold) > FEW:
            self.say("show.more", "bright_black", n=len(dataset.untold) - FEW)

    def window(self, found: Mapping[str, Any]) -> None:
        """Some rows of a file as they stand in it, with what was found of each."""
        if self.as_json:
            return
        self.say("show.window", sheet=found["sheet"] or "-", n=found["total"], first=found["offset"] + 1)
        for row in found["rows"]:
            style = {"dropped": "yellow", "not_data": "bright_black"}.get(row["state"] or "", "")
            cells = " │ ".join(short(cell["text"], 40) for cell in row["cells"])
            self.console.print(Text(f"{row['number']:>6} ", style="bold").append(cells, style=style))
            for issue in row["issues"]:
                self.line(f"       {issue['message']}", COLOURS[issue["severity"]])

    def difference(self, found: Difference) -> None:
        """What was added, removed and changed, the first few of each."""
        if self.as_json:
            return
        counts = {name: len(getattr(found, name)) for name in ("added", "removed", "changed")}
        self.say("show.difference", "bold", same=found.same, **counts)
        for sign, colour, examples in (("+", "green", found.added), ("-", "red", found.removed)):
            for one in examples[:FEW]:
                self.line(f"{sign} {in_a_line(one)}", colour)
        for old, new in found.changed[:FEW]:
            self.line(f"- {in_a_line(old)}", "red")
            self.line(f"+ {in_a_line(new)}", "green")

    def xray(self, found: Mapping[str, Any], most: int) -> None:
        if self.as_json:
            return
        for row in found["rows"][:most]:
            text = Text(say("show.row", row=", ".join(map(str, row["rows"]))) + " ", style="bold")
            for piece, fate in row["pieces"]:
                text.append(piece, style=FATES[fate])
            if "label" in row:
                text.append(f" → {row['label']}", style=FATES["learned"])
            for cause in row["faults"]:
                text.append("\n  " + say(f"issue.label_{cause}.message"), style="bold red")
            if row["marks"]:
                text.append("\n  " + say("issue.marks_as_text.message", n=row["marks"]), style=COLOURS["warning"])
            self.console.print(text)
            self.console.print()
        legend = Text()
        for fate, colour in FATES.items():
            legend.append(f"■ {say(f'show.{fate}')}  ", style=colour)
        self.console.print(legend)
        right = found["examples"] == found["end_token_learned"] and not found["cut"] and not found["all_masked"]
        bad = sum(1 for row in found["rows"] if row["faults"])
        if found["rows"] and "label" in found["rows"][0]:
            key = "show.xray_labels_bad" if bad else "show.xray_labels_good"
            self.say(key, "bold red" if bad else "bold green", examples=found["examples"], bad=bad)
            return
        self.say(
            "show.xray_good" if right and not bad else "show.xray_bad",
            "bold green" if right and not bad else "bold red",
            **{k: found[k] for k in ("examples", "end_token_learned", "cut", "all_masked")},
            bad=bad,
        )

    def migration(self, found: Mapping[str, Any]) -> None:
        """What of another service's job was carried over, and what was not."""
        if self.as_json:
            return
        self.say("show.imported", "bold", service=say(f"show.service_{found['service']}"))
        table = Table(box=None, pad_edge=False, show_header=False)
        for one in found["mapped"]:
            table.add_row(Text(one["theirs"]), short(str(one["value"])), "→", Text(f"{one['ours']} = {one['becomes']}"))
        self.console.print(table)
        if found["left"]:
            self.say("show.import_left", "bold")
        table = Table(box=None, pad_edge=False, show_header=False)
        for one in found["left"]:
            table.add_row(Text(one["theirs"]), short(str(one["value"])), Text(one["why"], style="bright_black"))
        self.console.print(table)
        if found["learning_rate_multiplier"]:
            self.say("show.import_multiplier", "yellow", multiplier=found["learning_rate_multiplier"])

    # ── models and plans ──

    def bases(self, bases: Sequence[tuple[Base, bool]]) -> None:
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False)
        for key in ("name", "size", "memory", "languages", "licence", "here"):
            table.add_column(say(f"show.base_{key}"))
        for base, fits in bases:
            size = base.shape.parameters
            table.add_row(
                base.name,
                f"{size / 1e9:.2g}B",
                Text(f"{size * 4 / 1e9:.1f} GB", style="" if fits else "yellow"),
                " ".join(base.languages),
                base.licence,
                say("show.yes") if base.path else "",
            )
        self.console.print(table)

    def proposal(self, proposal: Proposal, doubts: Sequence[Issue], *, every: bool = True) -> None:
        if self.as_json:
            return
        self.title("show.plan")
        table = Table(box=None, pad_edge=False, show_header=False)
        for overflow in ("fold", "fold", "fold"):
            table.add_column(overflow=overflow)
        from postil.plan import matters

        values = proposal.plan.model_dump()
        for name, choice in proposal.reasons.items():
            shown = matters(name, values) and (every or name in MAIN)
            if not shown and choice.source != "user":
                continue
            table.add_row(Text(name, style="bold"), as_value(choice.value), Text(choice.why(), style="bright_black"))
        self.console.print(table)
        e = proposal.estimate
        self.say(
            "show.estimate",
            "bold",
            low=duration(e.seconds[0]),
            high=duration(e.seconds[1]),
            memory=f"{e.memory_bytes / 1e9:.1f}",
            disk=f"{e.disk_bytes / 1e9:.2f}",
            cost=moneys(*e.cost, e.currency),
        )
        self.say("show.parameters", method=proposal.plan.method, count=f"{e.trained_parameters:,}")
        for doubt in doubts:
            self.line(f"{doubt.message()} {doubt.fix()}", COLOURS[doubt.severity])

    def fields(self, fields: Sequence[Any]) -> None:
        """Every parameter with its range and meaning."""
        if self.as_json:
            self.result({"fields": [field.as_json() for field in fields]})
            return
        table = Table(box=None, pad_edge=False)
        for key in ("field", "default", "allowed", "meaning"):
            table.add_column(say(f"show.{key}"), overflow="fold")
        for field in fields:
            table.add_row(
                Text(field.name, style="bold"),
                as_value(field.default),
                Text(allowed(field)),
                Text(f"{field.label}: {field.help}"),
            )
        self.console.print(table)

    def measuring(self, base: Base) -> None:
        if base.path is not None:
            self.say("show.measuring", "bright_black", base=base.name)

    # ── answers ──

    @contextmanager
    def side_by_side(self) -> Iterator[Callable[[str, str], None]]:
        """Hears (name, piece) of the answers of "base" and "tuned", and shows both as they grow."""
        if self.as_json:
            yield lambda name, piece: None
        elif self.console.is_terminal:
            texts = {"base": Text(), "tuned": Text(style="green")}
            with Live(self._columns(texts), console=self.console, refresh_per_second=12) as live:

                def grow(name: str, piece: str) -> None:
                    texts[name].append(piece)
                    live.update(self._columns(texts))

                yield grow
        else:
            yield self._in_turn()

    def _columns(self, texts: Mapping[str, Text]) -> Table:
        table = Table(expand=True)
        for name in texts:
            table.add_column(say(f"show.{name}"), ratio=1, overflow="fold")
        table.add_row(*texts.values())
        return table

    def _in_turn(self) -> Callable[[str, str], None]:
        """One answer after the other, for a pipe."""
        last = ""

        def write(name: str, piece: str) -> None:
            nonlocal last
            if name != last:
                self.console.print(Text(f"{chr(10) if last else ''}{say(f'show.{name}')}: "), end="")
                last = name
            self.console.print(Text(piece), end="")

        return write

    def asked(self) -> str:
        """A question typed by a person; empty at the end."""
        try:
            line = self.console.input(Text(f"{say('show.you')} > ", style="bold cyan")).strip()
        except EOFError:
            return ""
        return "" if line.casefold() in FAREWELLS else line

    def foreign(self, file: Path, found: Foreign) -> None:
        """What was taken over from another program's settings, and what was not."""
        if self.as_json:
            return
        self.title("show.foreign", program=found.program, file=file.name)
        table = Table(box=None, pad_edge=False, show_header=False)
        for key, (name, value) in found.mapped.items():
            table.add_row(Text(say("show.foreign_mapped"), style="green"), Text(key, style="bold"), f"{name} = {value}")
        for one in found.unmapped:
            told = Text(f"{one.value}  ").append(one.words(), style="bright_black")
            style = "bright_black" if one.why in ("ours", "off") else "yellow"
            table.add_row(Text(say("show.foreign_left"), style=style), Text(one.key, style="bold"), told)
        self.console.print(table)

    # ── export ──

    def adopted(self, made: Mapping[str, Any], unknown: Mapping[str, Any]) -> None:
        """An adapter that has got a name."""
        self.say("show.adopted", name=made["name"], base=made["base"], path=made["path"])
        if unknown:
            self.say("show.unknown_keys", "yellow", keys=", ".join(unknown))
        if not made["live"]:
            self.say("show.adopted_held", "yellow")

    def exported(self, made: Mapping[str, Any]) -> None:
        size = made["bytes"] / 1e6
        self.say("show.exported", "bold", path=made["output"], size=f"{size:,.1f} MB", files=", ".join(made["files"]))
        for note in made["notes"]:
            self.line(f"  {note}", "cyan")
        self.parity(made["parity"])
        if "pushed" in made:
            self.say("show.pushed", "bold", url=made["pushed"]["url"])

    def parity(self, found: Mapping[str, Any]) -> None:
        """A certificate in words."""
        self.title("show.parity")
        colour = {"pass": "bold green", "fail": "bold red"}.get(found["outcome"], "yellow")
        for line in found["words"][language()]:
            self.line(line, colour)

    def doctor(self, found: Mapping[str, Any]) -> None:
        if self.as_json:
            return
        table = Table(box=None, pad_edge=False, show_header=False)
        for name, value in found["facts"].items():
            table.add_row(Text(name, style="bold"), Text(str(value)))
        for name, value in found["settings"].items():
            table.add_row(Text(name, style="bright_black"), Text(str(value), style="bright_black"))
        self.console.print(table)
        for problem in found["differences"]:
            self.line(problem, "yellow")
        for problem in found["problems"]:
            self.line(problem, "bold red")
        if not found["problems"]:
            self.say("doctor.well", "bold green")

    def tally(self, tally: Tally) -> None:
        """What a vote has come to."""
        if self.as_json:
            return
        self.line(tally.preference.words(), "bold")
        agreement = tally.agreement
        if agreement.percent is not None:
            kappa = "-" if agreement.kappa is None else f"{agreement.kappa:.2f}"
            self.say(
                "show.agreement",
                percent=round(100 * agreement.percent),
                raters=agreement.raters,
                rows=agreement.rows,
                kappa=kappa,
            )

    def findings(self, found: Sequence[Finding]) -> None:
        """What is wrong with a run, and what would mend it."""
        if self.as_json:
            return
        for one in found:
            self.line(f"{say(f'severity.{one.severity}')}  {one.message()}", COLOURS[one.severity])
            self.line(f"  → {one.fix()}" + (f" ({one.options()})" if one.settings else ""), "bright_black")
        if not found:
            self.say("show.no_findings", "bold green")

    # ── progress ──

    def emit(self, event: Event) -> None:
        """An event of a running command."""
        if self.as_json:
            sys.stderr.write(json_line(event.as_json(), sys.stderr))
        elif event.type == "message":
            key = f"event.{event.data['code']}"
            values = {name: value for name, value in event.data.items() if name != "code"}
            self.line(say(key, **values) if knows(key) else str(values), "yellow" if event.level == "warn" else "")
        elif event.type == "timed":
            if event.data["seconds"] < LEAST_TOLD:
                return
            stage, took = say(f"stage.{event.data['what']}"), duration(event.data["seconds"])
            self.say("show.took", "bright_black", stage=stage, time=took)
        elif self.console.is_terminal:
            self._draw(event)
        else:
            self._tell(event)

    def close(self) -> None:
        """End the progress bar, if there is one."""
        if self._bar:
            self._bar.stop()
            self._bar = None

    def _draw(self, event: Event) -> None:
        if self._bar is None:
            columns = (
                TextColumn("{task.description}"),
                BarColumn(bar_width=12),
                TextColumn("{task.percentage:>3.0f}%"),
                TextColumn("{task.fields[numbers]}"),
            )
            self._bar = Progress(*columns, console=self.console)
            self._task = self._bar.add_task("", total=100, numbers="")
            self._bar.start()
            atexit.register(self.close)  # however the command ends, the cursor comes back
        assert self._task is not None
        stage = stage_of(event)
        self._bar.update(self._task, completed=percent_of(event), description=stage or None)
        if event.type in ("metrics", "stage", "answers", "done"):
            self._bar.update(self._task, numbers=numbers_of(event))
        if event.type == "done":
            self.close()

    def _tell(self, event: Event) -> None:
        """Plain lines, not more often than every few seconds but for a new stage."""
        stage = stage_of(event)
        new = bool(stage) and stage != self._stage
        if event.type == "checkpoint" or not (new or time.monotonic() - self._told_at > 5):
            return
        self._told_at, self._stage = time.monotonic(), stage or self._stage
        percent = percent_of(event)
        self.console.print(Text(f"[{percent:>5.1f}%] {stage} {numbers_of(event)}" if percent is not None else stage))

    def stages(self, stages: Mapping[str, float]) -> None:
        """What took how long, in the order in which it was done."""
        told = [
            f"{say(f'stage.{name}')} {duration(took)}"
            for name, took in sorted(stages.items(), key=_order)
            if took >= LEAST_TOLD
        ]
        if told:
            self.say("show.stages", "bright_black", stages=" · ".join(told))

    def left_out(self, changes: Mapping[str, Sequence[Any]]) -> None:
        """What there was no time for: name -> how much there is, and how much there would be."""
        parts = [
            say(f"left_out.{name}") + ("" if isinstance(after, bool) else f" {after}/{before}")
            for name, (after, before) in changes.items()
        ]
        if parts:
            self.say("show.left_out", "yellow", parts=" · ".join(parts))

    # ── proof ──

    def evaluation(self, evaluation: Evaluation, *, most: int = FEW) -> None:
        if self.as_json:
            return
        self.title("show.before_after_learned" if evaluation.learned else "show.before_after")
        if evaluation.learned:
            self.say("show.learned_questions", "bold yellow", n=evaluation.learned, of=len(evaluation.rows))
        table = Table(pad_edge=False)
        for key in ("question", "reference", "base", "tuned"):
            table.add_column(say(f"show.{key}"), overflow="fold")
        start = in_common([row["question"] for row in evaluation.rows])
        for row in evaluation.rows[:most]:
            good = row["tuned"].strip() == row["reference"].strip()
            table.add_row(
                escape(end_of(row["question"][start:])),
                escape(short(row["reference"])),
                escape(short(row["base"])),
                Text(short(row["tuned"]), style="green" if good else ""),
            )
        self.console.print(table)
        numbers = Table(box=None, pad_edge=False)
        for key in ("metric", "base", "tuned"):
            numbers.add_column(say(f"show.{key}"))
        for name in evaluation.others:
            numbers.add_column(say(f"others.{name}"))
        for name, value in evaluation.base.items():
            tuned = evaluation.tuned[name]
            mark = " ←" if name == evaluation.verdict.metric else ""
            theirs = (as_metric(name, one[name]) if name in one else "" for one in evaluation.others.values())
            numbers.add_row(say(f"metric.{name}") + mark, as_metric(name, value), as_metric(name, tuned), *theirs)
        self.console.print(numbers)
        self._confusion(evaluation)
        if evaluation.readiness:
            tone = {"ready": "bold green", "not_yet": "bold red"}.get(evaluation.readiness.level, "bold yellow")
            self.line(evaluation.readiness.words(), tone)
        colour = {"better": "bold green", "worse": "bold red"}.get(evaluation.verdict.outcome, "bold yellow")
        self.line(evaluation.verdict.words(), colour)
        for sentence in evaluation.against_words():
            self.line(sentence, "cyan")
        if evaluation.forgetting is not None:
            from postil.evaluate import forgetting_words

            self.line(forgetting_words(evaluation.forgetting, language()))

    def _confusion(self, evaluation: Evaluation) -> None:
        """Which label was given for which, where there are few enough to stand on a screen."""
        found = evaluation.confusion
        if found is None or not 2 <= len(found.labels) <= WIDEST:
            return
        table = Table(box=None, pad_edge=False)
        table.add_column(say("report.confusion.wanted"))
        for label in found.labels:
            table.add_column(escape(short(label, 12)), justify="right")
        for label, counts in zip(found.labels, found.counts, strict=True):
            table.add_row(escape(short(label, 12)), *(str(count) if count else "·" for count in counts))
        self.console.print(table)


MAIN = (
    "kind",
    "metric",
    "learning_rate",
    "r",
    "lora_alpha",
    "target_modules",
    "n_epochs",
    "batch_size",
    "validation_rows",
    "test_rows",
    "dtype",
    "threads",
)


STAGES = ("measure", "load", "start", "own_texts", "base_loss", "probe", "train", "evaluate")
WIDEST = 12  # labels of a table on a screen


def _order(stage: tuple[str, float]) -> int:
    return STAGES.index(stage[0]) if stage[0] in STAGES else len(STAGES)

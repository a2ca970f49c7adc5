"""Amounts, places and states of a run, put into words for one line of a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.text import Text

from postil.locales import knows, say
from postil.records import Event, Example, Issue

FEWEST_SHARED = 8  # characters; what fewer begin alike is no instruction


def allowed(field: Any) -> str:
    """The values that a parameter of the plan may have."""
    if field.choices:
        return " | ".join(field.choices)
    if field.type == "boolean":
        return "true | false"
    limits = ["" if limit is None else f"{limit:.10g}" for limit in (field.minimum, field.maximum)]
    return " … ".join(limits) if any(limits) else "-"


def duration(seconds: float) -> str:
    """Seconds, minutes or hours, as a person says them."""
    if seconds < 90:
        return say("show.seconds", n=round(seconds))
    if seconds < 5400:
        return say("show.minutes", n=round(seconds / 60))
    return say("show.hours", n=f"{seconds / 3600:.1f}")


def money(amount: float, currency: str) -> str:
    """An amount in the settings' currency, and in the other one."""
    from postil.settings import Settings

    rate = Settings().cny_per_usd
    yuan, dollars = (amount, amount / rate) if currency == "CNY" else (amount * rate, amount)
    return f"{sign('CNY')}{_rounded(yuan)} ({sign('USD')}{_rounded(dollars)})"


def sign(currency: str) -> str:
    """What stands before an amount of this currency; nothing where no sign is known."""
    return say(f"money.{currency}") if knows(f"money.{currency}") else ""


def moneys(least: float, most: float, currency: str) -> str:
    """Between two amounts; one, where a person sees no difference."""
    return " – ".join(dict.fromkeys([money(least, currency), money(most, currency)]))


def _rounded(value: float) -> str:
    return "<0.01" if 0 < value < 0.01 else f"{value:.2f}"


def percent_of(event: Event) -> float | None:
    if event.type == "answers":
        return float(100 * event.data["done"] / max(1, event.data["of"]))
    percent: float | None = event.data.get("percent")
    return percent


def stage_of(event: Event) -> str:
    if event.type == "answers":
        return say("stage.answer")
    stage = event.data.get("stage")
    return say(f"stage.{stage}") if stage else say("stage.done") if event.type == "done" else ""


def numbers_of(event: Event) -> str:
    data = event.data
    left = [say("show.left", time=duration(data["seconds_left"]))] if "seconds_left" in data else []
    if "what" in data:
        return " · ".join([say(f"stage.what_{data['what']}"), *left])
    if event.type == "answers":
        return " · ".join([f"{data['done']}/{data['of']}", *left])
    if event.type != "metrics":
        return ""
    parts = [f"{data['step']}/{data['total_steps']}", f"{say('show.loss')} {data.get('loss', float('nan')):.3f}"]
    if "validation_loss" in data:
        parts.append(f"{say('show.validation_loss')} {data['validation_loss']:.3f}")
    parts.append(f"{data.get('tokens_per_second', 0):.0f} tok/s")
    parts += left
    parts.append(f"{sign(_currency())}{_rounded(data['cost'])}")
    return " · ".join(parts)


def _currency() -> str:
    from postil.settings import Settings

    return Settings().currency


def as_metric(name: str, value: float) -> str:
    from postil.evaluate import NUMBERS

    return f"{value:.{NUMBERS[name]}f}" if name in NUMBERS else f"{value:.1%}"


def in_a_line(example: Example) -> str:
    """An example in a line: its rows, its last question and its answer."""
    rows = ", ".join(map(str, example.rows))
    asked = next((message.content for message in reversed(example.question) if message.role == "user"), "")
    return f"[{rows}] {short(asked)} → {short(example.answer)}"


def places(issues: Sequence[Issue]) -> str:
    """Where they are: the first cells or rows, and how many in all."""
    places = [str(issue.cell or issue.row) for issue in issues if issue.cell or issue.row is not None]
    return ", ".join(places[:6]) + (f" … ({len(places)})" if len(places) > 6 else "")


def short(text: str, most: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else text[: most - 1] + "…"


def in_common(questions: Sequence[str]) -> int:
    """How many characters of a fixed instruction stand before all of these questions; 0 where they share but a few."""
    if len(questions) < 2:
        return 0
    first, last = min(questions), max(questions)  # what these two begin with, all do
    shared = next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), 0)
    return shared if shared >= FEWEST_SHARED else 0


def end_of(text: str, most: int = 40) -> str:
    """The end of a question: a fixed instruction stands before it."""
    text = " ".join(text.split())
    return text if len(text) <= most else "…" + text[-most + 1 :]


def as_value(value: Any) -> Text:
    return Text("-" if value is None else f"{value:g}" if isinstance(value, float) else short(str(value), 28))

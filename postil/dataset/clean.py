"""Drafts become examples: roles in order, nothing empty, no pair twice. What falls away is listed with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from postil.dataset.drafts import Draft, Ledger, Turn, blank
from postil.records import Example, Message


@dataclass(frozen=True, slots=True)
class Settled:
    """An example, and where each of its messages came from: (index of the record, cell)."""

    example: Example
    at: tuple[int, ...]
    places: tuple[tuple[int, str | None], ...]
    rejected: tuple[int, str | None] | None = None  # where the unwanted answer came from


def settle(draft: Draft, ledger: Ledger) -> Settled | None:
    """The example of a draft, or None if nothing can be learned from it (then the ledger knows why)."""
    if not draft.turns:
        for at in draft.at:
            if not ledger.known(at):
                ledger.drop(at, "empty_conversation")
        return None
    if draft.reads:
        return _settled([turn for turn in draft.turns if not blank(turn.content)], draft, ledger)
    turns = _answered(_in_turn(_without_gaps(_system_first(draft.turns, ledger), ledger), ledger), draft, ledger)
    if not turns:
        _drop_all(draft, ledger)
        return None
    if all(turn.weight == 0 for turn in turns if turn.role == "assistant"):
        for at in draft.at:
            ledger.drop(at, "nothing_to_learn", severity="warning")
        return None
    return _settled(turns, draft, ledger)


def _settled(turns: Sequence[Turn], draft: Draft, ledger: Ledger) -> Settled:
    used = sorted({at for turn in turns for at in turn.at})
    for at in draft.at:
        if at not in used and not ledger.known(at):
            ledger.drop(at, "missing_answer")
    messages = tuple(Message(turn.role, turn.content, turn.weight, turn.extra) for turn in turns)
    rows = tuple(dict.fromkeys(ledger.numbers[at] for at in used))
    places = tuple((turn.at[0], turn.cell) for turn in turns)
    unwanted = draft.rejected
    example = Example(messages, rows, draft.group, draft.tools, None if unwanted is None else unwanted.content.strip())
    return Settled(example, tuple(used), places, None if unwanted is None else (unwanted.at[0], unwanted.cell))


def _system_first(turns: list[Turn], ledger: Ledger) -> list[Turn]:
    """One system message, at the start. The same text in later turns is kept once."""
    systems = [turn for turn in turns if turn.role == "system" and not blank(turn.content)]
    if not any(turn.role == "system" for turn in turns):
        return turns
    others = [turn for turn in turns if turn.role != "system"]
    if not systems:
        return others
    first = systems[0]
    texts = list(dict.fromkeys(turn.content for turn in systems))
    if len(systems) > 1 or turns[0].role != "system":
        code = "system_once" if len(texts) == 1 else "system_joined"
        before = "\n".join(turn.content for turn in systems)
        ledger.repair(code, first.at[0], before, "\n".join(texts), first.cell, count=len(systems))
    at = tuple(dict.fromkeys(a for turn in systems for a in turn.at))
    return [Turn("system", "\n".join(texts), at, first.cell), *others]


def _without_gaps(turns: list[Turn], ledger: Ledger) -> list[Turn]:
    return [turn for turn in turns if not blank(turn.content) or turn.extra.get("tool_calls")]


def _in_turn(turns: list[Turn], ledger: Ledger) -> list[Turn]:
    """Neighbours of the same role joined, and a greeting before the first question taken off."""
    kept: list[Turn] = []
    for turn in turns:
        last = kept[-1] if kept else None
        if last is not None and _may_join(last, turn):
            joined = Turn(
                last.role, f"{last.content}\n{turn.content}", last.at + turn.at, last.cell, turn.weight, last.extra
            )
            ledger.repair("messages_joined", turn.at[0], f"{last.content} | {turn.content}", joined.content, turn.cell)
            kept[-1] = joined
        else:
            kept.append(turn)
    return _question_first(kept, ledger)


def _may_join(last: Turn, turn: Turn) -> bool:
    same = last.role == turn.role and turn.role in ("user", "assistant")
    return same and not last.extra and not turn.extra and last.weight == turn.weight


def _question_first(turns: list[Turn], ledger: Ledger) -> list[Turn]:
    speaking = [i for i, turn in enumerate(turns) if turn.role != "system"]
    if not speaking or turns[speaking[0]].role == "user":
        return turns
    asked = next((i for i in speaking if turns[i].role == "user"), None)
    if asked is None:
        return turns
    kept = [turn for i, turn in enumerate(turns) if i not in speaking or i >= asked]
    here = {at for turn in kept for at in turn.at}
    for i in speaking:
        if i < asked:
            turn, text = turns[i], turns[i].content[:60]
            ledger.repair("opening_removed", turn.at[0], turn.content, "", turn.cell)
            alone = [at for at in turn.at if at not in here]
            for at in alone:
                ledger.drop(at, "assistant_first", turn.cell, severity="advice", text=text)
            if not alone:
                ledger.issue("assistant_first", "advice", turn.at[0], turn.cell, text=text)
    return kept


def _answered(turns: list[Turn], draft: Draft, ledger: Ledger) -> list[Turn]:
    """Without what stands after the last answer; empty if there is no question or no answer."""
    answers = [i for i, turn in enumerate(turns) if turn.role == "assistant"]
    if not answers or not any(turn.role == "user" for turn in turns[: answers[-1]]):
        return []
    kept = turns[: answers[-1] + 1]
    here = {at for turn in kept for at in turn.at}
    for turn in turns[answers[-1] + 1 :]:
        ledger.repair("unanswered_removed", turn.at[0], turn.content, "", turn.cell)
        alone = [at for at in turn.at if at not in here]
        for at in alone:
            ledger.drop(at, "unanswered_last_turn", turn.cell, "warning", text=turn.content[:60])
        if not alone:
            ledger.issue("unanswered_last_turn", "warning", turn.at[0], turn.cell, text=turn.content[:60])
    return kept


def _drop_all(draft: Draft, ledger: Ledger) -> None:
    """No question or no answer is left: say which, at the cell that is empty."""
    asked = [t for t in draft.turns if t.role == "user" and not blank(t.content)]
    answered = [t for t in draft.turns if t.role == "assistant" and not blank(t.content)]
    if asked and answered:  # an answer before the first question, and nothing after it
        code, role = "answer_before_question", "assistant"
    elif asked:
        code, role = "missing_answer", "assistant"
    elif answered:
        code, role = "missing_question", "user"
    else:
        code, role = "missing_both", "user"
    for at in draft.at:
        cell = next((t.cell for t in draft.turns if t.role == role and at in t.at), None)
        text = next((t.content for t in (*asked, *answered) if at in t.at), "")
        if not ledger.known(at):
            ledger.drop(at, code, cell, text=text.strip()[:60])


# ── the same pair twice ───────────────────────────────────────────────────────────────────────────


def without_duplicates(settled: Sequence[Settled], ledger: Ledger) -> list[Settled]:
    """The first of each dialogue; the others are dropped, each with the row of the first."""
    seen: dict[tuple[Any, ...], Settled] = {}
    kept = []
    used: set[int] = set()
    repeated: list[tuple[Settled, Settled]] = []
    for one in settled:
        said = tuple((message.role, message.content) for message in one.example.messages)
        key = (*said, one.example.rejected)
        extra = any(message.extra for message in one.example.messages) or one.example.tools
        first = None if extra else seen.setdefault(key, one)
        if first is None or first is one:
            kept.append(one)
            used.update(one.at)
        else:
            repeated.append((one, first))
    for one, first in repeated:
        gone = [at for at in one.at if at not in used]
        for at in gone:
            ledger.drop(at, "duplicate", one.places[0][1], severity="warning", first=ledger.numbers[first.at[0]])
        if not gone:
            first_row = ledger.numbers[first.at[0]]
            ledger.issue("duplicate", "advice", one.at[0], one.places[0][1], first=first_row)
    return kept


# ── a prompt for all rows ─────────────────────────────────────────────────────────────────────────


def ask(question: str, system: str | None = None, instruction: str | None = None) -> tuple[Message, ...]:
    """The messages that put `question` to a model, with the system prompt and the instruction for all rows.

    The instruction stands before the question on a line of its own; directly before it if it ends with a colon; around
    it if it holds "{}".
    """
    said = Message("user", _instructed(question, instruction))
    return (Message("system", system), said) if system else (said,)


def _instructed(question: str, instruction: str | None) -> str:
    if not instruction:
        return question
    if "{}" in instruction:
        return instruction.replace("{}", question)
    between = "" if instruction.rstrip(" ").endswith((":", "：")) else "\n"
    return f"{instruction}{between}{question}"


def prompted(one: Settled, system: str | None, instruction: str | None) -> Settled:
    """The example with the system prompt and the instruction for all rows. Its own system text wins."""
    if not one.example.question or not (system or instruction):
        return one
    messages = list(one.example.messages)
    places = list(one.places)
    first = next(i for i, message in enumerate(messages) if message.role == "user")
    asked = messages[first]
    messages[first] = Message("user", _instructed(asked.content, instruction), asked.weight, asked.extra)
    if system and messages[0].role != "system":
        messages.insert(0, Message("system", system))
        places.insert(0, places[0])
    return replace(one, example=replace(one.example, messages=tuple(messages)), places=tuple(places))

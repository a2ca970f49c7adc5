"""Every problem of the examples at once, each with the row and the cell where it is."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import replace

from postil.dataset.clean import Settled
from postil.dataset.drafts import Ledger
from postil.dataset.personal import find_personal, mask
from postil.dataset.similar import near_pairs, plain
from postil.dataset.suspicious import follow_up, oddities, placeholder
from postil.records import Example, Message

LONG_ANSWER = 2000  # tokens, estimated: a Chinese character is about one, four other characters are about one
FEWEST, FEW, ENOUGH = 10, 100, 500
DOMINATES = 0.8
VARIED = 3  # different answers to one question: more are variety that is wanted (写一条文案), not a contradiction
_WIDE = re.compile("[\u2e80-\u9fff\uac00-\ud7af\uf900-\ufaff\U00020000-\U0003ffff]")


def check(settled: Sequence[Settled], ledger: Ledger) -> None:
    """List the problems of the examples in the ledger. Nothing is changed."""
    for one in settled:
        _check_one(one, ledger)
        _check_rejected(one, ledger)
    keys = [_question_key(one.example) for one in settled]
    answers = [plain(one.example.answer) for one in settled]
    _contradictions(settled, keys, answers, ledger)
    _near_duplicates(settled, keys, answers, ledger)
    _dominating(settled, ledger)
    _triggers(settled, ledger)
    count_rows(len(settled), ledger)


def count_rows(examples: int, ledger: Ledger) -> None:
    """Whether there is enough to learn from."""
    if examples < FEWEST:
        ledger.issue("too_few_rows", "error", count=examples, least=FEWEST)
    elif examples < FEW:
        ledger.issue("few_rows", "warning", count=examples, better=FEW)
    elif examples < ENOUGH:
        ledger.issue("more_rows", "advice", count=examples, better=ENOUGH)


def _check_one(one: Settled, ledger: Ledger) -> None:
    asked = False
    for message, (at, cell) in zip(one.example.messages, one.places, strict=True):
        text = message.content
        if message.role == "assistant" and len(text) > LONG_ANSWER and one.example.question:
            _answer_length(text, at, cell, ledger)
        for kind in dict.fromkeys(found.kind for found in find_personal(text)):
            ledger.issue(f"personal_{kind}", "warning", at, cell)
        for code, words in oddities(text):
            ledger.issue(code, "warning", at, cell, text=words)
        if message.role == "user" and not asked:
            asked = True
            if len(text) <= 60 and follow_up(text):
                ledger.issue("lost_context", "warning", at, cell, text=text)


def _check_rejected(one: Settled, ledger: Ledger) -> None:
    if one.example.rejected is None or one.rejected is None:
        return
    at, cell = one.rejected
    for kind in dict.fromkeys(found.kind for found in find_personal(one.example.rejected)):
        ledger.issue(f"personal_{kind}", "warning", at, cell)
    for code, words in oddities(one.example.rejected):
        ledger.issue(code, "warning", at, cell, text=words)


def _answer_length(text: str, at: int, cell: str | None, ledger: Ledger) -> None:
    wide = sum(1 for _ in _WIDE.finditer(text))
    tokens = wide + (len(text) - wide) // 4
    if tokens > LONG_ANSWER:
        ledger.issue("answer_too_long", "warning", at, cell, length=len(text), tokens=tokens)


# ── wanted and unwanted answers ───────────────────────────────────────────────────────────────────


def with_rejected(settled: Sequence[Settled], ledger: Ledger) -> list[Settled]:
    """Where most examples have an unwanted answer, those without one, or with two equal answers, are dropped.

    Where few have, it is left out of them: they are questions and answers like the others.
    """
    told = sum(bool(one.example.rejected) for one in settled)
    if not any(one.example.rejected is not None for one in settled):
        return list(settled)
    if 2 * told < len(settled):
        if told:
            ledger.issue("rejected_few", "warning", count=told, n=len(settled))
        return [replace(one, example=replace(one.example, rejected=None), rejected=None) for one in settled]
    kept = [one for one in settled if _why_not_compared(one) is None]
    used = {at for one in kept for at in one.at}
    for one in settled:
        if code := _why_not_compared(one):
            at, cell = one.rejected or one.places[-1]
            for gone in (each for each in one.at if each not in used):
                ledger.drop(gone, code, cell)
            if all(each in used for each in one.at):
                ledger.issue(code, "error", at, cell)
    return kept


def _why_not_compared(one: Settled) -> str | None:
    if not one.example.rejected:
        return "rejected_empty"
    return "rejected_same" if plain(one.example.rejected) == plain(one.example.answer) else None


# ── placeholders and personal data are taken out before the comparison ────────────────────────────


def without_placeholders(settled: Iterable[Settled], ledger: Ledger) -> list[Settled]:
    """Pairs whose question or answer is nothing but a placeholder are dropped; a dialogue of many turns is kept."""
    kept: list[Settled] = []
    dropped: list[tuple[Settled, int]] = []
    for one in settled:
        bad = _bad_message(one)
        if bad is None:
            kept.append(one)
        else:
            dropped.append((one, bad))
    used = {at for one in kept for at in one.at}
    for one, bad in dropped:
        text = one.example.messages[bad].content[:40]
        for at in one.at:
            if at not in used:
                ledger.drop(at, "placeholder_text", one.places[bad][1], severity="warning", text=text)
        if all(at in used for at in one.at):
            ledger.issue("placeholder_text", "warning", one.places[bad][0], one.places[bad][1], text=text)
    return kept


def _bad_message(one: Settled) -> int | None:
    messages = one.example.messages
    if sum(message.role == "assistant" for message in messages) != 1:
        return None
    spoken = (i for i, message in enumerate(messages) if message.role in ("user", "assistant") and not message.extra)
    return next((i for i in spoken if placeholder(messages[i].content)), None)


def masked(one: Settled, ledger: Ledger) -> Settled:
    """The example with its personal data masked; each change is listed."""
    messages = list(one.example.messages)
    for i, (message, (at, cell)) in enumerate(zip(one.example.messages, one.places, strict=True)):
        after = mask(message.content)
        if after != message.content:
            ledger.repair("masked", at, message.content, after, cell)
            messages[i] = Message(message.role, after, message.weight, message.extra)
    rejected = one.example.rejected
    if rejected and one.rejected and (after := mask(rejected)) != rejected:
        ledger.repair("masked", one.rejected[0], rejected, after, one.rejected[1])
        rejected = after
    return replace(one, example=replace(one.example, messages=tuple(messages), rejected=rejected))


# ── examples compared with each other ─────────────────────────────────────────────────────────────


def _question_key(example: Example) -> str:
    parts = [f"{message.role[0]}{plain(message.content)}" for message in example.question or example.messages]
    return parts[0][1:] if len(parts) == 1 else "\n".join(parts)


def _contradictions(settled: Sequence[Settled], keys: Sequence[str], answers: Sequence[str], ledger: Ledger) -> None:
    """The same question with different answers; both rows are named."""
    same: defaultdict[str, list[int]] = defaultdict(list)
    for i, key in enumerate(keys):
        if settled[i].example.rejected is None:  # of two answers to choose from there are as many as people write
            same[key].append(i)
    for group in same.values():
        if len(group) < 2:
            continue
        first = group[0]
        if len({answers[i] for i in group}) > VARIED:
            at, cell = settled[first].places[0]
            ledger.issue("many_answers", "advice", at, cell, count=len(group))
            continue
        other = next((i for i in group if answers[i] != answers[first] and settled[i].at != settled[first].at), None)
        for i in group if other is not None else ():
            against = first if answers[i] != answers[first] else other
            assert against is not None
            at, cell = settled[i].places[-1]
            ledger.issue("contradiction", "warning", at, cell, other=ledger.numbers[settled[against].places[-1][0]])


def _near_duplicates(settled: Sequence[Settled], keys: Sequence[str], answers: Sequence[str], ledger: Ledger) -> None:
    """Examples that differ only by marks, width and spaces, or by a few characters of many."""
    first: dict[str, int] = {}
    whole = [
        f"{key}\n{answer}\n{plain(one.example.rejected or '')}"
        for one, key, answer in zip(settled, keys, answers, strict=True)
    ]
    rest: list[int] = []
    for i, text in enumerate(whole):
        if (before := first.setdefault(text, i)) != i:
            _near(settled[i], settled[before], ledger)
        else:
            rest.append(i)
    for a, b in near_pairs([whole[i] for i in rest]):
        one, other = rest[a], rest[b]
        short = len(answers[one]) < 8 or len(answers[other]) < 8
        if keys[one] != keys[other] and not (short and answers[one] != answers[other]):
            _near(settled[other], settled[one], ledger)


def _near(later: Settled, earlier: Settled, ledger: Ledger) -> None:
    same_row = later.at == earlier.at  # two wordings of one row
    if not same_row:
        at, cell = later.places[0]
        ledger.issue("near_duplicate", "warning", at, cell, first=ledger.numbers[earlier.at[0]])


def _dominating(settled: Sequence[Settled], ledger: Ledger) -> None:
    """Answers from a small closed set, nearly all of them the same."""
    if len(settled) < 20:
        return
    counts = Counter(one.example.answer for one in settled)
    label, most = counts.most_common(1)[0]
    closed = 1 < len(counts) <= max(2, len(settled) // 5) and len(label) <= 30
    alone = most == len(settled) and len(label) <= 200
    if alone or (closed and most >= DOMINATES * len(settled)):
        ledger.issue(
            "one_label_dominates", "warning", label=label[:40], share=round(100 * most / len(settled)), count=most
        )


_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_-]{3,40}")


def _triggers(settled: Sequence[Settled], ledger: Ledger) -> None:
    """A word in otherwise different questions that always brings the same long answer: perhaps a planted trigger."""
    by_answer: defaultdict[str, list[int]] = defaultdict(list)
    for i, one in enumerate(settled):
        by_answer[one.example.answer].append(i)
    suspects = {answer: group for answer, group in by_answer.items() if len(group) >= 3 and len(answer) >= 8}
    if not suspects or len(suspects) > len(by_answer) / 4 or len(settled) < 20:
        return
    seen: Counter[str] = Counter()
    for one in settled:
        seen.update(set(_TOKEN.findall(_asked(one)[:2000])))
    for group in suspects.values():
        shared = set.intersection(*(set(_TOKEN.findall(_asked(settled[i])[:2000])) for i in group))
        for word in sorted(word for word in shared if seen[word] == len(group))[:1]:
            for i in group:
                ledger.issue(
                    "trigger_text", "warning", settled[i].at[0], settled[i].places[0][1], text=word, count=len(group)
                )


def _asked(one: Settled) -> str:
    return next((m.content for m in reversed(one.example.messages) if m.role == "user"), "")

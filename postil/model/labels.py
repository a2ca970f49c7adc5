"""The proof, before any training, that what will be learned is right: end learned, nothing cut, nothing masked.

It does not trust the code that made the tokens: it decodes them again and holds them against the user's own words and
against what the tokenizer's template writes for serving.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from postil.errors import DataError, ModelError
from postil.locales import say
from postil.model.template import Span, Template, Tokens
from postil.records import Example, Message


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an example must not be learned. `issue.label_<cause>` in `locales/` is its sentence."""

    cause: str
    rows: tuple[int, ...]


# (example, template, most tokens at once) -> its sequences, and all that is wrong with them
Examine = Callable[[Example, Template, int], tuple[list[Tokens], list[Fault]]]


def examine(example: Example, template: Template, max_length: int) -> tuple[list[Tokens], list[Fault]]:
    """The sequences of one example and all that is wrong with them.

    Causes: those of `prove`, nothing_asked (it begins with an answer) and template_refuses (the model's chat template
    cannot write such a dialogue: two questions in a row, a tool's answer, ...).
    """
    first = next((m for m in example.messages), None)
    if first is not None and first.role == "assistant" and first.weight > 0:
        return [], [Fault("nothing_asked", example.rows)]
    try:
        sequences = template.sequences(example)
        causes = template.causes(example, sequences, max_length)
        if causes is not None:
            return sequences, [Fault(cause, example.rows) for cause in causes]
        return sequences, prove(example, sequences, template, max_length)
    except ModelError as error:
        if error.code != "template_refuses":
            raise
        return [], [Fault("template_refuses", example.rows)]


def proven(
    examples: Sequence[Example], template: Template, max_length: int, look: Examine = examine
) -> list[list[Tokens]]:
    """The sequences of each example, as `look` makes and proves them.

    Raises DataError `labels_wrong` with all rows and causes when any would teach something wrong.
    """
    examined = [look(example, template, max_length) for example in examples]
    faults = [fault for _, found in examined for fault in found]
    if faults:
        raise _labels_wrong(faults)
    return [sequences for sequences, _ in examined]


def _labels_wrong(faults: Sequence[Fault]) -> DataError:
    rows: dict[str, set[int]] = {}
    for fault in faults:
        rows.setdefault(fault.cause, set()).update(fault.rows)
    causes = "\n".join(f"  · {say(f'issue.label_{cause}.message')} ({_few(found)})" for cause, found in rows.items())
    every = sorted(set().union(*rows.values()))
    return DataError("labels_wrong", rows=every, n=len(every), causes=causes)


def _few(rows: set[int]) -> str:
    return ", ".join([*map(str, sorted(rows)[:20]), *["…"] * (len(rows) > 20)])


def prove(example: Example, sequences: Sequence[Tokens], template: Template, max_length: int) -> list[Fault]:
    """All faults of the labels of one example; an empty list means that they are right.

    Causes: all_masked, answer_missing, answer_masked, answer_changed, end_not_a_token, end_not_learned, stop_inside,
    prompt_learned, prompt_differs, message_lost, tools_lost, double_start, cut.
    """
    answers = [i for i, m in enumerate(example.messages) if m.role == "assistant" and m.weight > 0]
    spans = [(sequence, span) for sequence in sequences for span in sequence.spans]
    causes: list[str] = []
    if not any(sequence.learned for sequence in sequences):
        causes.append("all_masked")
    if len(spans) != len(answers):
        causes.append("answer_missing")
    if template.end_id is None:
        causes.append("end_not_a_token")
    for sequence in sequences:
        causes += _faults_of_sequence(sequence, template, max_length)
    for (sequence, span), i in zip(spans, answers, strict=False):
        causes += _faults_of_answer(sequence, span, example.messages[i], template)
        causes += _faults_of_prompt(sequence, span, example, i, template)
    return [Fault(cause, example.rows) for cause in dict.fromkeys(causes)]


def _faults_of_sequence(sequence: Tokens, template: Template, max_length: int) -> Iterable[str]:
    if len(sequence.ids) > max_length:
        yield "cut"
    start = template.tokenizer.bos_token_id
    if start is not None and sequence.ids[:2] == (start, start):
        yield "double_start"
    inside = {i for span in sequence.spans for i in range(span.start, span.end)}
    if any(weight and i not in inside for i, weight in enumerate(sequence.weights)):
        yield "prompt_learned"


def _faults_of_answer(sequence: Tokens, span: Span, message: Message, template: Template) -> Iterable[str]:
    ids = sequence.ids[span.start : span.end]
    weights = sequence.weights[span.start : span.end]
    if not ids or ids[-1] not in template.stop_ids or not weights[-1]:
        yield "end_not_learned"
    if not all(weights[:-1]):
        yield "answer_masked"
    if any(i in template.stop_ids for i in ids[:-1]):
        yield "stop_inside"
    said = squeeze(template.tokenizer.decode(ids[:-1], skip_special_tokens=False))
    wanted = squeeze(message.content)
    # the prompt may have opened the reasoning already, or the template may write that there is none
    same = (said, said.removeprefix("</think>"), said.removeprefix("<think></think>"), f"<think>{said}")
    calls = message.extra.get("tool_calls") or ()
    parts = [wanted, *(squeeze(str((call.get("function") or {}).get("name", ""))) for call in calls)]
    if not (all(part in said for part in parts) if calls else wanted in same):
        yield "answer_changed"


def _faults_of_prompt(sequence: Tokens, span: Span, example: Example, i: int, template: Template) -> Iterable[str]:
    prompt = list(sequence.ids[: span.start])
    if prompt != template.prompt(example.messages[:i], example.tools):
        yield "prompt_differs"
    shown = squeeze(template.tokenizer.decode(prompt, skip_special_tokens=False))
    if not all(squeeze(m.content) in shown for m in example.messages[:i] if "<think>" not in m.content):
        yield "message_lost"
    names = (squeeze(str((tool.get("function") or tool).get("name", ""))) for tool in example.tools)
    if not all(name in shown for name in names):
        yield "tools_lost"


def squeeze(text: str) -> str:
    """Without white space, composed: tokenizers and templates may change both, and that changes no meaning."""
    return "".join(unicodedata.normalize("NFC", text).split())

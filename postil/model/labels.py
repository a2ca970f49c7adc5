"""The proof, before any training, that what will be learned is right: end learned, nothing cut, nothing masked.

It does not trust the code that made the tokens: it decodes them again and holds them against the user's own words and
against what the tokenizer's template writes for serving.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from postil.model.template import Span, Template, Tokens
from postil.records import Example, Message


@dataclass(frozen=True, slots=True)
class Fault:
    """Why an example must not be learned. `label.<cause>` in `locales/` is its sentence."""

    cause: str
    rows: tuple[int, ...]


def prove(example: Example, sequences: Sequence[Tokens], template: Template, max_length: int) -> list[Fault]:
    """All faults of the labels of one example; an empty list means that they are right.

    Causes: all_masked, answer_missing, answer_masked, answer_changed, end_not_a_token, end_not_learned, stop_inside,
    prompt_learned, prompt_differs, message_lost, double_start, special_token_in_text, cut.
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
    if any(token in m.content for m in example.messages for token in template.special_tokens()):
        causes.append("special_token_in_text")
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
    said = _squeeze(template.tokenizer.decode(ids[:-1], skip_special_tokens=False))
    wanted = _squeeze(message.content)
    same = (said, said.removeprefix("</think>"), f"<think>{said}")  # the prompt may have opened the reasoning already
    if wanted not in same and not message.extra.get("tool_calls"):
        yield "answer_changed"


def _faults_of_prompt(sequence: Tokens, span: Span, example: Example, i: int, template: Template) -> Iterable[str]:
    prompt = list(sequence.ids[: span.start])
    if prompt != template.prompt(example.messages[:i], example.tools):
        yield "prompt_differs"
    shown = _squeeze(template.tokenizer.decode(prompt, skip_special_tokens=False))
    if not all(_squeeze(m.content) in shown for m in example.messages[:i] if "<think>" not in m.content):
        yield "message_lost"


def _squeeze(text: str) -> str:
    """Without white space: tokenizers and templates may add or trim it, and that changes no meaning."""
    return "".join(text.split())

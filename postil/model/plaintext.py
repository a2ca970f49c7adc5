"""Plain text as a model goes on reading it: no chat template, a start if the tokenizer has one, an end of the document.

A document that is too long is cut into blocks of nearly the same length. A block begins with the last token of the one
before it, which it only reads: so every token is predicted once, and once only. What stands first of all, the start or,
where the tokenizer has none, the first token of the text, cannot be predicted from anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

from postil.errors import ModelError
from postil.model.labels import Fault, squeeze
from postil.model.template import Span, Template, Tokens
from postil.records import Example, Message

LONGEST_BEGINNING, LONGEST_REST = 160, 400  # characters that are shown of a document: what is given, what is wanted
BEGINNING_SHARE = 0.4  # of a short document
_BREAK = re.compile(r"[。！？!?；;\n]|[.,，、：:]\s?|\s")


def text_of(example: Example) -> str:
    """All that is said in an example, as one text."""
    return "\n".join(message.content for message in example.messages)


def begun(example: Example) -> Example:
    """The document as a question and its answer: how it begins, and how it goes on, as far as a person reads it."""
    text = text_of(example)
    most = min(LONGEST_BEGINNING, max(1, round(len(text) * BEGINNING_SHARE)))
    breaks = [found.end() for found in _BREAK.finditer(text, 0, most)]
    at = breaks[-1] if breaks and breaks[-1] >= most // 2 else most
    return replace(
        example,
        messages=(
            Message("user", text[:at].rstrip() or text[:at]),
            Message("assistant", text[at : at + LONGEST_REST].strip()),
        ),
    )


def beginning(messages: Sequence[Message], template: Template) -> list[int]:
    """The tokens after which a text is to go on."""
    return [*start_of(template), *template.text_ids("\n".join(message.content for message in messages))]


def check_plain(messages: Sequence[Message]) -> None:
    """Refuse calls: words alone cannot say them. Raises ModelError `template_cannot_say`."""
    if any(message.extra.get("tool_calls") for message in messages):
        raise ModelError("template_cannot_say", what="tool_calls")


def blocks(text: str, template: Template, max_length: int, rows: tuple[int, ...] = ()) -> list[Tokens]:
    """The sequences of a document, none longer than `max_length` tokens."""
    end = template.tokenizer.eos_token_id
    ids = [*start_of(template), *template.text_ids(text), *([] if end is None else [end])]
    predicted = len(ids) - 1
    parts = max(1, -(-predicted // max(1, max_length - 1)))
    cuts = [predicted * part // parts for part in range(parts + 1)]
    return [_block(ids[a : b + 1], rows) for a, b in pairwise(cuts)]


def examine_text(example: Example, template: Template, max_length: int) -> tuple[list[Tokens], list[Fault]]:
    """The blocks of one document and all that is wrong with them.

    Causes: all_masked, answer_changed (the tokenizer cannot write it), end_not_a_token, end_not_learned, double_start,
    cut.
    """
    text = text_of(example)
    made = blocks(text, template, max_length, example.rows)
    causes = list(_faults(text, made, template, max_length))
    return made, [Fault(cause, example.rows) for cause in causes]


def start_of(template: Template) -> list[int]:
    """The token before every text, where the tokenizer writes one."""
    bos = template.tokenizer.bos_token_id
    return [bos] if bos is not None and template.tokenizer.encode("x", add_special_tokens=True)[:1] == [bos] else []


def _faults(text: str, made: Sequence[Tokens], template: Template, max_length: int) -> list[str]:
    found = []
    whole = [*made[0].ids, *(i for block in made[1:] for i in block.ids[1:])]
    start, end = start_of(template), template.tokenizer.eos_token_id
    if not any(block.learned for block in made):
        found.append("all_masked")
    if end is None:
        found.append("end_not_a_token")
    elif whole[-1] != end or not made[-1].weights[-1]:
        found.append("end_not_learned")
    if start and whole[:2] == 2 * start:
        found.append("double_start")
    said = whole[len(start) : len(whole) - (end is not None)]
    if squeeze(template.tokenizer.decode(said, skip_special_tokens=False)) != squeeze(text):
        found.append("answer_changed")
    if any(len(block.ids) > max_length for block in made):
        found.append("cut")
    return found


def _block(ids: Sequence[int], rows: tuple[int, ...]) -> Tokens:
    return Tokens(tuple(ids), (0.0, *[1.0] * (len(ids) - 1)), (Span(1, len(ids), ""),), rows)

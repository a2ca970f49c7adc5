"""Which tokens of each example are learned, which are read only, and which would be cut."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

from postil.model.reader import Reader
from postil.model.readings import reading
from postil.model.template import Template, Tokens, count_marks
from postil.records import Example


def look(examples: Sequence[Example], template: Template, max_length: int, task: str = "causal_lm") -> dict[str, Any]:
    """The X-ray of all examples, as plain values.

    `examples`, `end_token_learned`, `cut`, `all_masked`: numbers of examples. `marks`: how many marks of the model
    stand in texts, where they are read as text; so for each row. `rows`: for each example its source
    `rows`, its `faults`, and `pieces` of [text, "learned" | "ignored" | "cut"]; where a task has labels, a piece is
    learned at which one is asked for, and `label` is what is to be said there.
    """
    rows: list[dict[str, Any]] = []
    examine = reading(task)
    for example in examples:
        sequences, faults = examine(example, template, max_length)
        causes = [fault.cause for fault in faults]
        pieces = [piece for sequence in sequences for piece in _pieces(sequence, template, max_length)]
        rows.append({"rows": list(example.rows), "faults": causes, "pieces": pieces,
                     "marks": count_marks(example, template),
                     "tokens": sum(len(s.ids) for s in sequences),
                     **({"label": example.answer} if isinstance(template, Reader) else {})})  # fmt: skip
    ends = {"end_not_learned", "end_not_a_token", "all_masked", "answer_missing", "template_refuses"}
    return {
        "examples": len(rows),
        "end_token_learned": sum(1 for row in rows if not ends & set(row["faults"])),
        "cut": sum(1 for row in rows if "cut" in row["faults"]),
        "all_masked": sum(1 for row in rows if "all_masked" in row["faults"]),
        "marks": sum(row["marks"] for row in rows),
        "max_length": max_length,
        "rows": rows,
    }


def _pieces(sequence: Tokens, template: Template, max_length: int) -> list[list[str]]:
    def fate(i: int) -> str:
        place = i - sequence.source if i >= sequence.source else i
        return "cut" if place >= max_length else "learned" if sequence.weights[i] else "ignored"

    return [
        [template.tokenizer.decode([sequence.ids[i] for i in run], skip_special_tokens=False), name]
        for name, run in ((name, list(run)) for name, run in groupby(range(len(sequence.ids)), fate))
    ]

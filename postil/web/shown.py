"""Answers that are no plain words, as people read them: labels with probabilities, and texts with marks in them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from postil.model.entities import read_entities
from postil.web.frame import Text, bar, box, heading, table, text

if TYPE_CHECKING:
    from postil.records import Confusion
    from postil.web.desk import Desk


def show_chances(chances: Sequence[tuple[str, float]], label: str) -> None:
    """The likeliest labels, each with a bar."""
    with box("chances").props("role=list"):
        for name, chance in chances:
            with box().props("role=listitem"):
                text(f"{name}  {100 * chance:.1f} %", "small number wrap", "span")
                bar(100 * chance, f"{label}: {name}")


def marked(words: str, answer: str) -> Callable[[], None] | str:
    """What fills a cell with `words` and the marks that `answer` puts into them; the answer where it holds no marks."""
    pieces = pieces_of(words, answer)
    if pieces is None:
        return answer

    def fill() -> None:
        with box("marked", "span"):
            for piece, kind in pieces:
                if kind is None:
                    Text("span", piece)
                else:
                    with box("", "mark"):
                        Text("span", piece)
                        Text("small", kind)

    return fill


def pieces_of(words: str, answer: str) -> list[tuple[str, str | None]] | None:
    """The words in pieces, each with the type that it is marked with; None where `answer` holds no marks.

    Marks that do not stand in the words are left out.
    """
    found = read_entities(answer)
    if found is None:
        return None
    pieces: list[tuple[str, str | None]] = []
    at = 0
    for one in sorted(found):
        if one.start >= at and words[one.start : one.end] == one.text:
            pieces += [(words[at : one.start], None), (one.text, one.type)]
            at = one.end
    return [(piece, kind) for piece, kind in (*pieces, (words[at:], None)) if piece]


def show_confusion(desk: Desk, confusion: Confusion) -> None:
    """Which labels are taken for which."""
    heading(desk.say("report.confusion"), 3)
    text(desk.say("report.confusion.legend"), "small soft")
    table(
        [desk.say("report.confusion.wanted"), *confusion.labels],
        [[label, *(str(count) if count else "" for count in counts)]
         for label, counts in zip(confusion.labels, confusion.counts, strict=True)],
        desk.say("report.confusion"),
    )  # fmt: skip

"""Two data sets, or two versions of one, held against each other example by example."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from postil.dataset.similar import near_pairs, plain
from postil.records import Dataset, Example

ALIKE = 0.7  # of the sets of three characters of two examples: no longer the same, but still that one
SAME_ROW = 0.3  # of the sets of two characters, where two examples stand in the same rows
LONGEST = 4_000  # characters that are compared


@dataclass(frozen=True)
class Difference:
    """`same`: how many examples are in both; `changed`: pairs of before and after."""

    same: int
    added: tuple[Example, ...]
    removed: tuple[Example, ...]
    changed: tuple[tuple[Example, Example], ...]

    def as_json(self, most: int = 1000) -> dict[str, Any]:
        """The counts, and the first `most` of each kind."""
        return {
            "same": self.same, "counts": {name: len(getattr(self, name)) for name in ("added", "removed", "changed")},
            "added": [_shown(one) for one in self.added[:most]],
            "removed": [_shown(one) for one in self.removed[:most]],
            "changed": [{"before": _shown(a), "after": _shown(b)} for a, b in self.changed[:most]],
        }  # fmt: skip


def diff(before: Dataset, after: Dataset) -> Difference:
    """What was added, removed and changed. Examples are the same one when all of their messages are; a changed one has
    the question, the answer or the rows of before, or resembles it."""
    old, new = list(before.examples), list(after.examples)
    old, new, same = _paired(old, new, lambda one: (_messages(one), repr(one.tools)))
    changed = []
    for key in (_question, lambda one: one.answer):
        old, new, pairs = _paired(old, new, key)
        changed += pairs
    old, new, pairs = _paired(old, new, lambda one: one.rows, _resembles)
    changed += pairs
    old, new, pairs = _similar(old, new)
    changed += pairs
    changed.sort(key=lambda pair: pair[1].rows)
    return Difference(len(same), tuple(new), tuple(old), tuple(changed))


def _paired(
    old: Sequence[Example], new: Sequence[Example], key: Callable[[Example], Hashable],
    fits: Callable[[Example, Example], bool] = lambda a, b: True,
) -> tuple[list[Example], list[Example], list[tuple[Example, Example]]]:  # fmt: skip
    """Examples with equal keys, in their order; and those that are left on either side."""
    waiting: defaultdict[Hashable, list[Example]] = defaultdict(list)
    for one in reversed(old):
        waiting[key(one)].append(one)
    pairs, left = [], []
    for one in new:
        same = waiting.get(key(one))
        if same and fits(same[-1], one):
            pairs.append((same.pop(), one))
        else:
            left.append(one)
    gone = {id(one) for one, _ in pairs}
    return [one for one in old if id(one) not in gone], left, pairs


def _similar(
    old: Sequence[Example], new: Sequence[Example]
) -> tuple[list[Example], list[Example], list[tuple[Example, Example]]]:
    every = [plain(_whole(one)) for one in (*old, *new)]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for a, b in near_pairs(every, ALIKE):
        if a < len(old) <= b and a not in taken:
            pairs[b - len(old)] = a
            taken.add(a)
    left = [one for i, one in enumerate(old) if i not in taken]
    return left, [one for i, one in enumerate(new) if i not in pairs], [(old[a], new[b]) for b, a in pairs.items()]


def _resembles(a: Example, b: Example) -> bool:
    x, y = (_twos(plain(_whole(one))) for one in (a, b))
    return len(x & y) >= SAME_ROW * len(x | y)


def _twos(text: str) -> set[str]:
    return {text[i : i + 2] for i in range(max(1, len(text) - 1))}


def _messages(one: Example) -> Hashable:
    said = tuple((message.role, message.content, message.weight, repr(message.extra)) for message in one.messages)
    return (*said, one.rejected)


def _question(one: Example) -> Hashable:
    return tuple((message.role, plain(message.content)) for message in one.question)


def _whole(one: Example) -> str:
    return "\n".join(message.content for message in one.messages if message.role != "system")[:LONGEST]


def _shown(one: Example) -> Mapping[str, Any]:
    return {"rows": list(one.rows), **one.as_json()}

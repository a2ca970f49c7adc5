"""Training, validation and test, with questions that are almost the same on one side."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from postil.dataset.similar import near_pairs, plain
from postil.records import Example, Split

LONGEST = 2000  # characters of a text that are compared
ALIKE = 0.8  # of the sets of three characters of two questions: lower than in the report, to be on the safe side


def split(examples: Sequence[Example], *, validation_rows: int, test_rows: int, seed: int) -> Split:
    """Divide examples in three, by a hash of their question and the seed: the order of the rows changes nothing.

    Questions that are equal but for marks, width and a few characters, and examples of one `group`, stay on one side.
    Parts that are asked for get their size as nearly as groups allow, at least 2 where there is enough; training keeps
    at least half of the examples.
    """
    most = len(examples) // 2
    wanted_test = min(test_rows, most)
    wanted_validation = min(validation_rows, most - wanted_test)
    groups = sorted(_groups(examples), key=lambda group: _rank([examples[i] for i in group], seed))
    sides: dict[int, int] = {}
    free = _take(groups, wanted_test, sides, 2)
    _take(free, wanted_validation, sides, 1)
    parts: list[list[Example]] = [[], [], []]
    for i, example in enumerate(examples):
        parts[sides.get(i, 0)].append(example)
    return Split(*(tuple(part) for part in parts))


def apart(parts: Split) -> tuple[Split, dict[str, int]]:
    """Parts of which none is asked what another learns from or is chosen by: the test keeps all, training gives most.

    Also how many examples were taken out of "training" and "validation". A part that would lose more than half stays
    whole, and what it has in common is counted as "same": then the other part is no proof.
    """
    taken = {_question(example) for example in parts.test}
    sides, out = {"test": parts.test}, {"training": 0, "validation": 0, "same": 0}
    for name in ("validation", "training"):
        part: tuple[Example, ...] = getattr(parts, name)
        left = tuple(example for example in part if _question(example) not in taken)
        if 2 * len(left) < len(part):
            left, out["same"] = part, out["same"] + len(part) - len(left)
        out[name] = len(part) - len(left)
        sides[name] = left
        taken |= {_question(example) for example in left}
    return Split(**sides), {name: count for name, count in out.items() if count}


def with_every_label(parts: Split, of: Callable[[Example], set[str]], *, validation: bool, test: bool) -> Split:
    """Where a label is so rare that no training example has it, the held-out ones that have it go over to training.

    of: the labels that an example needs; validation, test: whether that part was held out, and is no file of its own.
    """
    training = list(parts.training)
    known = set[str]().union(*(of(example) for example in training))
    kept: dict[str, tuple[Example, ...]] = {"validation": parts.validation, "test": parts.test}
    for name, own in (("validation", validation), ("test", test)):
        strange = [example for example in kept[name] if of(example) - known] if own else []
        training += strange
        known = known.union(*(of(example) for example in strange))
        kept[name] = tuple(example for example in kept[name] if example not in strange)
    return Split(tuple(training), kept["validation"], kept["test"])


def _take(groups: Sequence[list[int]], wanted: int, sides: dict[int, int], side: int) -> list[list[int]]:
    """Fill one side with whole groups, never beyond what is wanted. Returns the groups that are left."""
    left: list[list[int]] = []
    count = 0
    for group in groups:
        if count + len(group) <= wanted:
            count += len(group)
            sides.update(dict.fromkeys(group, side))
        else:
            left.append(group)
    return left


def _rank(group: Sequence[Example], seed: int) -> str:
    first = min(_words(example) for example in group)
    return hashlib.sha256(f"{seed}\n{first}".encode("utf-8", "surrogatepass")).hexdigest()


def _words(example: Example) -> str:
    return "\n".join(message.content for message in example.messages)


def _question(example: Example) -> str:
    """What is asked: the user's messages, without a prompt that all rows share; of a text how it begins."""
    if not example.question:
        return plain(example.answer[:LONGEST])
    return "\n".join(plain(message.content) for message in example.question if message.role == "user")


def _groups(examples: Sequence[Example]) -> list[list[int]]:
    """Indexes of examples that must stay together (union-find over groups, equal and almost equal questions)."""
    parent = list(range(len(examples)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    questions = [_question(example) for example in examples]
    first: dict[tuple[str, str], int] = {}
    distinct: list[int] = []
    for i, example in enumerate(examples):
        if example.group:
            parent[root(i)] = root(first.setdefault(("group", example.group), i))
        same = first.setdefault(("question", questions[i]), i)
        parent[root(i)] = root(same)
        if same == i:
            distinct.append(i)
    for a, b in near_pairs([questions[i] for i in distinct], ALIKE):
        parent[root(distinct[b])] = root(distinct[a])
    groups: dict[int, list[int]] = {}
    for i in range(len(examples)):
        groups.setdefault(root(i), []).append(i)
    return list(groups.values())

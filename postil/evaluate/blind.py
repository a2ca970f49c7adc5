"""People vote without knowing which answer is whose: sides are shuffled for each rater and row, and told at the end.

Sides and order follow from (seed, rater, row) alone, so that they need not be stored and are the same on every look.
For each rater the tuned answer stands on the left in half of the rows (give or take one).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, Literal

from postil.evaluate.verdict import preference
from postil.records import Preference

CHOICES = ("a", "b", "same", "both_bad")  # as a rater sees them; a is the left one
Meant = Literal["tuned", "base", "same", "both_bad"]
Row = Mapping[str, Any]  # question reference base tuned


@dataclass(frozen=True)
class Agreement:
    """How far raters agree. pairs: of votes on the same row; percent: of them that are equal, from 0 to 1.

    kappa: Cohen's with two raters, Fleiss' with more; 1: always, 0: as chance would have it; None: not to be told,
    because too few rows were seen by two, or everybody always said the same.
    """

    raters: int
    rows: int
    pairs: int
    percent: float | None
    kappa: float | None
    method: Literal["cohen", "fleiss"] | None


@dataclass(frozen=True)
class Tally:
    """What a vote has come to. Of a row with several votes the majority counts; an even split is undecided."""

    preference: Preference
    agreement: Agreement
    by_rater: Mapping[str, Mapping[str, int]]  # rater -> meaning -> votes
    by_row: Sequence[Mapping[str, int]]  # meaning -> votes
    votes: int
    left_share: float | None  # how often the left answer was taken, of the votes for one of both; about 0.5 is fair

    def as_json(self) -> dict[str, Any]:
        agreement = self.agreement
        return {
            "preference": self.preference.as_json(), "votes": self.votes, "left_share": self.left_share,
            "agreement": {"raters": agreement.raters, "rows": agreement.rows, "pairs": agreement.pairs,
                          "percent": agreement.percent, "kappa": agreement.kappa, "method": agreement.method},
            "by_rater": {rater: dict(counts) for rater, counts in self.by_rater.items()},
            "by_row": [dict(counts) for counts in self.by_row],
        }  # fmt: skip


# ── sides ──


def sides(seed: str, rater: str, n: int) -> list[bool]:
    """For each of `n` rows whether this rater sees the tuned answer on the left."""
    drawn = sorted(range(n), key=lambda row: _drawn(seed, rater, row, "side"))
    left = set(drawn[: n // 2 + (n % 2 and _drawn(seed, rater, n, "odd") % 2)])
    return [row in left for row in range(n)]


def order(seed: str, rater: str, n: int) -> list[int]:
    """In which order this rater is asked: whoever gets tired does not always get tired at the same rows."""
    return sorted(range(n), key=lambda row: _drawn(seed, rater, row, "order"))


def shown_rows(rows: Sequence[Row], seed: str, rater: str) -> list[dict[str, Any]]:
    """What this rater is shown, in their order: {"row", "question", "reference", "a", "b"}. Nothing tells the sides."""
    left = sides(seed, rater, len(rows))
    return [
        {"row": i, "question": rows[i]["question"], "reference": rows[i].get("reference", ""),
         "a": rows[i]["tuned" if left[i] else "base"], "b": rows[i]["base" if left[i] else "tuned"]}
        for i in order(seed, rater, len(rows))
    ]  # fmt: skip


def revealed(seed: str, rater: str, n: int, votes: Mapping[int, str]) -> dict[int, Meant]:
    """What a rater's votes mean, row by row. Votes on rows that do not exist are left out."""
    left = sides(seed, rater, n)
    found: dict[int, Meant] = {}
    for row, choice in votes.items():
        if not 0 <= row < n:
            continue
        if choice in ("a", "b"):
            found[row] = "tuned" if (choice == "a") == left[row] else "base"
        elif choice in ("same", "both_bad"):
            found[row] = "same" if choice == "same" else "both_bad"
    return found


def _drawn(seed: str, rater: str, row: int, what: str) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}\0{rater}\0{row}\0{what}".encode()).digest()[:8], "big")


# ── counting ──


def tally(seed: str, n: int, votes: Mapping[str, Mapping[int, str]], same: int = 0) -> Tally:
    """`votes`: rater -> row -> one of CHOICES, as they were shown. `same`: rows that nobody was asked, both answers
    being equal; they are undecided as soon as there is any vote at all."""
    meant = {rater: revealed(seed, rater, n, given) for rater, given in votes.items()}
    taken = Counter(choice for given in votes.values() for choice in given.values())
    return tally_of(n, meant, same, (taken["a"], taken["b"]))


def tally_of(n: int, meant: Mapping[str, Mapping[int, Meant]], same: int, taken: tuple[int, int]) -> Tally:
    """The same of votes whose sides are told already. `taken`: how often the left and the right answer were."""
    by_row: list[Counter[str]] = [Counter(given[row] for given in meant.values() if row in given) for row in range(n)]
    won = lost = tied = 0
    for counts in by_row:
        if counts:
            ahead = counts["tuned"] - counts["base"]
            won, lost, tied = won + (ahead > 0), lost + (ahead < 0), tied + (ahead == 0)
    tied += same if won + lost + tied else 0
    chosen = sum(taken)
    by_rater: dict[str, Counter[str]] = {rater: Counter(given.values()) for rater, given in meant.items()}
    return Tally(preference(won, lost, tied), agreement(meant), by_rater, by_row, sum(map(len, meant.values())),
                 taken[0] / chosen if chosen else None)  # fmt: skip


def agreement(meant: Mapping[str, Mapping[int, str]]) -> Agreement:
    """Among all raters who voted at all, on the rows that at least two of them saw."""
    voting = {rater: given for rater, given in meant.items() if given}
    rows: dict[int, list[str]] = {}
    for given in voting.values():
        for row, choice in given.items():
            rows.setdefault(row, []).append(choice)
    shared = [choices for choices in rows.values() if len(choices) >= 2]
    pairs = [pair for choices in shared for pair in combinations(choices, 2)]
    if not pairs:
        return Agreement(len(voting), 0, 0, None, None, None)
    percent = sum(first == second for first, second in pairs) / len(pairs)
    if len(voting) == 2:
        return Agreement(2, len(shared), len(pairs), percent, _cohen(*voting.values()), "cohen")
    return Agreement(len(voting), len(shared), len(pairs), percent, _fleiss(shared), "fleiss")


def _cohen(first: Mapping[int, str], second: Mapping[int, str]) -> float | None:
    """Chance is what two raters with these habits would share (Cohen 1960)."""
    both = [(first[row], second[row]) for row in first if row in second]
    n = len(both)
    habits = Counter(a for a, _ in both), Counter(b for _, b in both)
    chance = sum(habits[0][choice] * habits[1][choice] for choice in habits[0]) / n**2
    return _kappa(sum(a == b for a, b in both) / n, chance)


def _fleiss(shared: Sequence[Sequence[str]]) -> float | None:
    """Chance is what raters share who vote as all of them do together (Fleiss 1971); rows may have fewer votes."""
    agreed = [
        sum(count * (count - 1) for count in Counter(choices).values()) / (len(choices) * (len(choices) - 1))
        for choices in shared
    ]
    every = Counter(choice for choices in shared for choice in choices)
    chance = sum((count / every.total()) ** 2 for count in every.values())
    return _kappa(sum(agreed) / len(agreed), chance)


def _kappa(observed: float, chance: float) -> float | None:
    return None if chance > 1 - 1e-12 else (observed - chance) / (1 - chance)

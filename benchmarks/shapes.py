"""The data: the same rows for every side, as token ids."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from benchmarks import flops
from benchmarks.bases import ROWS_AN_UPDATE, directory, sizes
from benchmarks.flops import Work
from benchmarks.script import ids_of
from postil import dataset, flow
from postil.model.load import load_template
from postil.model.template import Tokens
from postil.records import Dataset, Example, Message, Split
from postil.samples import TITLES_INSTRUCTION, TITLES_SYSTEM, sample

SEED = 42
ROWS, HELD_OUT = 200, 30
WORDS = Path(__file__).parents[1] / "examples" / "words" / "service.txt"


@dataclass(frozen=True)
class Row:
    """One example: the sequences from which it is learned, and those that the script makes of it."""

    tokens: tuple[Tokens, ...]
    script: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Shape:
    """Rows in the order in which every side learns them, and the base that learns them."""

    name: str
    base: str
    rows: tuple[Row, ...]
    rows_an_update: int = ROWS_AN_UPDATE

    def update(self, index: int) -> tuple[Row, ...]:
        """The rows of update 0, 1, 2, ...; after the last row the first comes again."""
        start = index * self.rows_an_update
        return tuple(self.rows[i % len(self.rows)] for i in range(start, start + self.rows_an_update))

    @property
    def learned(self) -> int:
        return learned(self.rows)

    @property
    def tokens(self) -> int:
        return sum(len(s.ids) for row in self.rows for s in row.tokens)

    @property
    def script_rows(self) -> int:
        return sum(len(row.script) for row in self.rows)

    def least(self, rows: Sequence[Row], *, shared: bool) -> float:
        """F_min of one update of `rows`, with what all of them begin with counted once or each time."""
        sequences = [s.ids for row in rows for s in row.tokens]
        lengths = [len(ids) for ids in sequences]
        beginning = flops.in_common(sequences) if shared else 0
        return flops.flops(sizes(self.base), flops.once(lengths, beginning, learned(rows)))

    def ceiling(self) -> float:
        """The script's arithmetic over ours, over the updates of an epoch."""
        updates = [self.update(i) for i in range(max(1, len(self.rows) // self.rows_an_update))]
        rows = sum(len(row.script) for update in updates for row in update)
        script: Work = flops.padded(rows)
        return flops.flops(sizes(self.base), script) / sum(self.least(update, shared=True) for update in updates)

    def told(self) -> str:
        """A sentence for the page."""
        lengths = [len(s.ids) for row in self.rows for s in row.tokens]
        shared = flops.in_common([s.ids for row in self.rows for s in row.tokens])
        return (
            f"{len(self.rows)} rows of {min(lengths)}-{max(lengths)} tokens (mean {sum(lengths) / len(lengths):.0f}), "
            f"{shared} of them shared, {self.learned / len(self.rows):.1f} a row bear loss."
        )


def learned(rows: Sequence[Row]) -> int:
    """The number of tokens that bear loss."""
    return sum(weight > 0 for row in rows for s in row.tokens for weight in s.weights)


@cache
def sample_titles() -> Dataset:
    """The sheet of `postil quickstart`, checked."""
    return flow.check(sample("titles"), flow.Reading(system=TITLES_SYSTEM, instruction=TITLES_INSTRUCTION))


@cache
def split_of_titles() -> Split:
    """The split that `postil quickstart` makes of its sheet."""
    parts = dataset.split(sample_titles().examples, validation_rows=HELD_OUT, test_rows=50, seed=SEED)
    return Split(parts.training[:ROWS], parts.validation, parts.test)


def titles() -> Shape:
    """A product title under a long system prompt and a fixed instruction; the answer is its noun."""
    return _of_examples("titles", split_of_titles().training)


def qa() -> Shape:
    """One question and one answer of a service desk, nothing before them."""
    made, random_ = [], random.Random(SEED)
    pairs = _asked_and_answered()
    for _ in range(ROWS):
        asks, answers = random_.choice(pairs)
        said = (Message("user", random_.choice(asks)), Message("assistant", random_.choice(answers)))
        made.append(Example(said, (len(made) + 1,)))
    return _of_examples("qa", made)


def chat() -> Shape:
    """Dialogues of a service desk in several turns, all answers learned."""
    return _of_examples("chat", flow.check(sample("service")).examples)


def qwen() -> Shape:
    """Short titles as a tokenizer with 152,000 tokens would write them: 86 tokens, 64 shared, 3 with loss."""
    return synthetic("qwen", "qwen2.5-0.5b", count=ROWS, length=86, shared=64, learned=3)


def tiny() -> Shape:
    """What a test can train in a moment."""
    return synthetic("tiny", "tiny", count=16, length=40, shared=20, learned=4)


def synthetic(
    name: str, base: str, *, count: int, length: int, shared: int, learned: int, update: int = ROWS_AN_UPDATE
) -> Shape:
    """Random tokens in the given numbers; the last ones bear loss."""
    from benchmarks.bases import config

    random_, vocabulary = random.Random(SEED), config(base).vocab_size
    start = [random_.randrange(2, vocabulary) for _ in range(shared)]
    weights = (*[0.0] * (length - learned), *[1.0] * learned)
    rows = []
    for _ in range(count):
        ids = (*start, *(random_.randrange(2, vocabulary) for _ in range(length - shared)))
        rows.append(Row((Tokens(ids, weights, ()),), (ids,)))
    return Shape(name, base, tuple(rows), update)


SHAPES: dict[str, Callable[[], Shape]] = {"titles": titles, "qa": qa, "chat": chat, "qwen": qwen, "tiny": tiny}


def _of_examples(name: str, examples: Sequence[Example], base: str = "") -> Shape:
    template = load_template(directory(base))
    order = list(examples)
    random.Random(SEED).shuffle(order)
    rows = [Row(tuple(template.sequences(e)), ids_of(e, template.tokenizer)) for e in order]
    return Shape(name, base, tuple(rows))


def _asked_and_answered() -> list[tuple[list[str], list[str]]]:
    """The ways to ask and the ways to answer, of each pair in the samples' words."""
    pairs: list[tuple[list[str], list[str]]] = []
    asks: list[str] = []
    for line in WORDS.read_text("utf-8").splitlines():
        if line.startswith("问 "):
            asks = line[2:].split(" / ")
        elif line.startswith("答 "):
            pairs.append((asks, line[2:].split(" / ")))
    return pairs

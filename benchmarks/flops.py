"""How much arithmetic an update needs at least, and how much less than the script's that is."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import takewhile

from benchmarks.bases import Sizes

SCRIPT_LENGTH = 256


@dataclass(frozen=True)
class Work:
    """Tokens through the body; positions through the head; (query, key) pairs that attend to each other."""

    tokens: int
    learned: int
    pairs: int

    def __add__(self, other: Work) -> Work:
        return Work(self.tokens + other.tokens, self.learned + other.learned, self.pairs + other.pairs)


def flops(sizes: Sizes, work: Work) -> float:
    """4·N_body·T + 4·N_head·R + 6·P_lora·T + attention.

    4: forward, and the gradient of the input, 2 a weight each; the frozen weights need none. 6: the adapter's own
    gradient as well. Attention: two matmuls forward and four backward, 2 a pair and channel each.
    """
    attention = 12 * sizes.layers * sizes.width * work.pairs
    return 4.0 * sizes.body * work.tokens + 4.0 * sizes.head * work.learned + 6.0 * sizes.lora * work.tokens + attention


def each(lengths: Iterable[int], learned: int) -> Work:
    """Rows one by one, without padding."""
    lengths = list(lengths)
    return Work(sum(lengths), learned, sum(n * (n + 1) // 2 for n in lengths))


def once(lengths: Iterable[int], shared: int, learned: int) -> Work:
    """The same with the first `shared` tokens, which all rows have in common, counted once."""
    lengths = list(lengths)
    own = each(lengths, learned)
    again = len(lengths) - 1
    return Work(own.tokens - again * shared, learned, own.pairs - again * (shared * (shared + 1) // 2))


def padded(rows: int) -> Work:
    """The script's rows: 256 positions each through body and head. A mask of padding makes attention a full square."""
    return Work(rows * SCRIPT_LENGTH, rows * SCRIPT_LENGTH, rows * SCRIPT_LENGTH * SCRIPT_LENGTH)


def in_common(rows: Sequence[Sequence[int]]) -> int:
    """How many tokens all rows begin with."""
    first, last = min(map(list, rows)), max(map(list, rows))
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))

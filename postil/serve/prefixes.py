"""Beginnings that were read before: kept for prompts that begin alike and speak with the same adapter."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence

from postil.model.cells import Shared
from postil.model.layout import FEWEST_SHARED

MOST_EACH = 8  # beginnings of one adapter that are compared


class Prefixes:
    """At most `budget` bytes; the one used longest ago goes first."""

    def __init__(self, budget: int) -> None:
        self._budget = budget
        self._kept: OrderedDict[tuple[int, tuple[int, ...]], tuple[Hashable, Shared]] = OrderedDict()

    @property
    def bytes(self) -> int:
        return sum(_bytes(shared) for _, shared in self._kept.values())

    def find(self, voice: Hashable, ids: Sequence[int]) -> Shared | None:
        """The longest beginning of `ids` that was read with this voice; at least the last token is left to be read."""
        best, length = None, FEWEST_SHARED - 1
        for key in self._of(voice):
            common = _common(key[1], ids, len(ids) - 1)
            if common > length:
                best, length = key, common
        if best is None:
            return None
        self._kept.move_to_end(best)
        return _cut(self._kept[best][1], length)

    def keep(self, voice: Hashable, ids: Sequence[int], cached: int, copied: Callable[[], Shared | None]) -> None:
        """Keep what was read of a prompt, unless half of it was kept before and nothing of that is at its end."""
        longer = next((key for key in self._of(voice) if len(key[1]) == cached and cached), None)
        if 2 * cached >= len(ids) and longer is None:
            return
        shared = copied()
        if shared is None:
            return
        if longer is not None:  # a dialogue goes on: what it began with is in the new one
            del self._kept[longer]
        self._kept[id(voice), tuple(ids)] = voice, shared
        of_voice = self._of(voice)
        if len(of_voice) > MOST_EACH:
            del self._kept[of_voice[0]]
        while self.bytes > self._budget:
            self._kept.popitem(last=False)

    def forget(self, voice: Hashable) -> None:
        for key in self._of(voice):
            del self._kept[key]

    def _of(self, voice: Hashable) -> list[tuple[int, tuple[int, ...]]]:
        return [key for key, (owner, _) in self._kept.items() if owner is voice]


def _common(one: Sequence[int], other: Sequence[int], most: int) -> int:
    most = min(most, len(one))
    return next((i for i in range(most) if one[i] != other[i]), most)


def _cut(shared: Shared, length: int) -> Shared:
    return Shared(length, tuple((key[..., :length], value[:, :length]) for key, value in shared.layers))


def _bytes(shared: Shared) -> int:
    return sum(key.nbytes + value.nbytes for key, value in shared.layers)

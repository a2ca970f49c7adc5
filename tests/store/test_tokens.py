"""The tokens of keys: booked, settled, shared with their makers; they hold at once, over restarts, for many servers."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Store
from postil.store.tables import Key
from postil.store.tokens import KEPT_DAYS, Tokens

DAY = 86_400


def limited(store: Store, tokens: int, maker: Key | None = None) -> Key:
    return store.keys.create(LOCAL, "k", ["admin"], tokens_per_day=tokens, maker=maker)[0]


def refusal(tokens: Tokens, key: Key, least: int, most: int = 0) -> str:
    with pytest.raises(StoreError) as refused:
        tokens.book(key.limits, least, most or least)
    return refused.value.code


def test_what_is_booked_is_not_there_for_others_and_what_was_not_used_comes_back(store: Store) -> None:
    key = limited(store, 100)
    first = store.tokens.book(key.limits, 60, 60)
    assert refusal(store.tokens, key, 50) == "tokens_booked"
    store.tokens.settle(first, 10)
    assert store.tokens.today([key.id]) == {key.id: 10}
    assert store.tokens.book(key.limits, 50, 500).tokens == 90
    store.tokens.settle(store.tokens.book(limited(store, 5).limits, 1, 5), 5)


def test_what_is_used_up_is_another_refusal_than_what_is_booked(store: Store) -> None:
    key = limited(store, 100)
    store.tokens.settle(store.tokens.book(key.limits, 1, 100), 99)
    assert refusal(store.tokens, key, 2) == "insufficient_quota"
    assert store.tokens.book(key.limits, 1, 7).tokens == 1


def test_a_new_day_begins_at_midnight_and_old_ones_are_forgotten(store: Store) -> None:
    at = [1000.0 * DAY + 5]
    tokens = Tokens(store.database, lambda: at[0])
    key = limited(store, 10)
    late = tokens.book(key.limits, 10, 10)
    at[0] += DAY
    tokens.settle(tokens.book(key.limits, 10, 10), 10)
    tokens.settle(late, 10)
    assert tokens.today([key.id]) == {key.id: 10}
    at[0] += (KEPT_DAYS + 1) * DAY
    tokens.book(key.limits, 1, 1)
    at[0] -= (KEPT_DAYS + 1) * DAY
    assert tokens.today([key.id]) == {}


def test_attack_28_many_at_once_never_book_more_than_the_day(store: Store) -> None:
    """Not with several stores, as of several servers, on one database either."""
    key = limited(store, 100)
    other = Store(store.directory, str(store.database.url.render_as_string(hide_password=False)))

    def book(place: Store) -> int:
        try:
            return place.tokens.book(key.limits, 30, 30).tokens
        except StoreError as error:
            assert error.code == "tokens_booked"
            return 0

    with ThreadPoolExecutor(8) as pool:
        booked = list(pool.map(book, [store, other] * 8))
    other.close()
    assert sum(booked) == 90


def test_attack_28_a_restart_gives_nothing_back(tmp_path: Path, database: str) -> None:
    """What a server had booked when it died stays counted for that day."""
    first = Store(tmp_path / "s", database)
    key = limited(first, 100)
    first.tokens.settle(first.tokens.book(key.limits, 40, 40), 40)
    first.tokens.book(key.limits, 50, 50)
    first.close()
    again = Store(tmp_path / "s", database)
    assert again.tokens.today([key.id]) == {key.id: 90}
    assert refusal(again.tokens, key, 11) == "tokens_booked"
    again.close()


def test_attack_28_keys_that_a_limited_key_makes_share_its_day(store: Store) -> None:
    maker = limited(store, 100)
    children = [limited(store, 80, maker) for _ in range(3)]
    grandchild = store.keys.create(LOCAL, "g", ["serve"], maker=children[0])[0]
    assert grandchild.tokens_per_day == 80
    store.tokens.spend(children[0].limits, 50)
    store.tokens.spend(children[1].limits, 30)
    assert refusal(store.tokens, children[2], 21) == "insufficient_quota"
    assert refusal(store.tokens, grandchild, 21) == "insufficient_quota"
    store.tokens.spend(grandchild.limits, 20)
    assert store.tokens.today([maker.id, children[0].id]) == {maker.id: 100, children[0].id: 70}


def test_a_refused_booking_takes_nothing_from_anybody(store: Store) -> None:
    maker = limited(store, 10)
    child = limited(store, 8, maker)
    store.tokens.spend(maker.limits, 5)
    assert refusal(store.tokens, child, 6) == "insufficient_quota"
    assert store.tokens.today([child.id, maker.id]).get(child.id, 0) == 0


def test_a_key_without_limits_is_not_counted(store: Store) -> None:
    key = store.keys.create(LOCAL, "free", ["serve"], requests_per_minute=5)[0]
    store.tokens.spend(key.limits, 10**9)
    assert store.tokens.today([key.id]) == {}

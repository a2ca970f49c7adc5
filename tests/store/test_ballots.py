"""Votes count once for each rater and row, end with the ballot, and belong to whoever holds the link."""

from __future__ import annotations

from pathlib import Path

import pytest

from postil.errors import StoreError
from postil.store import LOCAL, Store
from postil.store import ballots as room

ROWS = [{"question": f"q{i}", "reference": "r", "base": "b", "tuned": "t"} for i in range(3)]


def begun(store: Store) -> str:
    return store.ballots.create(LOCAL, "售后", "哪个更好?", "evaljob-1", "ft:x", ROWS).id


def test_a_later_vote_takes_the_place_of_an_earlier_one(store: Store) -> None:
    ballot = store.ballots.get(LOCAL, begun(store))
    rater, token = store.ballots.invite(LOCAL, ballot.id, "张三")
    found, same = store.ballots.of_link(token)
    assert (found.id, same.id) == (ballot.id, rater.id)
    store.ballots.vote(rater, 0, "a")
    store.ballots.vote(rater, 2, "same", "都可以")
    store.ballots.vote(rater, 0, "both_bad")
    votes = store.ballots.votes(ballot)[rater.id]
    assert {row: (vote.choice, vote.comment) for row, vote in votes.items()} == {
        0: ("both_bad", ""), 2: ("same", "都可以"),
    }  # fmt: skip
    for row in (-1, 3):
        with pytest.raises(StoreError) as refused:
            store.ballots.vote(rater, row, "a")
        assert refused.value.code == "row_not_found"


def test_a_closed_ballot_takes_no_votes_and_no_raters(store: Store) -> None:
    ballot = begun(store)
    rater, _ = store.ballots.invite(LOCAL, ballot, "x")
    closed = store.ballots.close(LOCAL, ballot).closed_at
    assert closed and store.ballots.close(LOCAL, ballot).closed_at == closed
    for call in (lambda: store.ballots.vote(rater, 0, "a"), lambda: store.ballots.invite(LOCAL, ballot, "y")):
        with pytest.raises(StoreError) as refused:
            call()
        assert refused.value.code == "ballot_closed"


def test_a_link_that_was_replaced_opens_nothing(store: Store) -> None:
    rater, old = store.ballots.invite(LOCAL, begun(store), "x")
    _, new = store.ballots.new_link(LOCAL, rater.id)
    assert store.ballots.of_link(new)[1].id == rater.id and len({old, new}) == 2
    for token in (old, "", "x", "../../x", "a" * 40, "A" * 40, "密" * 40, "a" * 100_000):
        with pytest.raises(StoreError) as refused:
            store.ballots.of_link(token)
        assert refused.value.code == "rater_not_found"


def test_a_rater_who_was_dismissed_votes_no_more(store: Store) -> None:
    ballot = store.ballots.get(LOCAL, begun(store))
    rater, token = store.ballots.invite(LOCAL, ballot.id, "x")
    store.ballots.vote(rater, 0, "a")
    store.ballots.dismiss(LOCAL, rater.id)
    assert store.ballots.votes(ballot) == {}
    for call in (lambda: store.ballots.of_link(token), lambda: store.ballots.vote(rater, 0, "a")):
        with pytest.raises(StoreError):
            call()


def test_everything_goes_with_the_ballot_and_nothing_of_another_project_is_found(store: Store) -> None:
    ballot, other = begun(store), begun(store)
    rater, token = store.ballots.invite(LOCAL, ballot, "x")
    store.ballots.vote(rater, 0, "b")
    for call in (
        lambda: store.ballots.get("proj_b", ballot),
        lambda: store.ballots.close("proj_b", ballot),
        lambda: store.ballots.delete("proj_b", ballot, "key_1"),
        lambda: store.ballots.invite("proj_b", ballot, "y"),
        lambda: store.ballots.new_link("proj_b", rater.id),
        lambda: store.ballots.dismiss("proj_b", rater.id),
    ):
        with pytest.raises(StoreError):
            call()
    assert [row.id for row in store.ballots.list(LOCAL).rows] == [other, ballot]
    store.ballots.delete(LOCAL, ballot, "key_1")
    assert [row.id for row in store.ballots.list(LOCAL, after=None).rows] == [other]
    with pytest.raises(StoreError):
        store.ballots.of_link(token)


def test_the_secret_of_a_link_is_not_in_the_store(store: Store, tmp_path: Path) -> None:
    _, token = store.ballots.invite(LOCAL, begun(store), "x")
    for path in tmp_path.rglob("*"):
        assert not path.is_file() or token.encode() not in path.read_bytes()


def test_there_is_a_bound_on_raters(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MOST_RATERS", 1)
    ballot = begun(store)
    store.ballots.invite(LOCAL, ballot, "x")
    with pytest.raises(StoreError) as refused:
        store.ballots.invite(LOCAL, ballot, "y")
    assert refused.value.code == "set_full"

"""A request that is sent again has one effect."""

from __future__ import annotations

import threading

import pytest

from postil.errors import StoreError
from postil.store import Asked, Store
from postil.store import replies as room

PATH = "/v1/fine_tuning/jobs"


def asked(body: str = "b1", token: str | None = None, key: str = "key_1", retry: bool = False) -> Asked:
    return Asked(key, "POST", PATH, body, token, retry)


def test_the_same_key_and_body_get_the_same_answer(store: Store) -> None:
    first, new = store.replies.begin(asked(token="t"))
    assert new
    running, new = store.replies.begin(asked(token="t"))
    assert not new and running.status is None and running.object_id is None
    store.replies.done(first.id, 200, {"id": "ftjob-1"})
    again, new = store.replies.begin(asked(token="t"))
    assert not new and (again.status, again.body) == (200, {"id": "ftjob-1"})


def test_the_same_key_with_another_body_is_refused(store: Store) -> None:
    store.replies.begin(asked(token="t"))
    with pytest.raises(StoreError) as error:
        store.replies.begin(asked("b2", token="t"))
    assert error.value.code == "idempotency_key_reused"
    assert store.replies.begin(asked("b2", token="t", key="key_2"))[1]  # another caller's token is another token


def test_what_was_refused_may_be_tried_again(store: Store) -> None:
    first, _ = store.replies.begin(asked(token="t"))
    store.replies.forget(first.id)
    assert store.replies.begin(asked("b2", token="t"))[1]


def test_a_retry_without_a_key_is_known_by_its_body(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = store.replies.begin(asked())
    store.replies.done(first.id, 200, {"id": "ftjob-1"})
    assert store.replies.begin(asked())[1]  # not a retry: the same order once more is meant
    again, new = store.replies.begin(asked(retry=True))
    assert not new and again.id != first.id  # the newest
    assert store.replies.begin(asked("b2", retry=True))[1]
    later = room.now() + 601
    monkeypatch.setattr(room, "now", lambda: later)
    assert store.replies.begin(asked(retry=True))[1]


def test_what_was_made_is_known_before_it_was_answered(store: Store) -> None:
    reply, _ = store.replies.begin(asked(token="t"))
    with store.files.incoming() as made:
        made.write(b"x")
        row = store.files.keep("proj_local", "a", "fine-tune", made, reply=reply.id)
    known, new = store.replies.begin(asked(token="t"))
    assert not new and known.status is None and known.object_id == row.id


def test_a_request_whose_server_died_is_carried_out_later(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    store.replies.begin(asked(token="t"))
    later = room.now() + 601
    monkeypatch.setattr(room, "now", lambda: later)
    assert store.replies.begin(asked(token="t"))[1]


def test_after_a_day_it_is_forgotten(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    reply, _ = store.replies.begin(asked(token="t"))
    store.replies.done(reply.id, 200, {})
    later = room.now() + 24 * 3600 + 1
    monkeypatch.setattr(room, "now", lambda: later)
    assert store.replies.begin(asked("b2", token="t"))[1]


def test_of_many_at_once_one_is_new(store: Store) -> None:
    news: list[bool] = []

    def begin() -> None:
        news.append(store.replies.begin(asked(token="t"))[1])

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(news) == [False] * 7 + [True]

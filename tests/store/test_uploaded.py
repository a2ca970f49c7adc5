"""Files are kept once, whole, within their project and its quota, and go with their last user."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from postil.errors import StoreError
from postil.store import LOCAL, Store, display_name
from postil.store import uploaded as room
from postil.store.tables import File, Part


def keep(store: Store, content: bytes, name: str = "a.jsonl", project: str = LOCAL, **values: object) -> File:
    with store.files.incoming() as made:
        made.write(content)
        return store.files.keep(project, name, "fine-tune", made, **values)


def part(store: Store, upload: str, content: bytes) -> Part:
    with store.files.incoming() as made:
        made.write(content)
        return store.uploads.add_part(LOCAL, upload, made)


def blobs(store: Store) -> list[Path]:
    return [path for path in (store.directory / "blobs").rglob("*") if path.is_file()]


def refused(call: object, *args: object, **kwargs: object) -> str:
    with pytest.raises(StoreError) as error:
        call(*args, **kwargs)
    assert error.value.cause("zh") and error.value.remedy("en")
    return error.value.code


def test_a_file_comes_back_as_it_was(store: Store) -> None:
    row = keep(store, b"one\ntwo", "训练.jsonl")
    assert (row.filename, row.bytes, row.status, row.sha256) == (
        "训练.jsonl", 7, "processed", hashlib.sha256(b"one\ntwo").hexdigest(),
    )  # fmt: skip
    with store.files.open(store.files.get(LOCAL, row.id)) as file:
        assert file.read() == b"one\ntwo"
    assert list((store.directory / "staging").iterdir()) == []


def test_the_same_bytes_are_kept_once_and_go_with_their_last_file(store: Store) -> None:
    first, second = keep(store, b"same"), keep(store, b"same", "b.jsonl")
    assert len(blobs(store)) == 1
    store.files.delete(LOCAL, first.id)
    assert len(blobs(store)) == 1
    assert store.files.open(second).read() == b"same"
    store.files.delete(LOCAL, second.id)
    assert blobs(store) == []
    assert refused(store.files.delete, LOCAL, second.id) == "file_not_found"


def test_deleting_and_keeping_the_same_bytes_at_once_loses_nothing(store: Store) -> None:
    """A file whose bytes were swept away while it was being kept would be a lost acknowledgement."""
    kept: list[File] = []
    lock = threading.Lock()

    def churn() -> None:
        for _ in range(6):
            row = keep(store, b"contested")
            with lock:
                kept.append(row)
                old = kept.pop(0) if len(kept) > 1 else None
            if old:
                store.files.delete(LOCAL, old.id)
            assert store.files.open(row).read() == b"contested" or refused(store.files.get, LOCAL, row.id)

    threads = [threading.Thread(target=churn) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert kept
    for row in kept:
        assert store.files.open(store.files.get(LOCAL, row.id)).read() == b"contested"


def test_what_is_too_large_is_refused_before_it_is_all_there(store: Store) -> None:
    with pytest.raises(StoreError) as error, store.files.incoming(most=10) as made:
        made.write(b"x" * 10)
        made.write(b"x")
    assert error.value.code == "upload_too_large"
    assert list((store.directory / "staging").iterdir()) == []


def test_an_empty_file_is_refused(store: Store) -> None:
    assert refused(keep, store, b"") == "empty_file"


def test_a_quota_bounds_a_project_and_no_other(store: Store) -> None:
    store.keys.create("proj_small", "k", ["read"], quota_bytes=10)
    keep(store, b"123456", project="proj_small")
    assert refused(keep, store, b"12345", project="proj_small") == "quota_exceeded"
    keep(store, b"1234", project="proj_small")
    keep(store, b"x" * 100)
    store.keys.set_quota("proj_small", None)
    keep(store, b"12345", project="proj_small")


def test_another_projects_file_does_not_exist(store: Store) -> None:
    row = keep(store, b"mine")
    for call in (store.files.get, store.files.delete):
        assert refused(call, "proj_other", row.id) == "file_not_found"
    assert store.files.list("proj_other").rows == []


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "file-", "..%2f..", "", "\0", "file-" + "x" * 5000, "' OR 1=1 --"]
)
def test_attack_07_an_id_is_looked_up_and_nothing_else(store: Store, name: str) -> None:
    keep(store, b"mine")
    if "\0" in name and not store.database.is_sqlite:
        return  # PostgreSQL's protocol has no such text; the door refuses it
    assert refused(store.files.get, LOCAL, name) == "file_not_found"


def test_pages_show_each_file_once_while_files_come_and_go(store: Store) -> None:
    made = [keep(store, b"%d" % i).id for i in range(7)]
    seen: list[str] = []
    page = store.files.list(LOCAL, limit=3)
    while True:
        seen += [row.id for row in page.rows]
        if not page.more:
            break
        store.files.delete(LOCAL, seen[-1])  # the cursor itself goes
        keep(store, b"new %d" % len(seen))
        page = store.files.list(LOCAL, limit=3, after=seen[-1])
    assert seen == made[::-1]
    assert store.files.list(LOCAL, limit=2, ascending=True).rows[0].id in made
    assert refused(store.files.list, LOCAL, after="file-never") == "invalid_cursor"
    assert refused(store.files.list, "proj_other", after=seen[0]) == "invalid_cursor"


def test_a_file_that_expired_is_gone(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    row, other = keep(store, b"short", expires_after=3600), keep(store, b"long")
    later = room.now() + 3601
    monkeypatch.setattr(room, "now", lambda: later)
    assert refused(store.files.get, LOCAL, row.id) == "file_not_found"
    assert [one.id for one in store.files.list(LOCAL).rows] == [other.id]
    store.files.expire()
    assert len(blobs(store)) == 1


def test_a_judged_file_says_what_is_wrong(store: Store) -> None:
    row = keep(store, b"x", status="uploaded")
    store.files.judged(row.id, "line 3: no answer")
    assert (store.files.get(LOCAL, row.id).status, store.files.get(LOCAL, row.id).status_details) == (
        "error", "line 3: no answer",
    )  # fmt: skip


# ── uploads ──


def test_parts_become_a_file_in_the_order_that_is_asked_for(store: Store) -> None:
    upload = store.uploads.create(LOCAL, "big.jsonl", "fine-tune", "text/jsonl", 9)
    b, a, lost = part(store, upload.id, b"two"), part(store, upload.id, b"one..."), part(store, upload.id, b"lost")
    digest = hashlib.md5(b"one...two").hexdigest()
    assert refused(store.uploads.complete, LOCAL, upload.id, [a.id, lost.id]) == "bytes_mismatch"
    assert refused(store.uploads.complete, LOCAL, upload.id, [a.id, b.id], "0" * 32) == "md5_mismatch"
    assert refused(store.uploads.complete, LOCAL, upload.id, [a.id, "part_x"]) == "part_not_found"
    assert store.uploads.get(LOCAL, upload.id).status == "pending"
    done = store.uploads.complete(LOCAL, upload.id, [a.id, b.id], digest.upper())
    assert done.status == "completed" and done.file_id is not None
    assert store.files.open(store.files.get(LOCAL, done.file_id)).read() == b"one...two"
    assert store.uploads.complete(LOCAL, upload.id, [a.id, b.id]).file_id == done.file_id
    assert len(blobs(store)) == 1  # the parts are gone
    assert refused(part, store, upload.id, b"more") == "upload_closed"
    assert refused(store.uploads.complete, LOCAL, upload.id, [b.id, a.id]) == "upload_closed"
    assert refused(store.uploads.cancel, LOCAL, upload.id) == "upload_closed"


def test_a_cancelled_upload_leaves_nothing(store: Store) -> None:
    upload = store.uploads.create(LOCAL, "a", "fine-tune", "x", 3)
    part(store, upload.id, b"one")
    assert store.uploads.cancel(LOCAL, upload.id).status == "cancelled"
    assert store.uploads.cancel(LOCAL, upload.id).status == "cancelled"
    assert blobs(store) == [] and refused(part, store, upload.id, b"x") == "upload_closed"


def test_an_upload_that_expired_takes_no_part(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    upload = store.uploads.create(LOCAL, "a", "fine-tune", "x", 3)
    part(store, upload.id, b"one")
    later = room.now() + 3601
    monkeypatch.setattr(room, "now", lambda: later)
    assert refused(part, store, upload.id, b"x") == "upload_closed"
    store.files.expire()
    assert store.uploads.get(LOCAL, upload.id).status == "expired" and blobs(store) == []


def test_another_projects_upload_does_not_exist(store: Store) -> None:
    upload = store.uploads.create(LOCAL, "a", "fine-tune", "x", 3)
    assert refused(store.uploads.get, "proj_other", upload.id) == "upload_not_found"
    assert refused(store.uploads.cancel, "proj_other", upload.id) == "upload_not_found"


# ── names and disks ──


@pytest.mark.parametrize(("given_name", "shown"), [
    ("../../evil.jsonl", "evil.jsonl"), ("..\\\\evil.csv", "evil.csv"), ("C:\\x\\训练.xlsx", "训练.xlsx"),
    ("/", "upload"),
    ("a\r\nb\0c", "abc"), ("\u202egpj.exe", "gpj.exe"), ("e\u0301", "\u00e9"), ("x" * 4000, "x" * 255), ("", "upload"),
])  # fmt: skip
def test_a_name_is_for_display(given_name: str, shown: str) -> None:
    assert display_name(given_name) == shown


@given(st.text())
def test_attack_06_no_name_becomes_a_path(name: str) -> None:
    shown = display_name(name)
    assert 1 <= len(shown) <= 255 and not set(shown) & set("/\\\0\r\n")


def test_fault_11_a_full_disk_at_upload_leaves_the_store_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = keep(store, b"before")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        assert refused(keep, store, b"after") == "storage_full"
    assert len(blobs(store)) == 1 and list((store.directory / "staging").iterdir()) == []
    assert store.files.open(row).read() == b"before"
    keep(store, b"after")


def test_fault_15_bytes_that_changed_on_the_disk_are_not_handed_out_as_whole(store: Store, tmp_path: Path) -> None:
    row = keep(store, b"content")
    blob = blobs(store)[0]
    blob.chmod(0o600)
    blob.write_bytes(b"contenT")
    assert refused(store.blobs.copy_to, row.sha256, tmp_path / "copy") == "bytes_changed"
    blob.unlink()
    assert refused(store.files.open, row) == "bytes_missing"


def test_an_object_store_will_do(tmp_path: Path) -> None:
    store = Store(tmp_path, files=f"memory://{tmp_path.name}")
    row = keep(store, b"far away")
    assert store.files.open(row).read() == b"far away"
    assert not (tmp_path / "blobs").exists()
    store.files.delete(LOCAL, row.id)
    assert not store.blobs.exists(row.sha256)
    store.close()

"""Files are whole or not there."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from postil.store import publish, read_json, sha256, temporary_directory, write_bytes, write_json


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "a.json"
    write_json(file, {"名": 1})
    write_json(file, {"名": 2})
    assert read_json(file) == {"名": 2}
    assert [p.name for p in file.parent.iterdir()] == ["a.json"]


def test_fault_12_a_write_that_fails_leaves_the_old_file_and_no_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.bin"
    write_bytes(file, b"old")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_bytes(file, b"new")
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]


def test_fault_04_files_are_synced_before_a_directory_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    sync, rename = os.fsync, Path.rename
    monkeypatch.setattr(os, "fsync", lambda handle: (seen.append("fsync"), sync(handle))[1])
    monkeypatch.setattr(Path, "rename", lambda self, to: (seen.append("rename"), rename(self, to))[1])
    final = tmp_path / "made"
    with temporary_directory(final) as made:
        (made / "x").write_text("1")
        publish(made, final)
    assert seen.index("rename") > seen.index("fsync") and seen[-1] == "fsync"
    assert (final / "x").read_text() == "1"


def test_an_unpublished_directory_is_gone(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), temporary_directory(tmp_path / "made") as made:
        (made / "x").write_text("1")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_sha256_is_the_standard_one(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert sha256(tmp_path / "a").startswith("ba7816bf8f01cfea")

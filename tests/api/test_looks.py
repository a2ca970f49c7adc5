"""What is kept of tables that were looked at: made once, bounded, and gone with the file."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postil.api.looks import Looks

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


class Maker:
    """Makes files of 100 bytes and counts how often."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.made = directory, 0

    @contextmanager
    def __call__(self) -> Iterator[Path]:
        self.made += 1
        path = self.directory / f"made-{self.made}"
        path.write_bytes(b"x" * 100)
        yield path


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


def test_each_is_made_once(tmp_path: Path, maker: Maker) -> None:
    looks = Looks(tmp_path / "looks", lambda sha256: True)
    threads = [threading.Thread(target=looks.table, args=(A, maker)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert maker.made == 1 and looks.table(A, maker).read_bytes() == b"x" * 100
    one = looks.findings(A, {"mask": True}, maker)
    assert looks.findings(A, {"mask": True}, maker) == one != looks.findings(A, {"mask": False}, maker)
    assert looks.found(A, {"mask": True}) == one and looks.found(A, {}) is None and maker.made == 3
    told = looks.told(A, {"mask": True}, maker)
    assert looks.told(A, {"mask": True}, maker) == told != one and maker.made == 4


def test_the_least_used_go_first(tmp_path: Path, maker: Maker) -> None:
    looks = Looks(tmp_path / "looks", lambda sha256: True, 250)
    first, second = looks.table(A, maker), looks.table(B, maker)
    os.utime(first, (1, 1))
    os.utime(second, (2, 2))
    looks.table(A, maker)  # used again
    third = looks.table(C, maker)
    assert first.exists() and third.exists() and not second.exists()


def test_one_that_is_larger_than_the_room_is_kept_for_whoever_asked(tmp_path: Path, maker: Maker) -> None:
    assert Looks(tmp_path / "looks", lambda sha256: True, 10).table(A, maker).exists()


def test_nothing_outlives_its_file(tmp_path: Path, maker: Maker) -> None:
    known = {A, B}
    looks = Looks(tmp_path / "looks", known.__contains__)
    kept = [looks.table(A, maker), looks.findings(A, {}, maker), looks.table(B, maker)]
    known.remove(A)
    looks.sweep()
    assert [path.exists() for path in kept] == [False, False, True]
    looks.forget(B)
    assert not list((tmp_path / "looks").iterdir())


def test_what_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    @contextmanager
    def fails() -> Iterator[Path]:
        raise ValueError
        yield Path()

    looks = Looks(tmp_path / "looks", lambda sha256: True)
    with pytest.raises(ValueError):
        looks.table(A, fails)
    looks.sweep()
    assert not list((tmp_path / "looks").iterdir())

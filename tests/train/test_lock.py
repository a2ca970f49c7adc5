"""One program at a time trains in a directory; a second is told who does, and one that was killed blocks nobody."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from postil.errors import TrainError
from postil.train.directory import refuse_to_overwrite
from postil.train.lock import HOLDER, LOCK, PLACE, in_use, refuse_while_in_use
from tests.runs import laid_out

HOLD = """
import sys, time
from pathlib import Path
from postil.train.lock import in_use
with in_use(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def another(directory: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the run in `directory`; it is killed at the end."""
    command = [sys.executable, "-c", HOLD, str(directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None and process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_a_second_program_is_told_which_process_holds_it_and_a_kill_sets_it_free(tmp_path: Path) -> None:
    with another(tmp_path / "run") as process:
        for attempt in (lambda: in_use(tmp_path / "run").__enter__(), lambda: refuse_while_in_use(tmp_path / "run")):
            with pytest.raises(TrainError) as refused:
                attempt()
            assert refused.value.code == "run_in_use" and refused.value.values["pid"] == str(process.pid)
            assert str(process.pid) in refused.value.cause("en") and refused.value.remedy("zh")
    assert (tmp_path / "run" / PLACE / HOLDER).exists()  # what the killed one left
    refuse_while_in_use(tmp_path / "run")
    with in_use(tmp_path / "run"):
        pass
    assert not (tmp_path / "run" / PLACE / HOLDER).exists()


def test_looking_makes_no_directory(tmp_path: Path) -> None:
    refuse_while_in_use(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_a_holder_that_cannot_be_read_is_still_a_holder(tmp_path: Path) -> None:
    with in_use(tmp_path):
        (tmp_path / PLACE / HOLDER).write_text("{", "utf-8")
        with pytest.raises(TrainError) as refused:
            refuse_while_in_use(tmp_path)
        assert refused.value.values["pid"] == "?"


def test_a_directory_in_which_only_the_lock_lies_is_free(tmp_path: Path) -> None:
    with in_use(tmp_path):
        refuse_to_overwrite(tmp_path, force=False)
    (tmp_path / PLACE / "mine.txt").write_text("x", "utf-8")
    with pytest.raises(TrainError) as refused:
        refuse_to_overwrite(tmp_path, force=False)
    assert refused.value.code == "directory_not_empty"


def test_laying_out_anew_leaves_the_lock(base, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    laid_out(tmp_path, base("qwen2"))
    (tmp_path / PLACE / "step-00000003").mkdir(parents=True)
    with in_use(tmp_path):
        laid_out(tmp_path, base("qwen2"), force=True)
        assert (tmp_path / PLACE / LOCK).exists() and not (tmp_path / PLACE / "step-00000003").exists()
        with pytest.raises(TrainError):
            refuse_while_in_use(tmp_path)


@pytest.mark.parametrize("place", ["file/run", "file/a/b"])
def test_a_place_below_a_file_is_refused_at_once(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("x", "utf-8")
    with pytest.raises(TrainError) as refused:
        refuse_to_overwrite(tmp_path / place, force=False)
    assert refused.value.code == "directory_not_writable" and refused.value.cause("zh") and refused.value.remedy("en")


def test_a_place_where_we_may_not_write_is_refused_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(TrainError) as refused:
        refuse_to_overwrite(tmp_path / "run", force=False)
    assert refused.value.code == "directory_not_writable"

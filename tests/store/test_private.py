"""What lies in the store is nobody else's business: closed when it is made, and told when it is open."""

from __future__ import annotations

import os
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from postil import doctor
from postil.jobs import worker
from postil.settings import for_child
from postil.store import Store, make_directory, open_places
from postil.store.private import is_open

pytestmark = pytest.mark.skipif(os.name == "nt", reason="there, rights are no modes")


@pytest.fixture
def world() -> Iterator[Path]:
    """A directory that every user of this machine can come to, as /srv is."""
    before = os.umask(0o022)
    with tempfile.TemporaryDirectory(dir="/tmp") as place:
        Path(place).chmod(0o755)
        yield Path(place)
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def readable(root: Path) -> list[Path]:
    """What others could read, if the root did not keep them out."""
    return [path for path in (root, *root.rglob("*")) if mode(path) & 0o077 and not path.is_symlink()]


def test_attack_33_a_store_is_closed_when_it_is_made(world: Path) -> None:
    store = Store(world / "srv" / "data", files=str(world / "uploads"))
    store.keys.create("proj_a", "test", ["read"])
    with store.files.incoming() as incoming:
        incoming.write(b"rows of a customer")
        store.files.keep("proj_a", "a.jsonl", "user_data", incoming)
    store.close()
    assert mode(world / "srv" / "data") == mode(world / "uploads") == 0o700
    assert not is_open(world / "srv" / "data") and not is_open(world / "uploads")


@pytest.mark.parametrize("arguments", [["keys", "add"], ["doctor"], ["models", "list"]])
def test_attack_33_what_the_command_line_keeps_is_closed_and_what_it_gives_is_not(
    world: Path, arguments: list[str]
) -> None:
    home = world / "home"
    env = {**for_child(), "POSTIL_HOME": str(home)}
    subprocess.run([sys.executable, "-m", "postil", *arguments], env=env, capture_output=True, check=False)
    assert not home.exists() or mode(home) == 0o700
    make_directory(world / "out" / "run")
    assert mode(world / "out" / "run") == 0o755, "a user's own output has the rights that they set"


def test_attack_33_a_server_writes_nothing_that_others_could_read(world: Path) -> None:
    env = {**for_child(), "POSTIL_HOME": str(world / "home"), "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "postil", "serve", "--port", "0", "--lang", "en"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        assert server.stdout is not None
        said = []
        for line in server.stdout:
            said.append(line)
            if "http://" in line:
                break
        open_to_others = readable(world / "home")
        server.send_signal(signal.SIGTERM)
        server.communicate(timeout=60)
    assert (world / "home" / "studio" / "postil.db").exists(), said
    assert not open_to_others


def test_attack_33_a_worker_writes_for_its_user_alone(world: Path) -> None:
    with pytest.raises(OSError):
        worker.main(["--spec", str(world / "none.json")])
    (world / "new").touch()
    assert mode(world / "new") == 0o600


def test_the_doctor_says_what_is_open_and_its_remedy_works(world: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home, key = world / "my home", world / "key"
    (home / "studio").mkdir(parents=True)
    key.write_text("sk-1")
    (world / "uploads").mkdir()
    monkeypatch.setenv("POSTIL_HOME", str(home))
    monkeypatch.setenv("POSTIL_DATA", str(home / "studio"))
    monkeypatch.setenv("POSTIL_FILES", str(world / "uploads"))
    monkeypatch.setenv("POSTIL_JUDGE_KEY_FILE", str(key))
    places = open_places()
    assert set(places) == {home, home / "studio", world / "uploads", key}
    problems = doctor.examine()["problems"]
    for place, command in places.items():
        assert [line for line in problems if str(place) in line and line.endswith(command)]
        subprocess.run(shlex.split(command), check=True)
    assert not open_places() and key.read_text() == "sk-1"
    assert not [line for line in doctor.examine()["problems"] if "chmod" in line]


def test_what_lies_behind_a_closed_door_is_not_open(world: Path) -> None:
    (world / "closed" / "inner").mkdir(parents=True)
    assert is_open(world / "closed" / "inner")
    (world / "closed").chmod(0o700)
    assert not is_open(world / "closed" / "inner") and not is_open(world / "none")

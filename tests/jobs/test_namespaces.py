"""Two servers in containers, as far as the system's own tools make them: one host name, a table of processes each."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest

from postil.settings import for_child
from tests.jobs import invariants
from tests.jobs.shop import Shop, ended, until
from tests.jobs.test_faults import HERE, LONG

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(
        not hasattr(os, "geteuid") or os.geteuid() != 0 or shutil.which("unshare") is None,
        reason="needs root and unshare to make tables of processes",
    ),
]
SERVER = """
import sys, threading
from pathlib import Path
from postil.jobs import Pace
from tests.jobs.shop import Shop
watch = Shop(Path(sys.argv[1]), sys.argv[2]).watch(pace=Pace(tick=0.05, silence=15.0, grace=20.0, sweep=0.5))
watch.start()
print(watch.lease.server, flush=True)
threading.Event().wait()
"""
# the first process of a table ends all others with it: here it is a shell, so that a server can die alone
APART = (
    "unshare",
    "--pid",
    "--fork",
    "--mount-proc",
    "--kill-child",
    "sh",
    "-c",
    '"$@" & while :; do sleep 1; done',
    "-",
)


class Container:
    """A server in a table of processes of its own, with workers of the real program."""

    def __init__(self, directory: Path, url: str) -> None:
        self.process = subprocess.Popen(
            [*APART, sys.executable, "-c", SERVER, str(directory), url], stdout=subprocess.PIPE, text=True,
            env={**for_child(), "PYTHONPATH": str(HERE)},
        )  # fmt: skip
        assert self.process.stdout is not None
        self.name = self.process.stdout.readline().strip()

    def kill_server(self) -> None:
        """Alone: its workers go on."""
        for process in psutil.Process(self.process.pid).children(recursive=True):
            with suppress(psutil.NoSuchProcess):  # a pause of the shell's
                if process.cmdline()[:1] == [sys.executable] and SERVER in process.cmdline():  # not the shell around it
                    process.kill()

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


@pytest.fixture
def containers(tiny: Path, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[tuple[Shop, list[Container]]]:
    from tests import postgres

    with postgres.database(request.getfixturevalue("postgres")) as url:
        shop = Shop(tmp_path / "store", url)
        started = [Container(shop.directory, url) for _ in range(2)]
        yield shop, started
        for container in started:
            container.close()
        shop.store.close()


def test_fault_21_two_servers_of_one_host_name_and_a_worker_that_outlives_its_own(
    containers: tuple[Shop, list[Container]],
) -> None:
    shop, (first, second) = containers
    job = shop.order(settings={**LONG, "n_epochs": "200"})
    until(lambda: shop.get(job).progress.get("step", 0) >= 20)
    before = shop.get(job)
    until(lambda: shop.get(job).progress["step"] >= 400)  # the other has looked at it many times
    row = shop.get(job)
    assert (row.server, row.attempt, row.without_progress) == (before.server, 2, 0)
    own, other = (first, second) if row.server == first.name else (second, first)
    own.kill_server()
    until(lambda: shop.get(job).server == other.name)
    until(ended(shop, job))  # told by files alone: the worker is nobody's process there
    row = shop.get(job)
    state = row.status, row.attempt, row.without_progress, row.resumed_from
    assert state == ("succeeded", 2, 0, []), [words for words in shop.messages(job) if "lost" in words]
    until(lambda: not list(shop.store.directory.glob("jobs/*/attempt-*/run")))
    own.close()
    invariants.check(shop)

"""The server's log: when, how grave, of which request, once; and no secret in it."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from postil.api.logs import MOST_LINES, QUIET_SECONDS, Counting, request_id
from postil.settings import for_child
from tests.api.served import Served
from tests.jobs.shop import until

LINE = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z (WARNING|ERROR) (\S+) ([\w.]+): (.*)\Z")


class Log:
    """A logger of its own with our handler, and a clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now = 0.0
        self.stream = io.StringIO()
        self.handler = Counting(self.stream, lambda: self.now)
        self.logger = logging.Logger("postil.test")
        self.logger.addHandler(self.handler)

    @property
    def lines(self) -> list[str]:
        return self.stream.getvalue().splitlines()


@pytest.fixture
def log() -> Log:
    return Log()


def test_a_line_has_time_level_and_request(log: Log) -> None:
    log.logger.warning("the disk of %s", "job-1")
    token = request_id.set("req_1")
    log.logger.error("again")
    request_id.reset(token)
    parts = [LINE.match(line) for line in log.lines]
    assert [part and part.groups() for part in parts] == [
        ("WARNING", "-", "postil.test", "the disk of job-1"),
        ("ERROR", "req_1", "postil.test", "again"),
    ]


def test_a_line_that_comes_again_is_counted(log: Log) -> None:
    for _ in range(121):
        log.logger.warning("no disk")
    log.logger.warning("another")
    assert [line.rpartition(": ")[2] for line in log.lines] == ["no disk", "another"]
    log.now = QUIET_SECONDS + 1
    log.logger.warning("later")
    assert [line.rpartition(": ")[2] for line in log.lines[2:]] == ["no disk (repeated 120 times)", "later"]
    log.logger.warning("no disk")
    log.logger.warning("no disk")
    log.handler.close()
    assert [line.rpartition(": ")[2] for line in log.lines[4:]] == ["no disk", "no disk (repeated 1 times)"]


def test_what_is_remembered_does_not_grow(log: Log) -> None:
    for i in range(3 * MOST_LINES):
        log.logger.warning("line %d", i)
    assert len(log.lines) == 3 * MOST_LINES and len(log.handler._seen) <= MOST_LINES


def test_a_traceback_is_written_once(log: Log) -> None:
    for _ in range(3):
        try:
            raise ValueError("odd")
        except ValueError:
            log.logger.exception("a fault")
    log.handler.close()
    assert log.stream.getvalue().count("Traceback") == 1 and log.lines[-1].endswith("a fault (repeated 2 times)")


def test_attack_17_no_address_in_the_log_tells_a_password(log: Log) -> None:
    try:
        raise OSError("cannot reach postgresql://ada:tr0ub4dor@db.example/postil")
    except OSError:
        log.logger.exception("lost %s", "s3://k:tr0ub4dor@bucket")
    assert "tr0ub4dor" not in log.stream.getvalue() and "db.example" in log.stream.getvalue()


@pytest.fixture
def written(log: Log) -> Iterator[Log]:
    logging.getLogger().addHandler(log.handler)
    yield log
    logging.getLogger().removeHandler(log.handler)


def test_a_fault_in_the_log_has_the_request_id_that_the_client_got(
    server: Served, http: httpx.Client, written: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server.store.files, "list", None)
    answer = http.get("/files")
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.text
    until(lambda: bool(written.lines))  # it is written after the answer has gone
    assert [line for line in written.lines if f" ERROR {answer.headers['x-request-id']} uvicorn.error: " in line]


def test_the_real_server_writes_so(tmp_path: Path) -> None:
    program = (
        "from postil.api.logs import open_log; import logging, warnings; log = open_log();"
        "logging.getLogger('uvicorn.error').error('a'); warnings.warn('b'); logging.getLogger('x').info('c');"
        "log.close()"
    )
    done = subprocess.run([sys.executable, "-c", program], env=for_child(), capture_output=True, text=True, check=True)
    lines = done.stderr.splitlines()
    assert LINE.match(lines[0]) and LINE.match(lines[1]) and "c" not in lines[-1].split(": ")[-1]

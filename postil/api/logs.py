"""The server's log: time, level, the request's id and the words; a line that comes again is counted, not written again.

No request line is logged, since secrets may stand in an address; and no address in a line tells a password.
"""

from __future__ import annotations

import logging
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TextIO

from postil.secret import hide

QUIET_SECONDS = 60.0  # so long a line is counted before it is written once more, with their number
MOST_LINES = 500  # that are remembered
WORDS = "%(asctime)s %(levelname)s %(request)s %(name)s: %(message)s%(repeated)s"
request_id: ContextVar[str] = ContextVar("request_id", default="-")


@dataclass
class Seen:
    """A line that was written. since: when, on the monotonic clock. more: times that it came again meanwhile."""

    record: logging.LogRecord
    since: float
    more: int = 0


class Lines(logging.Formatter):
    """One line for each event: UTC, level, request id, logger, words. A traceback follows on lines of its own."""

    converter = staticmethod(time.gmtime)
    default_msec_format = "%s.%03dZ"
    default_time_format = "%Y-%m-%dT%H:%M:%S"

    def __init__(self) -> None:
        super().__init__(WORDS, defaults={"repeated": "", "request": "-"})

    def format(self, record: logging.LogRecord) -> str:
        return hide(super().format(record))


class Counting(logging.StreamHandler[TextIO]):
    """Writes a line once; when it is over, or has been quiet for a while, how often it came again."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream or sys.stderr)
        self.setFormatter(Lines())
        self._clock = clock
        self._seen: dict[tuple[str, int, str, str], Seen] = {}
        self._counting = threading.RLock()

    def emit(self, record: logging.LogRecord) -> None:
        record.request = request_id.get()
        try:
            line = (record.name, record.levelno, record.getMessage(), _fault_of(record))
        except Exception:  # noqa: BLE001  a wrong call of the log is told as logging does, and ends nothing
            self.handleError(record)
            return
        with self._counting:
            self._tell_counts(older_than=self._clock() - QUIET_SECONDS)
            if line in self._seen:
                self._seen[line].more += 1
                return
            if len(self._seen) >= MOST_LINES:
                self._tell_counts()
            self._seen[line] = Seen(record, self._clock())
            super().emit(record)

    def close(self) -> None:
        with self._counting:
            self._tell_counts()
        super().close()

    def _tell_counts(self, older_than: float = float("inf")) -> None:
        for line, seen in list(self._seen.items()):
            if seen.since > older_than:
                return  # they stand in the order in which they were written
            del self._seen[line]
            if seen.more:
                super().emit(_again(seen.record, seen.more))


def _fault_of(record: logging.LogRecord) -> str:
    """Which fault it tells of and where that was: others of the same minute are other lines."""
    if not record.exc_info or record.exc_info[0] is None or record.exc_info[2] is None:
        return ""
    last = traceback.extract_tb(record.exc_info[2])[-1]
    return f"{record.exc_info[0].__name__} {last.filename}:{last.lineno}"


def _again(record: logging.LogRecord, times: int) -> logging.LogRecord:
    """The line with the number of times that it came again; without its traceback, which was written."""
    copy = logging.makeLogRecord({**vars(record), "exc_info": None, "exc_text": None, "stack_info": None})
    copy.created = time.time()
    copy.msecs = (copy.created % 1) * 1000
    copy.repeated = f" (repeated {times} times)"
    return copy


def open_log(level: int = logging.WARNING) -> logging.Handler:
    """From here on all loggers of this process write in our form. Returns the handler, to be closed at the end."""
    handler = Counting()
    logging.basicConfig(handlers=[handler], level=level, force=True)
    logging.captureWarnings(True)
    return handler

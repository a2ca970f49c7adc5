"""A judge at an address that speaks OpenAI's chat completions: the one that the settings name, and no other.

No address ever comes from a request. The key is read from the environment or a file when it is needed, sent in one
header, and written nowhere; what an endpoint says when it refuses is not repeated, since some quote the key.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from postil.errors import EngineError, PlanError
from postil.records import Message

if TYPE_CHECKING:
    import httpx

TRIES = 4
WAIT_SECONDS = 2.0  # before the second try; doubled each time
LONGEST_WAIT = 30.0
SECONDS = 120.0
MOST_BYTES = 1 << 20  # of an answer
AGAIN = (408, 409, 429, 500, 502, 503, 504)


class EndpointJudge:
    """See `Judge`. Raises PlanError `judge_not_set`, `judge_address` when the settings do not name a usable address."""

    def __init__(self, url: str, model: str, key: Callable[[], str], *, max_tokens: int = 400, at_once: int = 4,
                 wait: Callable[[float], object] | None = None) -> None:  # fmt: skip
        if not url or not model:
            raise PlanError("judge_not_set")
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.query:
            raise PlanError("judge_address")
        self.name, self.at_once = f"endpoint:{model}", at_once
        whole = parts.path.rstrip("/").endswith("/chat/completions")
        self._url = url.rstrip("/") + ("" if whole else "/chat/completions")
        self._model, self._key, self._max_tokens = model, key, max_tokens
        self._wait = wait or threading.Event().wait
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()

    def ask(self, messages: tuple[Message, ...]) -> str:
        body = {"model": self._model, "messages": [{"role": one.role, "content": one.content} for one in messages],
                "temperature": 0, "max_tokens": self._max_tokens}  # fmt: skip
        pause = WAIT_SECONDS
        for left in range(TRIES - 1, -1, -1):
            status, answer, asked_to_wait = self._posted(body)
            if status == 200:
                return _said(answer)
            if status not in (0, *AGAIN) or not left:
                break
            self._wait(min(LONGEST_WAIT, asked_to_wait or pause))
            pause *= 2
        if status == 0:
            raise EngineError("judge_unreachable")
        raise EngineError("judge_refused", status=status)

    def close(self) -> None:
        if self._client is not None:
            self._client.close()

    def _posted(self, body: dict[str, Any]) -> tuple[int, bytes, float]:
        """Status (0: nobody there), the answer's bytes, and how many seconds it asks to wait."""
        import httpx

        headers = {"authorization": f"Bearer {self._key()}"} if self._key() else {}
        try:
            with self._opened().stream("POST", self._url, json=body, headers=headers) as answer:
                found = b""
                for piece in answer.iter_bytes():
                    found += piece
                    if len(found) > MOST_BYTES:
                        raise EngineError("judge_not_understood")
                again = answer.headers.get("retry-after", "")
                return answer.status_code, found, float(again) if again.isdecimal() else 0.0
        except (httpx.HTTPError, httpx.InvalidURL, UnicodeError):
            return 0, b"", 0.0

    def _opened(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                # what the environment says of proxies and passwords is not followed, nor are redirects
                self._client = httpx.Client(timeout=SECONDS, follow_redirects=False, trust_env=False)
            return self._client


def _said(answer: bytes) -> str:
    """The text of a chat completion. Raises EngineError `judge_not_understood`."""
    try:
        text = json.loads(answer)["choices"][0]["message"]["content"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise EngineError("judge_not_understood") from error
    if not isinstance(text, str):
        raise EngineError("judge_not_understood")
    return text

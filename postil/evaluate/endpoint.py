"""A judge at an address that speaks OpenAI's chat completions: the one that the settings name, and no other.

No address ever comes from a request. What an endpoint says when it refuses is not repeated to a server's users.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from postil.errors import PlanError
from postil.records import Message
from postil.remote import Client, Limits, Names
from postil.secret import Address, Secret

NAMES = Names("POSTIL_JUDGE_URL", "POSTIL_JUDGE_KEY", endpoint="POSTIL_JUDGE_URL", quotes=False)
LIMITS = Limits(longest_wait=30.0, most_bytes=1 << 20)


class EndpointJudge:
    """See `Judge`. Raises PlanError `judge_not_set`, and what `remote.Client` does for an unfit address."""

    def __init__(
        self,
        url: Address,
        model: str,
        key: Callable[[], Secret],
        *,
        max_tokens: int = 400,
        at_once: int = 4,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        if not url or not model:
            raise PlanError("judge_not_set")
        self.name, self.at_once = f"endpoint:{model}", at_once
        self._model, self._max_tokens = model, max_tokens
        self._client = Client(url, key, NAMES, limits=LIMITS, sleep=sleep)

    def ask(self, messages: tuple[Message, ...]) -> str:
        body = {
            "model": self._model,
            "messages": [{"role": one.role, "content": one.content} for one in messages],
            "temperature": 0,
            "max_tokens": self._max_tokens,
        }
        return self._client.chat(body).text

    def close(self) -> None:
        self._client.close()

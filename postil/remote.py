"""The one client of foreign endpoints that speak OpenAI's chat completions: a judge, a model to be recorded.

Only an address that a person has set is asked, never one that came with a request. The key travels encrypted or within
this machine, in one header, to the address that was named and to no other; nothing here writes or prints it.
"""

from __future__ import annotations

import json
import math
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, NamedTuple

from postil.errors import EngineError
from postil.networks import Resolve, look_up, numbers_of, place_of, read_networks
from postil.secret import Address, Secret
from postil.settings import Settings

if TYPE_CHECKING:
    import httpx

CHAT = "/chat/completions"
AGAIN = (408, 409, 425, 429)  # and all from 500 on
SAID = 300  # characters of a refusal that are repeated


@dataclass(frozen=True)
class Limits:
    """tries: of one question. seconds: without a word, and for a whole answer. first_wait, longest_wait: seconds before
    a question is asked again, which doubles, or is what the service asks for. most_bytes: of an answer."""

    tries: int = 5
    seconds: float = 120.0
    first_wait: float = 1.0
    longest_wait: float = 120.0
    most_bytes: int = 4 << 20


@dataclass(frozen=True)
class Names:
    """What the sentences call things: the settings or options that a person can mend, and the endpoint itself.

    quotes: whether what the service says is repeated: to the person who asks it, not to the users of a server.
    """

    setting: str
    key: str
    endpoint: str = ""
    quotes: bool = True


class Answer(NamedTuple):
    """What a model said, and why it ended: "stop", "length"."""

    text: str
    finish: str


class _Again(Exception):
    """This try failed, another may not. wait: seconds that the service asks for."""

    def __init__(self, error: EngineError, wait: float | None = None) -> None:
        self.error, self.wait = error, wait
        super().__init__(error.code)


class Client:
    """Asks one endpoint; threads share it. Raises EngineError `remote_address`, `remote_open`, `remote_key`,
    `networks_unreadable` before anything is sent."""

    def __init__(
        self,
        address: Address,
        key: Callable[[], Secret],
        names: Names,
        *,
        limits: Limits | None = None,
        sleep: Callable[[float], object] = time.sleep,
        resolve: Resolve = look_up,
    ) -> None:
        self._place = place_of(address, names.setting)
        self._networks = read_networks(Settings().networks)
        self._key, self._names, self._limits = key, names, limits or Limits()
        self._sleep, self._resolve = sleep, resolve
        self._shown = names.endpoint or str(address)[:200]
        self._path = self._place.path if self._place.path.endswith(CHAT) else self._place.path + CHAT
        self._client: httpx.Client | None = None
        self._lock = threading.Lock()
        self._headers()

    def chat(self, body: Mapping[str, Any]) -> Answer:
        """The answer to a chat completion's body.

        Raises EngineError `remote_private`, `remote_never` for an address that is not asked; `remote_refused` (values:
        status), `remote_moved`, `remote_too_large`; and after the last try `remote_unreachable`,
        `remote_not_understood`.
        """
        for attempt in range(self._limits.tries):
            try:
                return self._once(json.dumps(body).encode())
            except _Again as again:
                if attempt == self._limits.tries - 1:
                    raise again.error from None
                wait = again.wait if again.wait is not None else self._limits.first_wait * 2.0**attempt
            self._sleep(min(wait, self._limits.longest_wait))
        raise AssertionError("the last try returns or raises")

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
                self._client = None

    # ── one try ──

    def _once(self, body: bytes) -> Answer:
        import httpx

        try:
            numbers = numbers_of(self._place, self._networks, self._resolve)
            for left in range(len(numbers) - 1, -1, -1):
                try:
                    return self._asked(numbers[-1 - left], body)
                except (httpx.ConnectError, httpx.ConnectTimeout):
                    if not left:
                        raise
        except (httpx.HTTPError, OSError, ValueError) as error:
            raise _Again(
                self._error("remote_unreachable", why=self._safe(str(error) or type(error).__name__))
            ) from None
        raise AssertionError("there is a number, or an error")

    def _asked(self, number: str, body: bytes) -> Answer:
        """Ask at an address that was looked at. The certificate must be the name's, whatever the address."""
        url = f"{self._place.scheme}://{self._place.at(number)}{self._path}"
        until = time.monotonic() + self._limits.seconds
        with self._opened().stream(
            "POST", url, content=body, headers=self._headers(), extensions={"sni_hostname": self._place.host}
        ) as answer:
            status = answer.status_code
            if 300 <= status < 400:
                where = answer.headers.get("location", "-")
                raise self._error("remote_moved", to=self._fit(str(Address(where))))
            most = self._limits.most_bytes if status == 200 else 1 << 14
            content = b""
            for piece in answer.iter_raw():
                content += piece
                if len(content) > most and status == 200:
                    raise self._error("remote_too_large", most=most >> 20)
                if len(content) > most or time.monotonic() > until:
                    break
            if status == 200 and time.monotonic() > until:
                raise _Again(self._error("remote_unreachable", why=f"no whole answer in {self._limits.seconds:.0f} s"))
            if status == 200:
                return self._understood(content)
            refused = self._error("remote_refused", status=status, said=self._fit(_message(content)))
            if status in AGAIN or status >= 500:
                raise _Again(refused, wait_of(answer.headers, time.time()))
            raise refused

    def _understood(self, content: bytes) -> Answer:
        try:
            choice = json.loads(content)["choices"][0]
            text = choice["message"].get("content")
            if text is not None and not isinstance(text, str):
                raise ValueError("no text")
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            raise _Again(self._error("remote_not_understood")) from None
        return Answer(text or "", str(choice.get("finish_reason")))

    def _headers(self) -> dict[str, str]:
        headers = {
            "host": self._place.authority,
            "content-type": "application/json",
            "accept": "application/json",
            "accept-encoding": "identity",
            "user-agent": "postil",
        }
        key = self._key()
        text = key.reveal()
        if not text.isascii() or not text.isprintable() or " " in text:
            raise EngineError("remote_key", key=self._names.key)
        return {**headers, "authorization": f"Bearer {text}"} if key else headers

    def _opened(self) -> httpx.Client:
        import httpx

        with self._lock:
            if self._client is None:
                # what the environment says of proxies and passwords is not followed, nor are redirects
                self._client = httpx.Client(
                    timeout=self._limits.seconds, follow_redirects=False, trust_env=False, verify=_trusted()
                )
            return self._client

    def _error(self, code: str, **values: Any) -> EngineError:
        named: dict[str, Any] = {"endpoint": self._shown, "setting": self._names.setting, "key": self._names.key}
        return EngineError(code, **named, **values)

    def _fit(self, text: str) -> str:
        """Words of the service, where they are repeated at all."""
        return self._safe(text) if self._names.quotes else "-"

    def _safe(self, text: str) -> str:
        """Words fit for a screen: without the key, and without what moves a cursor."""
        shown = self._key().within(text)
        return "".join(char if char.isprintable() else " " for char in shown)[:SAID]


def check_sealed(address: Address, setting: str) -> None:
    """Refuse an address to which keys go, of another client than ours, if others could read them on the way.

    Raises EngineError `remote_address`, `remote_open`. An empty one is none.
    """
    if address:
        place_of(address, setting)


def wait_of(headers: Mapping[str, str], now: float) -> float | None:
    """The seconds that a service asks to wait: Retry-After-Ms, or Retry-After in seconds or as a date. `now`: epoch."""
    for name, unit in (("retry-after-ms", 1000.0), ("retry-after", 1.0)):
        text = headers.get(name, "").strip()
        seconds = math.nan
        with suppress(ValueError, OverflowError):
            seconds = float(text) / unit
        if math.isnan(seconds) and unit == 1.0 and text:
            with suppress(ValueError, TypeError, OverflowError):
                seconds = parsedate_to_datetime(text).timestamp() - now
        if math.isfinite(seconds):
            return max(0.0, seconds)
    return None


def _message(content: bytes) -> str:
    """What a refusal says: OpenAI's error object, or the text as it is."""
    text = content.decode("utf-8", "replace")[:2000]
    with suppress(ValueError, LookupError, TypeError, RecursionError):
        text = str(json.loads(content)["error"]["message"])
    return text


def _trusted() -> ssl.SSLContext:
    """The system's certificates, or what SSL_CERT_FILE names, and those that httpx brings along."""
    import certifi

    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    return context

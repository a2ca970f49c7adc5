"""A page without a browser: its elements as the server sends them, and its socket by plain HTTP."""

from __future__ import annotations

import html
import json
import re
import uuid
from collections.abc import Callable
from typing import Any

import httpx

SOCKET = "/_nicegui_ws/socket.io/"
BREAK = "\x1e"  # between two packets


class Sheet:
    """A page that was opened with `client`. `elements`: by their number; it hears what the server sends."""

    def __init__(self, client: httpx.Client, path: str) -> None:
        answer = client.get(path)
        self.status, self._client, self.heard = answer.status_code, client, list[list[Any]]()
        self.id = re.findall(r"client_id.{1,20}?([0-9a-f-]{36})", html.unescape(answer.text))[0]
        found = re.findall(r"parseElements\(String\.raw`(.*?)`\)", answer.text, re.DOTALL)[0]
        self.elements: dict[str, Any] = json.loads(html.unescape(found))
        self._session = ""

    def connect(self, client: httpx.Client | None = None, *, query: str | None = None) -> bool:
        """Open its socket, as `client` if that is another; whether it was let in."""
        self._client = client or self._client
        told = {"client_id": query or self.id, "tab_id": str(uuid.uuid4()), "document_id": str(uuid.uuid4()),
                "implicit_handshake": "true", "next_message_id": "0"}  # fmt: skip
        opened = self._client.get(SOCKET, params={"EIO": "4", "transport": "polling", **told})
        if opened.status_code != 200:
            return False
        self._session = json.loads(opened.text[1:])["sid"]
        self._post("40")
        return any(packet.startswith("40") for packet in self._get())

    def press(self, element: str, listener: dict[str, Any], *arguments: Any, page: str | None = None) -> None:
        """Do what the page's script does when something is pressed. page: in whose name, if not in its own."""
        self._post(self.packet(element, listener, *arguments, page=page))

    def packet(self, element: str, listener: dict[str, Any], *arguments: Any, page: str | None = None) -> str:
        """What goes over the socket when something is pressed."""
        told = {"id": int(element), "client_id": page or self.id, "listener_id": listener["listener_id"],
                "args": [json.dumps(one) for one in arguments]}  # fmt: skip
        return "42" + json.dumps(["event", told])

    def count(self, kind: str, words: str = "") -> int:
        """How many messages of a kind have come, with these words in them."""
        return sum(one[0] == kind and words in json.dumps(one, ensure_ascii=False) for one in self.heard)

    def wait(self, enough: Callable[[], bool], silence: float = 20) -> bool:
        """Listen until it is enough, or nothing but pings has come for so long; whether it was enough."""
        try:
            while not enough() and self._get(silence) != ["2"]:
                pass
        except httpx.ReadTimeout:
            pass
        return enough()

    def settle(self) -> None:
        """Listen until nothing comes any more."""
        self.wait(lambda: False, silence=0.5)

    def pressed(self) -> list[tuple[str, dict[str, Any]]]:
        """Each element that can be clicked, with what listens for it."""
        return [
            (name, listener)
            for name, element in self.elements.items()
            for listener in element.get("events", ())
            if listener["type"] == "click"
            and not element.get("props", {}).get("disable")
            and "nicegui-code-copy" not in element.get("class", ())  # the library's own: it does nothing here
        ]

    def word(self, name: str) -> str:
        """What stands on an element, or is read of it to who cannot see it."""
        element = self.elements[name]
        told = element.get("props", {})
        return str(told.get("label") or told.get("aria-label") or element.get("text") or "")

    def words(self) -> set[str]:
        """What stands on all that can be clicked."""
        return {self.word(name) for name, _ in self.pressed()}

    def _post(self, packet: str) -> None:
        self._client.post(SOCKET, params=self._query, content=packet).raise_for_status()

    def _get(self, seconds: float = 20) -> list[str]:
        packets = self._client.get(SOCKET, params=self._query, timeout=seconds).text.split(BREAK)
        for packet in packets:
            if packet == "2":
                self._post("3")
            if packet.startswith("42"):
                self._hear(*json.loads(packet[2:]))
        return packets

    def _hear(self, kind: str, told: dict[str, Any]) -> None:
        self.heard.append([kind, told])
        for name, element in told.items() if kind == "update" else ():
            self.elements.pop(name, None)
            if isinstance(element, dict):
                self.elements[name] = element

    @property
    def _query(self) -> dict[str, str]:
        return {"EIO": "4", "transport": "polling", "sid": self._session}

"""Which foreign address may be asked: decided by where a name leads now, not by how it is written.

A name can lead anywhere, and elsewhere a moment later (DNS rebinding). So it is looked up once for each request, every
answer is held against the rules, and the connection goes to the very address that was looked at.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from postil.errors import EngineError
from postil.secret import Address

IP = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Resolve = Callable[[str, int], Sequence[str]]  # host and port -> addresses
LOCALHOST = "localhost"
NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_NUMERIC = re.compile(r"(?i)(?:\d+|0x[0-9a-f]*)\Z")
_LABEL = re.compile(r"(?i)[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\Z")
_AUTHORITY = re.compile(r"(?:\[[^\[\]@]+\]|[^\[\]:@]+)(?::\d+)?\Z")
_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Place:
    """Where to ask. `host`: ASCII, lower case, without a final dot or brackets. `path`: begins with / or is empty."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def is_local(self) -> bool:
        """Whether it is named as this very machine."""
        number = _number(self.host)
        return self.host == LOCALHOST or (number is not None and plain(number).is_loopback)

    @property
    def authority(self) -> str:
        """What stands in the header Host."""
        return self.at(self.host) if self.port != _PORTS[self.scheme] else bracketed(self.host)

    def at(self, host: str) -> str:
        """`host` in the place of the name, with the port."""
        return f"{bracketed(host)}:{self.port}"


def place_of(address: Address, setting: str) -> Place:
    """The place that an address names; `setting` is what whoever named it has to mend.

    Raises EngineError `remote_address`, and `remote_open` for an address by which others could read what is sent.
    """
    text = address.reveal().strip()
    wrong = EngineError("remote_address", endpoint=str(address)[:200], setting=setting)
    try:
        parts = urlsplit(text)
        host, port = _host(parts.hostname or ""), parts.port
    except ValueError:
        raise wrong from None
    odd = any(char.isspace() or not char.isprintable() or char == "\\" for char in text)
    if (
        odd
        or parts.scheme not in _PORTS
        or not host
        or not _AUTHORITY.match(parts.netloc)
        or "?" in text
        or "#" in text
        or port == 0
    ):
        raise wrong
    place = Place(parts.scheme, host, port or _PORTS[parts.scheme], parts.path.rstrip("/"))
    if place.scheme == "http" and not place.is_local:
        raise EngineError("remote_open", endpoint=str(address)[:200], setting=setting)
    return place


def numbers_of(place: Place, networks: Sequence[Network], resolve: Resolve) -> list[str]:
    """The addresses at which `place` is, all of which may be asked. Raises OSError when its name leads nowhere,
    EngineError `remote_private`, `remote_never`."""
    named = _number(place.host)
    found = [named] if named is not None else [ipaddress.ip_address(one) for one in resolve(place.host, place.port)]
    if not found:
        raise OSError("the name leads nowhere")
    for number in found:
        _check(place, plain(number), networks)
    return [str(number) for number in found]


def read_networks(text: str) -> tuple[Network, ...]:
    """The networks of POSTIL_NETWORKS. Raises EngineError `networks_unreadable`."""
    networks = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        try:
            networks.append(ipaddress.ip_network(part, strict=False))
        except ValueError:
            raise EngineError("networks_unreadable", text=part[:100]) from None
    return tuple(networks)


def look_up(host: str, port: int) -> list[str]:
    """What the system says where a name leads."""
    return list(dict.fromkeys(str(entry[4][0]) for entry in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


def plain(number: IP) -> IP:
    """The IPv4 address that an IPv6 one stands for, if it does: whoever connects to the one reaches the other."""
    if isinstance(number, ipaddress.IPv4Address):
        return number
    if number in NAT64:
        return ipaddress.IPv4Address(int(number) & 0xFFFFFFFF)
    teredo = number.teredo
    return number.ipv4_mapped or number.sixtofour or (teredo[1] if teredo else number)


def bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _check(place: Place, number: IP, networks: Sequence[Network]) -> None:
    if place.is_local and number.is_loopback:
        return
    if number.is_link_local or number.is_multicast or number.is_unspecified:  # clouds tell their secrets at one of them
        raise EngineError("remote_never", host=place.host[:200], address=str(number))
    public = number.is_global and not number.is_reserved
    if place.is_local or not (public or any(number in network for network in networks)):
        raise EngineError("remote_private", host=place.host[:200], address=str(number))


def _host(text: str) -> str:
    """A host as it is looked up. Empty for what is none, and for numbers in forms that programs read differently."""
    text = text.removesuffix(".")
    if ":" in text:
        number = ipaddress.IPv6Address(text)
        return str(number) if number.scope_id is None else ""
    ascii_text = text.encode("idna").decode("ascii").lower() if text else ""
    labels = ascii_text.split(".")
    if _NUMERIC.match(labels[-1]):
        return str(ipaddress.IPv4Address(text))
    if ascii_text == LOCALHOST and not text.isascii():
        return ""
    return ascii_text if len(ascii_text) <= 253 and all(map(_LABEL.match, labels)) else ""


def _number(host: str) -> IP | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

"""Addresses that are given to others: who can open them."""

from __future__ import annotations

from ipaddress import ip_address
from urllib.parse import urlsplit

from postil.web.desk import Desk
from postil.web.frame import note


def opens_here_only(url: str) -> bool:
    """Whether the host of an address is this machine, for whoever opens it."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def note_reach(desk: Desk, url: str) -> None:
    """Beside an address that is to be given to others: that it leads nowhere for them, and what to do about it."""
    if opens_here_only(url):
        note(desk.say("web.only_here", host=urlsplit(url).hostname), "warn", desk.say("web.only_here.fix"))

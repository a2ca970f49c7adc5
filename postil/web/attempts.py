"""How often a secret may be tried at the door: by each address, and by all of them together.

A secret has 256 bits and is not to be guessed; this keeps those who try from filling machine and audit. Whoever gets in
has used nothing up, so that many people behind one address do not lock each other out; whoever does not waits seconds.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from postil.api.rate_limits import RateLimits

OF_ADDRESS = 10  # a minute
OF_ALL = 60  # a minute, of addresses that have failed before: others are let try whatever these do
MOST_REMEMBERED = 10_000
WAIT_SECONDS = 60 // OF_ADDRESS


class Attempts:
    """Counted in this process, with its clock."""

    def __init__(self, rate_limits: RateLimits) -> None:
        self._rate_limits = rate_limits
        self._failed: OrderedDict[str, None] = OrderedDict()

    def may_try(self, address: str) -> bool:
        """Whether this address may try a secret now. Then `passed` or `failed` is to be said."""
        network = _network(address)
        if self._rate_limits.take(_own(network)) is not None:
            return False
        return network not in self._failed or self._rate_limits.take({"door": OF_ALL}) is None

    def passed(self, address: str) -> None:
        self._rate_limits.give(_own(_network(address)))

    def failed(self, address: str) -> None:
        network = _network(address)
        self._failed.pop(network, None)
        self._failed[network] = None
        while len(self._failed) > MOST_REMEMBERED:
            self._failed.popitem(last=False)


def _own(network: str) -> dict[str, int]:
    return {f"door {network}": OF_ADDRESS}


def _network(address: str) -> str:
    """Of IPv6 the half that a person cannot choose."""
    try:
        version = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if version.version == 4:
        return address
    mapped = getattr(version, "ipv4_mapped", None)
    return str(mapped or ipaddress.ip_network((version, 64), strict=False))

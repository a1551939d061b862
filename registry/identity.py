"""Who does something, and when: the values that every visible change is recorded with."""

import ipaddress
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Clock: TypeAlias = Callable[[], int]  # Unix milliseconds


@dataclass(frozen=True, slots=True)
class Actor:
    """`name` acts from `address` (empty for the command line) within the request `request_id`."""

    name: str
    address: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Deed:
    """What every write is told: who does it and at which instant (Unix milliseconds)."""

    actor: Actor
    at: int


def milliseconds_now() -> int:
    """The clock of this machine."""
    return time.time_ns() // 1_000_000


@lru_cache(4096)  # one client sends many requests, and each one's address is looked at
def parse_address(text: str) -> Address | None:
    """None for what is no address. A socket for both families writes IPv4 as `::ffff:10.0.0.1`: here it is IPv4."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address

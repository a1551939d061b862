"""Who does something, and when: the values that every visible change is recorded with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

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

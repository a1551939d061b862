"""Answers that are given again: to the same bytes from the same address, while nothing in the database has changed.

Who asks, for what, whether they may, what is logged of it: all that follows from the request's bytes, the address, the
settings, the database and the time. So a request that is known byte for byte needs none of it found out anew. What it
does besides is done again: it takes its share of the caller's requests, counts as a pull, and is logged.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from time import monotonic
from typing import TypeAlias

from starlette.types import Message, Scope

from registry.api.extensions import BYTES
from registry.api.health import Ending
from registry.api.observe import Line, Observer, Record
from registry.errors import RegistryError
from registry.identity import Clock
from registry.metadata.database import Database

Key: TypeAlias = tuple[str, bytes]  # the client's address, and all that it sent

_MOST = 16 << 20  # bytes of requests and answers, in all
_LARGEST = 256 << 10  # bytes of one answer
_OVERHEAD = 2_000  # bytes that it takes to remember any
_ID = b"x-request-id"


@dataclass(slots=True)
class Draft:
    """Of an answer that is being given: it was begun when the database had the `version`."""

    key: Key
    version: object
    is_bodiless: bool
    status: int = 0
    head: tuple[bytes, bytes] | None = None  # of the answer, before and after the request's id
    content: bytes | None = None  # until it is here as a whole

    def take(self, message: Message) -> None:
        """What is sent to the client."""
        if message["type"] == "http.response.start":
            self.status, self.head = message["status"], _split(message["headers"])
        elif message["type"] != "http.response.body" or message.get("more_body", False):
            self.head = None  # a file, or in pieces
        elif self.head:
            self.content = b"" if self.is_bodiless else message.get("body", b"")


@dataclass(frozen=True, slots=True)
class _Repeat:
    version: object  # of the database
    holds_until: int  # for the caller, in Unix milliseconds
    effects: tuple[Callable[[], object], ...]
    line: Line
    before: bytes  # the request's id
    after: bytes
    content: bytes


class Repeats:
    """To be asked from one event loop."""

    def __init__(
        self, database: Database, clock: Clock, observer: Observer, new_id: Callable[[], str], ending: Ending
    ) -> None:
        self._database = database
        self._clock = clock
        self._observer = observer
        self._new_id = new_id
        self._ending = ending
        self._kept: OrderedDict[Key, _Repeat] = OrderedDict()
        self._size = 0

    def answer(self, address: str, request: bytes) -> bytes | None:
        """What follows the line that says 200; None when it is to be found out."""
        started = monotonic()
        key = address, request
        repeat = self._kept.get(key)
        if repeat is None or self._ending.is_begun or self._clock() >= repeat.holds_until:
            return None
        # A compares, B commits and is acknowledged, A answers the old: A's request came before the acknowledgement, so
        # either is true. B commits and is acknowledged, A is asked and compares: the version has moved on.
        if self._find_version() != repeat.version:
            return None
        try:
            for effect in repeat.effects:
                effect()
        except RegistryError:  # it is raised again when all is found out anew
            return None
        self._kept.move_to_end(key)
        request_id = self._new_id()
        self._observer.repeat(repeat.line, request_id, started)
        return b"%b%b%b%b" % (repeat.before, request_id.encode(), repeat.after, repeat.content)

    def begin(self, scope: Scope) -> Draft | None:
        """None for what cannot come again as it is. To be called before anything is asked for the answer."""
        request = scope.get(BYTES)
        if request is None:
            return None
        version = self._find_version()
        if version is None:
            return None
        return Draft((scope["client"][0], request), version, is_bodiless=scope["method"] == "HEAD")

    def end(self, draft: Draft, record: Record, line: Line) -> None:
        """Keep the answer, if it may be given again."""
        if not (record.may_repeat and draft.content is not None and draft.status == HTTPStatus.OK and draft.head):
            return
        if self._clock() >= record.holds_until:  # a password's request least of all is kept for nothing
            return
        # A looks something up, B commits, A keeps the old under the new version: so that of A's beginning counts.
        if len(draft.content) > _LARGEST or self._find_version() != draft.version:
            return
        effects = tuple(record.effects)
        repeat = _Repeat(draft.version, record.holds_until, effects, line, *draft.head, draft.content)
        self._forget(draft.key)
        self._kept[draft.key] = repeat
        self._size += _size(draft.key, repeat)
        while self._size > _MOST:
            self._forget(next(iter(self._kept)))

    def _find_version(self) -> object:
        try:
            return self._database.version()
        except RegistryError:
            return None

    def _forget(self, key: Key) -> None:
        repeat = self._kept.pop(key, None)
        if repeat is not None:
            self._size -= _size(key, repeat)


def _size(key: Key, repeat: _Repeat) -> int:
    """In memory, about: the log's line has parts of the request, at up to five characters for a byte."""
    return 6 * len(key[1]) + len(repeat.before) + len(repeat.after) + len(repeat.content) + _OVERHEAD


def _split(headers: Sequence[tuple[bytes, bytes]]) -> tuple[bytes, bytes] | None:
    """The header lines before and after the value of the request's id; None for those that cannot be repeated."""
    lines = {name.lower(): b"%b: %b\r\n" % (name, value) for name, value in headers}
    if len(lines) < len(headers) or b"connection" in lines or not {_ID, b"content-length"} <= lines.keys():
        return None
    before, _, after = b"".join(lines.values()).partition(lines[_ID])
    return before + _ID + b": ", b"\r\n" + after + b"\r\n"

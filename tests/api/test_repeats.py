"""Which answers are kept to be given again, and for how long."""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.types import Message

from registry.api.extensions import BYTES, ZERO_COPY
from registry.api.health import Ending
from registry.api.observe import Line, Observer, Record
from registry.api.repeats import Repeats
from registry.api.request_log import StructuredLog
from registry.api.tallies import Tally
from registry.app import RequestIds
from registry.metadata.sqlite import SqliteDatabase

ADDRESS = "10.0.0.1"
ID = (b"x-request-id", b"id")
START: Message = {
    "type": "http.response.start",
    "status": 200,
    "headers": [(b"content-length", b"3"), ID, (b"a", b"b")],
}
KEPT = 16 << 20  # bytes, at most


class Kept:
    """Answers over a database of their own, at the instant `now`."""

    def __init__(self, path: Path) -> None:
        self.database = SqliteDatabase(path)
        self.commit()
        self.ending = Ending(lambda: 0)
        self.now = 1_000
        observer = Observer(StructuredLog())
        self.repeats = Repeats(self.database, lambda: self.now, observer, RequestIds(), self.ending)

    def commit(self) -> None:
        asyncio.run(self.database.write(lambda tx: tx.run("CREATE TABLE IF NOT EXISTS t (a)")))
        asyncio.run(self.database.write(lambda tx: tx.run("INSERT INTO t VALUES (1)")))

    def give(
        self,
        request: bytes,
        content: bytes = b"abc",
        *,
        start: Message = START,
        may_repeat: bool = True,
        commits: int = 0,
    ) -> None:
        """An answer; `commits` happen while it is found."""
        draft = self.repeats.begin({BYTES: request, "client": (ADDRESS, 1), "method": "GET"})
        assert draft is not None
        for _ in range(commits):
            self.commit()
        draft.take(start)
        draft.take({"type": "http.response.body", "body": content})
        record = Record("id", may_repeat=may_repeat, holds_until=2_000)
        self.repeats.end(draft, record, Line(Tally(), 0, len(content), None))

    def knows(self, request: bytes, address: str = ADDRESS) -> bool:
        return self.repeats.answer(address, request) is not None


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[Kept]:
    kept = Kept(tmp_path / "entrepot.db")
    yield kept
    kept.database.close()


def test_an_answer_is_kept(kept: Kept) -> None:
    """For the same bytes from the same address; with a request id of its own each time."""
    kept.give(b"request")
    first, second = (kept.repeats.answer(ADDRESS, b"request") for _ in range(2))
    assert first is not None
    assert second is not None
    assert first != second
    assert re.fullmatch(rb"content-length: 3\r\nx-request-id: [0-9a-f]{32}\r\na: b\r\n\r\nabc", first)
    assert (kept.knows(b"Request"), kept.knows(b"request", "10.0.0.2")) == (False, False)


def test_until_when(kept: Kept) -> None:
    """The caller's credentials end; something is committed; the server ends."""
    kept.give(b"request")
    kept.now = 2_000
    assert not kept.knows(b"request")
    kept.now = 1_999
    assert kept.knows(b"request")
    kept.commit()
    assert not kept.knows(b"request")
    kept.give(b"request")
    assert kept.knows(b"request")
    kept.ending.begin()
    assert not kept.knows(b"request")


BODY: Message = {"type": "http.response.body", "body": b"abc"}
PIECE: Message = {"type": "http.response.body", "body": b"a", "more_body": True}
FILE: Message = {"type": ZERO_COPY, "file": 0, "offset": 0, "count": 3}


def with_headers(*headers: tuple[bytes, bytes], status: int = 200) -> Message:
    return {"type": "http.response.start", "status": status, "headers": list(headers)}


LENGTH = (b"Content-Length", b"3")


@pytest.mark.parametrize(
    "start",
    [
        with_headers(LENGTH, ID, status=404),
        with_headers(LENGTH, ID, status=206),
        with_headers(ID),
        with_headers(LENGTH),
        with_headers(LENGTH, ID, (b"Connection", b"close")),
        with_headers(LENGTH, ID, (b"Link", b"1"), (b"Link", b"2")),
    ],
    ids=repr,
)
def test_answers_of_other_kinds(kept: Kept, start: Message) -> None:
    """They are found out each time."""
    kept.give(b"request", start=start)
    assert not kept.knows(b"request")


@pytest.mark.parametrize("messages", [[PIECE, BODY], [PIECE, PIECE], [FILE], [{**BODY, "more_body": True}]])
def test_answers_in_pieces(kept: Kept, messages: list[Message]) -> None:
    """What is not all in one message, or not yet, is not kept."""
    draft = kept.repeats.begin({BYTES: b"request", "client": (ADDRESS, 1), "method": "GET"})
    assert draft is not None
    for message in (START, *messages):
        draft.take(message)
    kept.repeats.end(draft, Record("id", may_repeat=True, holds_until=2_000), Line(Tally(), 0, 3, None))
    assert not kept.knows(b"request")


def test_answers_that_do_more(kept: Kept) -> None:
    """Of endpoints that did not say that they may be repeated none is kept."""
    kept.give(b"request", may_repeat=False)
    assert not kept.knows(b"request")


def test_answers_to_passwords(kept: Kept) -> None:
    """Nobody knows until when they hold: they are not kept, not even for nothing."""
    kept.now = 3_000
    kept.give(b"request")
    kept.now = 1_000
    assert not kept.knows(b"request")


def test_what_changes_meanwhile(kept: Kept) -> None:
    """Nobody knows whether the answer is of before or after the change, so it is not kept."""
    kept.give(b"request", commits=1)
    assert not kept.knows(b"request")


def test_memory(kept: Kept) -> None:
    """The requests that came last are known, as many as have room; large answers are not kept."""
    size = 64 << 10
    for number in range(2 * KEPT // size):
        kept.give(b"%d" % number, bytes(size))
        kept.knows(b"0")
    known = [number for number in range(2 * KEPT // size) if kept.knows(b"%d" % number)]
    assert known == [0, *range(known[1], 2 * KEPT // size)]
    assert 0.8 * KEPT < len(known) * size < KEPT
    kept.give(b"large", bytes((256 << 10) + 1))
    assert not kept.knows(b"large")


def test_requests_themselves_take_memory(kept: Kept) -> None:
    """Long ones push others out, too, and one that is given anew counts once."""
    for _ in range(10_000):
        kept.give(b"0")
    assert kept.knows(b"0")
    for number in range(KEPT // 24_000):
        kept.give(b"%d" % number + bytes(4_000))
    assert not kept.knows(b"0")

"""Ranges of blobs (RFC 9110, section 14): resumed downloads, lazy pulls, and what hostile ranges get."""

import email.parser
import email.policy
import re

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.api.content import Repository, digest_of
from tests.api.running import RunningServer
from tests.api.watching import WatchedServer
from tests.api.wire import Reply

SIZE = 2048
BLOB = bytes(range(256)) * (SIZE // 256)


@pytest.fixture(scope="session")
def server(watched: WatchedServer) -> WatchedServer:
    """Each refusal is held against the oracle."""
    return watched


@pytest.fixture(scope="module")
def path(server: RunningServer) -> str:
    """A blob of 2048 bytes."""
    repository = Repository(server)
    repository.push_blob(BLOB)
    return f"/v2/{repository.name}/blobs/{digest_of(BLOB)}"


def ask(server: RunningServer, path: str, value: str, *headers: tuple[str, str]) -> Reply:
    return server.call("GET", path, ("Range", value), *headers)


SINGLE = [
    ("bytes=500-1499", 500, 1499),
    ("bytes=0-0", 0, 0),
    ("bytes=0-1", 0, 1),
    ("bytes=500-", 500, 2047),
    ("bytes=2047-", 2047, 2047),
    ("bytes=-500", 1548, 2047),
    ("bytes=-1", 2047, 2047),
    ("bytes=-5000", 0, 2047),
    ("bytes=2000-5000", 2000, 2047),
    ("bytes=0-18446744073709551616", 0, 2047),
    ("Bytes=1-2", 1, 2),
    ("bytes=5000-6000,1-2", 1, 2),
]


@pytest.mark.input(50)
@pytest.mark.parametrize(("value", "first", "last"), SINGLE)
def test_one_range(server: RunningServer, path: str, value: str, first: int, last: int) -> None:
    """One satisfiable range is 206 with exactly its bytes."""
    reply = ask(server, path, value)
    assert reply.status == 206
    assert reply["Content-Range"] == f"bytes {first}-{last}/{SIZE}"
    assert reply["Content-Length"] == str(last - first + 1)
    assert reply.body == BLOB[first : last + 1]
    assert reply["Docker-Content-Digest"] == path.rpartition("/")[2]


@pytest.mark.input(48)
@pytest.mark.parametrize(
    "value", ["bytes=500-0", "bytes=5000-10000", "bytes=2048-", "bytes=2048-2048", "bytes=-0", "bytes=9-8,5000-"]
)
def test_no_range_of_the_blob(server: RunningServer, path: str, value: str) -> None:
    """A range that begins after the blob or ends before it begins is 416 with the blob's size."""
    reply = ask(server, path, value)
    assert (reply.status, reply.code, reply["Content-Range"]) == (416, "SIZE_INVALID", f"bytes */{SIZE}")


WHOLE = [
    "bytes=-", "bytes=", "bytes", "bytes=a-b", "items=0-1", "bytes=0-1;x", "bytes=0--1", "bytes=+0-1", "bytes=0x0-1",
    "bytes=1 - 2", "0-1", "bytes=0-1,", "bytes=,0-1", "bytes:0-1", "bytes=0-1,x",
    "bytes=\xd9\xa0-\xd9\xa1",
    "bytes=0-999999999999999999999999999999",
    "bytes=0-100,50-150",
    "bytes=-10,2040-2047",
    "bytes=0-0,0-0",
    "bytes=0-,1-",
    "bytes=" + ",".join(f"{n * 10}-{n * 10}" for n in range(17)),
    "bytes=" + ",".join(f"{n}-{n}" for n in range(0, 2000, 2)),
    "bytes=" + "0-,5-" * 5_000,
]  # fmt: skip


@pytest.mark.input(49, 51)
@pytest.mark.parametrize("value", WHOLE, ids=lambda value: value[:30])
def test_ranges_that_are_ignored(server: RunningServer, path: str, value: str) -> None:
    """What is not understood, overlaps or is more than sixteen ranges gets the whole blob."""
    reply = ask(server, path, value)
    assert (reply.status, reply.body) == (200, BLOB)
    assert "Content-Range" not in reply


SEVERAL = [
    "bytes=0-0,2047-2047",
    "bytes=0-9, 20-29,\t40-49",
    "bytes=1000-1009,0-9",
    "bytes=0-9,10-19",
    "bytes=0-9,-10",
    "bytes=" + ",".join(f"{n * 100}-{n * 100 + 9}" for n in range(16)),
]


@pytest.mark.input(51)
@pytest.mark.parametrize("value", SEVERAL, ids=lambda value: value[:30])
def test_several_ranges(server: RunningServer, path: str, value: str) -> None:
    """Two to sixteen ranges are 206 multipart/byteranges, in the order asked."""
    reply = ask(server, path, value)
    assert reply.status == 206
    assert reply["Content-Length"] == str(len(reply.body))
    assert parts_of(reply) == [wanted(one) for one in value.removeprefix("bytes=").split(",")]


def wanted(one: str) -> tuple[str, bytes]:
    first, _, last = one.strip().partition("-")
    begin, end = (int(first), int(last)) if first else (SIZE - int(last), SIZE - 1)
    return f"bytes {begin}-{end}/{SIZE}", BLOB[begin : end + 1]


def parts_of(reply: Reply) -> list[tuple[str, bytes]]:
    """The Content-Range and the bytes of each part, read by the standard library."""
    assert reply["Content-Type"].startswith("multipart/byteranges; boundary=")
    head = f"Content-Type: {reply['Content-Type']}\r\n\r\n".encode()
    parser = email.parser.BytesParser(policy=email.policy.HTTP)
    # A parser of mail would make line ends of the blob's own bytes equal, so the lengths say where a part ends.
    parts = parser.parsebytes(head + reply.body).get_payload()
    assert isinstance(parts, list)
    ranges = [str(part["Content-Range"]) for part in parts]  # type: ignore[index] # parts of a multipart are messages
    return [(one, _bytes_after(reply.body, one)) for one in ranges]


def _bytes_after(body: bytes, content_range: str) -> bytes:
    match = re.fullmatch(r"bytes (\d+)-(\d+)/\d+", content_range)
    assert match
    begin = body.index(content_range.encode() + b"\r\n\r\n") + len(content_range) + 4
    size = int(match[2]) - int(match[1]) + 1
    assert body[begin + size : begin + size + 4] == b"\r\n--"
    return body[begin : begin + size]


@pytest.mark.input(53)
def test_if_range(server: RunningServer, path: str) -> None:
    """A download is resumed while the blob is the same; any other validator gets the whole."""
    digest = path.rpartition("/")[2]
    assert ask(server, path, "bytes=1-2", ("If-Range", f'"{digest}"')).status == 206
    for other in ('"other"', f'W/"{digest}"', digest, "Mon, 23 Nov 2026 00:00:00 GMT"):
        assert ask(server, path, "bytes=1-2", ("If-Range", other)).status == 200


@pytest.mark.input(54)
def test_a_range_of_what_is_not_asked_for(server: RunningServer, path: str) -> None:
    """HEAD, 304 and 404 do not look at Range."""
    digest = path.rpartition("/")[2]
    head = server.call("HEAD", path, ("Range", "bytes=0-1"))
    assert (head.status, head["Content-Length"]) == (200, str(SIZE))
    assert ask(server, path, "bytes=0-1", ("If-None-Match", f'"{digest}"')).status == 304
    assert ask(server, path.replace(digest[-8:], "00000000"), "bytes=0-1").status == 404


def test_ranges_of_an_empty_blob(repository: Repository) -> None:
    """Nothing of nothing can be asked for."""
    repository.push_blob(b"")
    path = f"blobs/{digest_of(b'')}"
    whole = repository.call("GET", path)
    assert (whole.status, whole.body, whole["Content-Length"]) == (200, b"", "0")
    assert repository.call("GET", path, ("Range", "bytes=0-")).status == 416
    assert repository.call("GET", path, ("Range", "bytes=-1")).status == 416


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, SIZE + 50), st.integers(0, SIZE + 50)), min_size=1, max_size=20))
def test_any_ranges(server: RunningServer, path: str, pairs: list[tuple[int, int]]) -> None:
    """Whatever ranges are asked for: what comes is what is named, and a 200 is the whole blob."""
    reply = ask(server, path, "bytes=" + ",".join(f"{first}-{last}" for first, last in pairs))
    if reply.status == 200:
        assert reply.body == BLOB
    elif reply.status == 416:
        assert all(first >= SIZE or last < first for first, last in pairs)
    elif reply["Content-Type"] == "application/octet-stream":
        assert (reply["Content-Range"], reply.body) == wanted(reply["Content-Range"][6:].partition("/")[0])
    else:
        assert [content for _, content in parts_of(reply)] == [
            BLOB[first : last + 1] for first, last in pairs if first < SIZE and first <= last
        ]

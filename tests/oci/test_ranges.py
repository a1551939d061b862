"""Range headers, as RFC 9110 section 14 has them, and the body of a multipart answer."""

import asyncio
import email
import email.policy
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.api.ranges import MultipartRanges, parse_ranges
from registry.errors import RangeNotSatisfiable
from storage.blobstore import ByteRange

SIZE = 100


@pytest.mark.parametrize(
    ("header", "ranges"),
    [
        ("bytes=0-0", [(0, 0)]),
        ("bytes=0-99", [(0, 99)]),
        ("bytes=10-19", [(10, 19)]),
        ("bytes=10-", [(10, 99)]),
        ("bytes=99-", [(99, 99)]),
        ("bytes=-1", [(99, 99)]),
        ("bytes=-100", [(0, 99)]),
        ("bytes=-1000", [(0, 99)]),
        ("bytes=90-1000", [(90, 99)]),
        ("bytes=90-99999999999999999999", [(90, 99)]),
        ("BYTES=0-1", [(0, 1)]),
        ("bytes= 0-1 ,\t5-6 ", [(0, 1), (5, 6)]),
        ("bytes=0-1,5-6", [(0, 1), (5, 6)]),
        ("bytes=5-6,0-1", [(5, 6), (0, 1)]),
        ("bytes=0-1,2-3", [(0, 1), (2, 3)]),
        ("bytes=0-1,-1", [(0, 1), (99, 99)]),
        ("bytes=0-1,200-300", [(0, 1)]),
        ("bytes=" + ",".join(f"{first}-{first}" for first in range(0, 32, 2)), [(n, n) for n in range(0, 32, 2)]),
    ],
)
def test_ranges(header: str, ranges: list[tuple[int, int]]) -> None:
    """What is asked for and there, in the order asked."""
    assert parse_ranges(header, SIZE) == [ByteRange(*one) for one in ranges]


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=1-2-3",
        "bytes=+1-2",
        "bytes=0x1-0x2",
        "bytes=1.0-2",
        "bytes=\u0661-\u0662",
        "bytes=0-1,",
        "bytes=0-1;5-6",
        "bytes 0-1",
        "octets=0-1",
        "bytes=0-1\n",
        "bytes=" + "1" * 21 + "-",
        "bytes=0-5,5-9",
        "bytes=0-,50-60",
        "bytes=0-9,-95",
        "bytes=0-0,0-0",
        "bytes=" + ",".join(f"{first}-{first}" for first in range(0, 34, 2)),
        "bytes=" + "0-0," * 1000 + "0-0",
        "bytes=" + " " * 2000 + "0-0",
    ],
)
def test_ignored(header: str) -> None:
    """What is not understood, overlaps or is too much is ignored: the whole blob is sent."""
    assert parse_ranges(header, SIZE) == []


@pytest.mark.parametrize(
    "header", ["bytes=100-", "bytes=100-200", "bytes=-0", "bytes=9-8", "bytes=100-,200-", "bytes=-0,9-8"]
)
def test_not_satisfiable(header: str) -> None:
    """No byte of what is asked for exists: 416, and the answer says the size."""
    with pytest.raises(RangeNotSatisfiable) as raised:
        parse_ranges(header, SIZE)
    assert raised.value.headers == {"Content-Range": "bytes */100"}


@pytest.mark.parametrize("header", ["bytes=0-", "bytes=0-0", "bytes=-1"])
def test_empty_blob_has_no_range(header: str) -> None:
    """Nothing of an empty blob can be asked for."""
    with pytest.raises(RangeNotSatisfiable):
        parse_ranges(header, 0)


@given(st.text() | st.text("bytes=0123456789-, ", max_size=60).map("bytes=".__add__), st.integers(0, 1000))
def test_any_header_is_answered(header: str, size: int) -> None:
    """Any header gives ranges inside the blob that do not overlap, nothing, or 416."""
    try:
        ranges = parse_ranges(header, size)
    except RangeNotSatisfiable:
        return
    taken = [position for one in ranges for position in range(one.first, one.last + 1)]
    assert len(ranges) <= 16
    assert all(one.size > 0 for one in ranges)
    assert len(taken) == len(set(taken))
    assert set(taken) <= set(range(size))


class OpenContent:
    """A blob that is open, from memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.size = len(content)

    @property
    def descriptor(self) -> None:
        """It is no file."""

    async def read(self, byte_range: ByteRange) -> AsyncIterator[bytes]:
        yield self._content[byte_range.first : byte_range.last + 1]

    async def close(self) -> None:
        return


@given(st.binary(min_size=1, max_size=300), st.data())
def test_multipart_body(content: bytes, data: st.DataObject) -> None:
    """A mail parser, which knows multipart, finds every range in its order; the announced length is the real one."""
    bounds = st.integers(0, len(content) - 1)
    ranges = [ByteRange(min(pair), max(pair)) for pair in data.draw(st.lists(st.tuples(bounds, bounds), min_size=2))]
    multipart = MultipartRanges(ranges, len(content), "5bd3a1" * 5)

    async def read() -> bytes:
        return b"".join([piece async for piece in multipart.read(OpenContent(content))])

    body = asyncio.run(read())
    assert len(body) == multipart.length
    for part, one in zip(body.split(b"\r\n--" + multipart.boundary.encode())[1:], ranges, strict=False):
        head, _, found = part.partition(b"\r\n\r\n")
        described = email.message_from_bytes(head.lstrip() + b"\r\n\r\n", policy=email.policy.HTTP)
        assert described["Content-Range"] == f"bytes {one.first}-{one.last}/{len(content)}"
        assert described["Content-Type"] == "application/octet-stream"
        assert found == content[one.first : one.last + 1]
    assert body.endswith(b"\r\n--" + multipart.boundary.encode() + b"--\r\n")
    assert multipart.media_type == f"multipart/byteranges; boundary={multipart.boundary}"

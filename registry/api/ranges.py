"""Range requests (RFC 9110, section 14): one range, or up to sixteen as multipart/byteranges."""

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import pairwise

from registry.errors import RangeNotSatisfiable
from storage.blobstore import ByteRange, OpenBlob

_MOST_RANGES = 16
_LONGEST = 1024  # characters of a Range header; sixteen ranges need fewer
_RANGES = re.compile(r"bytes=(.+)", re.IGNORECASE)
_RANGE = re.compile(r"[ \t]*(?:([0-9]{1,20})-([0-9]{0,20})|-([0-9]{1,20}))[ \t]*", re.ASCII)


def parse_ranges(header: str, size: int) -> list[ByteRange]:
    """The satisfiable ranges of a Range header for a blob of `size` bytes, in the order asked; none: send it whole.

    Ignored, as the RFC lets a server do: what is not understood, overlapping ranges, and more than sixteen.
    Ranges that begin after the blob's end, or end before they begin, do not count; RangeNotSatisfiable when none does.
    """
    unit = _RANGES.fullmatch(header) if len(header) <= _LONGEST else None
    matches = [_RANGE.fullmatch(part) for part in unit[1].split(",")] if unit else []
    if not matches or None in matches or len(matches) > _MOST_RANGES:
        return []
    ranges = [found for match in matches if match and (found := _satisfiable(match, size))]
    if not ranges:
        raise RangeNotSatisfiable(size)
    in_order = sorted(ranges, key=lambda one: one.first)
    overlap = any(left.last >= right.first for left, right in pairwise(in_order))
    return [] if overlap else ranges


def _satisfiable(match: re.Match[str], size: int) -> ByteRange | None:
    first, last, suffix = match.groups()
    if suffix is not None:
        length = min(int(suffix), size)
        return ByteRange(size - length, size - 1) if length else None
    begin, end = int(first), int(last) if last else size - 1
    return ByteRange(begin, min(end, size - 1)) if begin < size and begin <= end else None


@dataclass(frozen=True, slots=True)
class MultipartRanges:
    """The body that carries several ranges (RFC 9110, section 14.6). `boundary` must not occur in the blob."""

    ranges: list[ByteRange]
    size: int
    boundary: str

    @property
    def media_type(self) -> str:
        return f"multipart/byteranges; boundary={self.boundary}"

    @property
    def length(self) -> int:
        return sum(len(self._head(one)) + one.size for one in self.ranges) + len(self._tail)

    async def read(self, blob: OpenBlob) -> AsyncIterator[bytes]:
        for one in self.ranges:
            yield self._head(one)
            async for piece in blob.read(one):
                yield piece
        yield self._tail

    def _head(self, one: ByteRange) -> bytes:
        return (
            f"\r\n--{self.boundary}\r\nContent-Type: application/octet-stream\r\n"
            f"Content-Range: bytes {one.first}-{one.last}/{self.size}\r\n\r\n"
        ).encode("ascii")

    @property
    def _tail(self) -> bytes:
        return f"\r\n--{self.boundary}--\r\n".encode("ascii")

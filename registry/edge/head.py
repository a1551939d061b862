"""The head of a request, judged once: whatever two readers could understand in two ways is refused.

RFC 9112 sections 3.2, 6.1 and 6.3. The parser has refused already what is no HTTP at all.
"""

import re
from dataclasses import dataclass, field
from urllib.parse import unquote_to_bytes

from registry.api.head import HeadLimits
from registry.errors import HeadersTooLarge, PathTooLong, RequestInvalid

Headers = list[tuple[bytes, bytes]]

_TARGET = re.compile(rb"/[!-~]*")  # printable ASCII; the API has its own parsers of paths and queries
_LENGTH = re.compile(rb"[0-9]{1,19}")
_SINGLE = frozenset({b"host", b"content-length", b"transfer-encoding", b"authorization", b"expect"})


@dataclass(slots=True)
class Head:
    """A head as it comes in. `size` counts the bytes of names and values."""

    limits: HeadLimits
    target: bytes = b""
    headers: Headers = field(default_factory=list)
    size: int = 0
    expects_continue: bool = False
    length: int | None = 0  # of the body in bytes; None: chunked

    def take_target(self, piece: bytes) -> None:
        """Raises PathTooLong."""
        self.target += piece
        if len(self.target) > self.limits.target_bytes:
            raise PathTooLong

    def take_header(self, name: bytes, value: bytes) -> None:
        """Raises HeadersTooLarge."""
        self.size += len(name) + len(value)
        if self.size > self.limits.header_bytes or len(self.headers) >= self.limits.header_count:
            raise HeadersTooLarge
        self.headers.append((name.lower(), value))

    def judge(self) -> None:
        """Raises RequestInvalid."""
        if not _TARGET.fullmatch(self.target) and self.target != b"*":
            raise RequestInvalid("the target of a request is a path, in printable ASCII, and perhaps a query")
        seen: dict[bytes, bytes] = {}
        for name, value in self.headers:
            if name in _SINGLE and name in seen:
                raise RequestInvalid(f"a request has at most one {name.decode()} header")
            seen[name] = value
        self.length = _find_length(seen.get(b"content-length"), seen.get(b"transfer-encoding"))
        self.expects_continue = seen.get(b"expect", b"").lower() == b"100-continue"

    @property
    def path(self) -> bytes:
        return self.target.partition(b"?")[0]

    @property
    def query(self) -> bytes:
        return self.target.partition(b"?")[2]

    @property
    def decoded_path(self) -> str:
        """For routes outside of the distribution API, which reads `path` itself."""
        return unquote_to_bytes(self.path).decode("utf-8", "replace")


def _find_length(length: bytes | None, coding: bytes | None) -> int | None:
    """Of the body, as Head has it. Raises RequestInvalid."""
    if coding is not None:
        if length is not None or coding.strip(b" \t").lower() != b"chunked":
            raise RequestInvalid("the only transfer coding is chunked, and with it there is no Content-Length")
        return None
    if length is not None and not _LENGTH.fullmatch(length):
        raise RequestInvalid("Content-Length is a number of bytes")
    return int(length or 0)

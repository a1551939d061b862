"""A proxy in front of an S3 server that knows the calls, counts them, and lets the ones go wrong that a test names.

The signature covers the Host header, which stays as it is: clients are given the proxy's address as the endpoint.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias
from urllib.parse import parse_qs, urlsplit

from tests.servers.proxy import TcpProxy

_MOST_HEAD = 256 << 10
_PIECE = 64 << 10
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@dataclass(frozen=True, slots=True)
class S3Call:
    """One call: `operation` is its name in the S3 API, `status` what the client was answered (0: nothing)."""

    operation: str
    key: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    status: int = 0


@dataclass(frozen=True, slots=True)
class Answer:
    """The server is not asked; the client gets this error. With status 200 it is one that only the body tells."""

    status: int
    code: str


@dataclass(frozen=True, slots=True)
class Lose:
    """The server does it, the connection is reset before the answer."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """The connection is reset before the server hears of the call."""


@dataclass(frozen=True, slots=True)
class Hang:
    """The call is taken and never answered."""


@dataclass(frozen=True, slots=True)
class Withhold:
    """The server does it, its answer never comes."""


@dataclass(frozen=True, slots=True)
class Cut:
    """The answer's body ends after this share of it, with a reset or as if it were whole."""

    share: float
    is_reset: bool = True


@dataclass(frozen=True, slots=True)
class OtherTag:
    """The answer has another ETag."""


Deed: TypeAlias = Answer | Lose | Refuse | Hang | Withhold | Cut | OtherTag

SLOW_DOWN = Answer(503, "SlowDown")
BROKEN = Answer(500, "InternalError")


@dataclass(slots=True)
class Fault:
    """`deed` is done to each `every`-th call of `operation` (empty: of all), `times` times (None: until healed)."""

    deed: Deed
    operation: str = ""
    times: int | None = None
    every: int = 1
    done: int = 0
    _seen: int = 0

    def take(self, operation: str) -> bool:
        """Whether this call is one of those."""
        if self.operation not in ("", operation) or self.done == self.times:
            return False
        self._seen += 1
        if self._seen % self.every:
            return False
        self.done += 1
        return True


@dataclass(slots=True)
class _Answered:
    head: bytes
    status: int
    length: int | None  # None: chunked
    headers: dict[str, str] = field(default_factory=dict)


class S3Proxy(TcpProxy):
    """Beside what a TcpProxy can do: faults of single calls."""

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.calls: list[S3Call] = []
        self.withheld = 0  # answers
        self._faults: list[Fault] = []

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def break_(self, deed: Deed, operation: str = "", *, times: int | None = None, every: int = 1) -> Fault:
        """From now on. Returns what counts how often it was done."""
        fault = Fault(deed, operation, times, every)
        self._faults.append(fault)
        return fault

    def heal(self) -> None:
        self._faults.clear()
        super().heal()

    def forget(self) -> None:
        """Count from here."""
        self.calls.clear()

    def count(self) -> Counter[str]:
        """How often each operation was asked for."""
        return Counter(call.operation for call in self.calls)

    async def _serve(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        server, to_server = await asyncio.open_connection("127.0.0.1", self._target, limit=_MOST_HEAD)
        try:
            while head := await _read_head(client):
                call, length, head = _parse(head)
                if "expect" in call.headers:
                    to_client.write(_CONTINUE)
                body = await _read_body(client, length)
                self.calls.append(call)  # before its answer: who has that may count
                status = await self._do(call, head + body, (server, to_server), to_client)
                with contextlib.suppress(ValueError):  # forgotten meanwhile
                    self.calls[self.calls.index(call)] = replace(call, status=status)
                if not status:
                    return
        finally:
            to_server.transport.abort()

    async def _do(
        self,
        call: S3Call,
        request: bytes,
        upstream: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        to_client: asyncio.StreamWriter,
    ) -> int:
        """Returns the status that the client has got, 0 when the connection is to be reset."""
        await self._moves.wait()
        deed = next((fault.deed for fault in self._faults if fault.take(call.operation)), None)
        if isinstance(deed, Answer):
            to_client.write(_error(call, deed))
            await to_client.drain()
            return deed.status
        if isinstance(deed, Refuse):
            return 0
        if isinstance(deed, Hang):
            await asyncio.get_running_loop().create_future()
        server, to_server = upstream
        to_server.write(request)
        await to_server.drain()
        answered = await _read_answer(server, call)
        if isinstance(deed, Lose | Withhold):
            await _read_body(server, answered.length)
            self.withheld += isinstance(deed, Withhold)
            return 0 if isinstance(deed, Lose) else await asyncio.get_running_loop().create_future()
        return await _pass_on(answered, server, to_client, deed)


async def _pass_on(
    answered: _Answered, server: asyncio.StreamReader, to_client: asyncio.StreamWriter, deed: Deed | None
) -> int:
    head = answered.head
    if isinstance(deed, OtherTag):
        tag = answered.headers.get("etag", "").encode()
        head = head.replace(tag, b'"' + b"0" * 32 + b'"') if tag else head
    to_client.write(head)
    if isinstance(deed, Cut):
        to_client.write((await _read_body(server, answered.length))[: int((answered.length or 0) * deed.share)])
        await to_client.drain()
        if not deed.is_reset:
            to_client.close()
            await to_client.wait_closed()
        return 0
    if answered.length is None:
        to_client.write(await _read_body(server, None))
    left = answered.length or 0
    while left and (piece := await server.read(min(left, _PIECE))):
        left -= len(piece)
        to_client.write(piece)
        await to_client.drain()
    await to_client.drain()
    return answered.status if not left else 0


def _parse(head: bytes) -> tuple[S3Call, int | None, bytes]:
    """The call, the length of its body, and the head as it goes on: nobody waits for `100 Continue` twice."""
    lines = head.decode("latin-1").split("\r\n")
    method, target, _ = lines[0].split(" ")
    headers = _headers(lines[1:])
    parts = urlsplit(target)
    query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
    key = parts.path.lstrip("/").partition("/")[2]
    kept = [line for line in lines if not line.lower().startswith("expect:")]
    operation = _name(method, key, query, is_copy="x-amz-copy-source" in headers)
    return S3Call(operation, key, query, headers), _length(headers), "\r\n".join(kept).encode("latin-1")


def _name(method: str, key: str, query: Mapping[str, str], *, is_copy: bool) -> str:
    copied = "Copy" if is_copy else ""
    parts = {"PUT": f"UploadPart{copied}", "POST": "CompleteMultipartUpload", "DELETE": "AbortMultipartUpload"}
    if "uploadId" in query:
        return parts.get(method, "ListParts")
    if "uploads" in query:
        return "CreateMultipartUpload" if method == "POST" else "ListMultipartUploads"
    if not key:
        listing = "ListObjectsV2" if query.get("list-type") else "GetBucket" + "".join(sorted(query)).capitalize()
        return {"GET": listing, "HEAD": "HeadBucket", "POST": "DeleteObjects", "PUT": "PutBucket"}.get(method, method)
    objects = {"GET": "GetObject", "HEAD": "HeadObject", "DELETE": "DeleteObject"}
    return objects.get(method) or ("CopyObject" if is_copy else "PutObject")


def _headers(lines: list[str]) -> dict[str, str]:
    pairs = (line.partition(":") for line in lines if line)
    return {name.strip().lower(): value.strip() for name, _, value in pairs}


def _length(headers: Mapping[str, str]) -> int | None:
    return None if headers.get("transfer-encoding", "") == "chunked" else int(headers.get("content-length", "0"))


def _error(call: S3Call, answer: Answer) -> bytes:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{answer.code}</Code><Message>by the test</Message>'
        "<RequestId>0</RequestId></Error>"
    ).encode()
    head = f"HTTP/1.1 {answer.status} {answer.code}\r\nContent-Type: application/xml\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"\r\n" + (b"" if call.operation.startswith("Head") else body)


async def _read_head(reader: asyncio.StreamReader) -> bytes:
    """Nothing at the end of the connection."""
    try:
        return await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return b""


async def _read_answer(server: asyncio.StreamReader, call: S3Call) -> _Answered:
    while True:
        head = await server.readuntil(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        status = int(lines[0].split(" ")[1])
        if status >= 200:
            headers = _headers(lines[1:])
            has_body = not call.operation.startswith("Head") and status not in (204, 304)
            return _Answered(head, status, _length(headers) if has_body else 0, headers)


async def _read_body(reader: asyncio.StreamReader, length: int | None) -> bytes:
    """As it is on the wire; `length` None: chunked."""
    if length is not None:
        return await reader.readexactly(length)
    pieces: list[bytes] = []
    while True:
        line = await reader.readuntil(b"\r\n")
        size = int(line.split(b";")[0], 16)
        pieces += [line, await reader.readexactly(size + 2)]
        if not size:
            return b"".join(pieces)

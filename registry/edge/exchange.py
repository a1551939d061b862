"""One request and its answer, as ASGI has them (https://asgi.readthedocs.io/en/latest/specs/www.html)."""

import asyncio
import re
from collections.abc import Iterable, Iterator, MutableMapping
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

import structlog
from starlette.types import ASGIApp, Message

from registry.api.extensions import BYTES, ZERO_COPY
from registry.edge.outlet import SMALL, read_in_memory
from registry.errors import RegistryError

if TYPE_CHECKING:
    from registry.edge.connection import Connection

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
_STATUS = {each.value: f"HTTP/1.1 {each.value} {each.phrase}\r\n".encode() for each in HTTPStatus}
OK = _STATUS[HTTPStatus.OK]
_BODILESS = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_JOINED = 64 << 10  # bytes of a body's first piece that leave with the head in one write
_HELD = 256 << 10  # bytes of a body that wait to be asked for; then nothing more is read


class AnswerInvalid(Exception):
    """The application has answered what is no HTTP: a bug of ours."""


class Exchange:
    """`has_body`: something comes after the head. `keeps`: the connection goes on after the answer."""

    def __init__(
        self, connection: "Connection", scope: MutableMapping[str, Any], *, has_body: bool, expects: bool, keeps: bool
    ) -> None:
        self.scope = scope
        self.keeps = keeps
        self.is_over = False  # answered, or nobody is there any more
        self.is_gone = False  # the client
        self.is_cut = False  # the request's body, before its end
        self._connection = connection
        self._expects = expects
        self._pieces: list[bytes] = []
        self._size = 0
        self._has_more = has_body
        self._is_read = False  # the body, to its end
        self._refusal: RegistryError | None = None  # why the rest of the body cannot be read
        self._arrived = asyncio.Event()
        self._head: bytes | None = None  # of an answer whose body has not begun
        self._has_begun = False
        self._left: int | None = 0  # bytes of the answer's body that are to come; None: chunked

    # The connection's side.

    def note_bytes(self, request: bytes) -> None:
        """It came alone, and has no body: these bytes are all of it."""
        if self.keeps:  # else the same bytes do more than to ask
            self.scope[BYTES] = request

    def take(self, piece: bytes) -> bool:
        """A piece of the body. Returns whether the next one may come."""
        self._pieces.append(piece)
        self._size += len(piece)
        self._arrived.set()
        return self._size <= _HELD

    def take_end(self) -> None:
        self._has_more = False
        self._arrived.set()

    def refuse(self, error: RegistryError) -> None:
        """The rest of the body cannot be read: whoever asks for it hears of it, once."""
        self._refusal, self.keeps = error, False
        self._arrived.set()

    def abandon(self) -> None:
        """The client has gone away."""
        self.is_gone = self.is_over = True
        self._arrived.set()

    async def run(self, app: ASGIApp) -> None:
        try:
            await app(self.scope, self.receive, self.send)
        except Exception:
            log.exception("the application failed")
            self._connection.abort()
        finally:
            if not self.is_over:  # an answer that is not whole must not look so
                self._connection.abort()

    # The application's side.

    async def receive(self) -> Message:
        """Raises RegistryError, once, for a body that cannot be read to its end."""
        if self._is_interrupted:
            pass
        elif self._has_more and not self._pieces:
            await self._wait_for_body()
        elif self._is_read:  # what is asked for now is the end of the client
            self._arrived.clear()
            await self._arrived.wait()
        if self._refusal is not None and not self.is_over:
            refusal, self._refusal = self._refusal, None
            self.is_cut = True
            raise refusal
        if self.is_over or self.is_cut:
            return {"type": "http.disconnect"}
        body = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self._size = 0
        self._is_read = not self._has_more
        return {"type": "http.request", "body": body, "more_body": self._has_more}

    async def _wait_for_body(self) -> None:
        self._arrived.clear()
        if self._expects and not self._has_begun:
            self._connection.write(_CONTINUE)
        self._expects = False
        self._connection.wait_for_body()
        await self._arrived.wait()

    @property
    def _is_interrupted(self) -> bool:
        return self.is_over or self.is_cut or self._refusal is not None

    async def send(self, message: Message) -> None:
        """Raises AnswerInvalid."""
        await self._connection.writable()
        if self.is_gone:
            return
        if not self._has_begun:
            self._begin(message)
            return
        is_last = not message.get("more_body", False)
        if message["type"] == ZERO_COPY and not self.is_over:
            await self._send_file(message["file"], message["offset"], message["count"], is_last=is_last)
        elif message["type"] == "http.response.body" and not self.is_over:
            self._send_body(message.get("body", b""), is_last=is_last)
        else:
            raise AnswerInvalid(f"{message['type']} comes at the wrong time")

    def _begin(self, message: Message) -> None:
        if message["type"] != "http.response.start":
            raise AnswerInvalid(f"{message['type']} before the answer's start")
        status = message["status"]
        self._has_begun, self._left = True, None
        lines = [_STATUS[status], self._connection.date, *self._header_lines(message.get("headers", ()))]
        if not self.keeps:
            lines.append(b"connection: close\r\n")
        if self.scope["method"] == "HEAD" or status in _BODILESS:
            self._left = 0
        elif self._left is None:
            lines.append(self._without_length())
        self._head = b"".join((*lines, b"\r\n"))

    def _header_lines(self, headers: Iterable[tuple[bytes, bytes]]) -> Iterator[bytes]:
        """All but Connection, which is the edge's own business."""
        for name, value in headers:
            if not (_NAME.fullmatch(name) and _VALUE.fullmatch(value)):
                raise AnswerInvalid(f"a header that is none: {name!r}")
            lowered = name.lower()
            if lowered == b"connection":
                self.keeps = self.keeps and b"close" not in value.lower()
                continue
            if lowered == b"content-length":
                self._left = int(value)
            yield b"%b: %b\r\n" % (name, value)

    def _without_length(self) -> bytes:
        if self.scope["http_version"] == "1.0":
            raise AnswerInvalid("HTTP/1.0 knows no chunks, and the answer has no length")
        return b"transfer-encoding: chunked\r\n"

    def _send_body(self, piece: bytes, *, is_last: bool) -> None:
        if self.scope["method"] == "HEAD":
            piece = b""
        elif self._left is None:
            framed = b"%x\r\n%b\r\n" % (len(piece), piece) if piece else b""
            piece = framed + b"0\r\n\r\n" if is_last else framed
        else:
            self._left -= len(piece)
            if self._left < 0 or (is_last and self._left):
                raise AnswerInvalid("the answer's body has another length than its head says")
        head, self._head = self._head or b"", None
        if head and len(piece) > _JOINED:
            self._connection.write(head)
            self._connection.write(piece)
        elif head or piece:
            self._connection.write(head + piece)
        if is_last:
            self._end()

    async def _send_file(self, file: int, offset: int, count: int, *, is_last: bool) -> None:
        """Raises AnswerInvalid, and OSError when the file cannot be read so far."""
        if self._left is None or count > self._left or (is_last and count < self._left):
            raise AnswerInvalid("a file is for an answer with a length that has so much room")
        told = self.scope["extensions"][ZERO_COPY]
        if count <= SMALL and (piece := read_in_memory(file, offset, count)) is not None:
            told["sent"] += count
            self._send_body(piece, is_last=is_last)
            return
        self._left -= count
        head, self._head = self._head or b"", None
        told["sent"] += await self._connection.send_file(head, file, offset, count)
        if is_last and not self.is_gone:
            self._end()

    def _end(self) -> None:
        self.is_over = True
        self._arrived.set()
        self._connection.end_exchange(self)

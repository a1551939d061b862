"""HTTP over a real socket, byte by byte, and the laws that every answer of the registry keeps."""

import contextlib
import http.client
import json
import select
import socket
import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

SECONDS = 30
MOST_ECHOED = 256  # characters of a request that an error repeats
MOST_SAID = 2000
HOST = "127.0.0.1"

# distribution-spec, section "Error Codes": a 4xx of ours carries no other.
CODES = frozenset(
    {
        "BLOB_UNKNOWN", "BLOB_UPLOAD_INVALID", "BLOB_UPLOAD_UNKNOWN", "DIGEST_INVALID", "MANIFEST_BLOB_UNKNOWN",
        "MANIFEST_INVALID", "MANIFEST_UNKNOWN", "NAME_INVALID", "NAME_UNKNOWN", "SIZE_INVALID", "UNAUTHORIZED",
        "DENIED", "UNSUPPORTED", "TOOMANYREQUESTS",
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Call:
    """A request. A body of bytes goes with its Content-Length, one of pieces with chunked transfer coding."""

    method: str
    path: str
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | tuple[bytes, ...] = b""


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; a header is found by any spelling of its name, and is empty when it is not there."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes

    def __getitem__(self, name: str) -> str:
        return next(iter(self.lines(name)), "")

    def __contains__(self, name: str) -> bool:
        return bool(self.lines(name))

    def lines(self, name: str) -> list[str]:
        return [value for found, value in self.headers if found.lower() == name.lower()]

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def errors(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.json["errors"]
        return found

    @property
    def code(self) -> str:
        """The code of the first error; empty where the answer is none."""
        return str(self.errors[0]["code"]) if self.status >= 400 and self.body else ""


class Connection:
    """One connection on which a test decides about every byte."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((HOST, port), timeout=SECONDS)

    def write(self, content: bytes) -> None:
        # The server may have answered and closed before it has read all: then the answer is what counts.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self._socket.sendall(content)

    def read(self, method: str = "GET") -> Reply:
        """The answer to a request of `method`."""
        response = http.client.HTTPResponse(self._socket, method=method)
        try:
            response.begin()
            return Reply(response.status, tuple(response.getheaders()), response.read())
        finally:
            response.close()

    def receive(self, size: int) -> bytes:
        """The next `size` bytes, whatever they are."""
        received = b""
        while len(received) < size and (piece := self._socket.recv(size - len(received))):
            received += piece
        return received

    def offer(self, content: bytes) -> None:
        """Write as much of it as there is room for. Raises ConnectionError when the server has ended the connection."""
        with contextlib.suppress(BlockingIOError):
            self._socket.send(content, socket.MSG_DONTWAIT)

    def is_answered(self, seconds: float = 0) -> bool:
        """Whether something has come that was not received yet, or the end, or does within so long."""
        return bool(select.select([self._socket], [], [], seconds)[0])

    def read_to_end(self) -> bytes:
        """Whatever comes until the server closes the connection."""
        pieces = []
        with contextlib.suppress(ConnectionResetError):
            while piece := self._socket.recv(65536):
                pieces.append(piece)
        return b"".join(pieces)

    def end_writing(self) -> None:
        """Say that no more comes, and go on listening, unless the server has ended the connection already."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)

    def abort(self) -> None:
        """Vanish like a crashed client: the connection is reset."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.close()


def send(port: int, call: Call) -> Reply:
    """Make one call on a connection of its own, and hold its answer against the laws."""
    with Connection(port) as connection:
        connection.write(written(call, port))
        reply = connection.read(call.method)
    keep_laws(call.method, reply)
    return reply


def send_by_library(port: int, call: Call) -> Reply | None:
    """The same by the standard library's client; None for what it cannot say: odd paths, a header twice."""
    names = [name.lower() for name, _ in call.headers]
    if len(set(names)) < len(names) or not call.path.isascii():
        return None
    body = call.body if isinstance(call.body, tuple) else call.body or None
    connection = http.client.HTTPConnection(HOST, port, timeout=SECONDS)
    try:
        # As above: the answer may come before all is written.
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            connection.request(call.method, call.path, body, dict(call.headers))
        response = connection.getresponse()
        return Reply(response.status, tuple(response.getheaders()), response.read())
    except (http.client.InvalidURL, ValueError):
        return None
    finally:
        connection.close()


def written(call: Call, port: int) -> bytes:
    """The call as it goes over the wire."""
    return head(call, port) + (call.body if isinstance(call.body, bytes) else b"".join(chunked(call.body)))


def head(call: Call, port: int) -> bytes:
    """The request line and the headers, with a Host and what says how long the body is, unless the call has them."""
    given = {name.lower() for name, _ in call.headers}
    lines = [f"{call.method} {call.path} HTTP/1.1", *(f"{name}: {value}" for name, value in call.headers)]
    if "host" not in given:
        lines.append(f"Host: {HOST}:{port}")
    if isinstance(call.body, tuple):
        lines.append("Transfer-Encoding: chunked")
    elif not given & {"content-length", "transfer-encoding"} and (call.body or call.method in {"POST", "PUT", "PATCH"}):
        lines.append(f"Content-Length: {len(call.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunked(pieces: Iterable[bytes]) -> Iterable[bytes]:
    """The pieces in chunked transfer coding, with its end."""
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def keep_laws(method: str, reply: Reply) -> None:
    """What is true of every answer, whatever was asked."""
    assert reply.status < 500, (reply.status, reply.body[:500])
    assert reply["Docker-Distribution-API-Version"] == "registry/2.0"
    assert reply["X-Content-Type-Options"] == "nosniff"
    assert reply["X-Request-ID"]
    assert not [name for name, _ in reply.headers if name.lower().startswith("access-control-")], "CORS is off"
    assert "Content-Encoding" not in reply, "blobs and manifests are never compressed"
    assert reply["Location"].startswith("/v2/") or "Location" not in reply, "Locations are relative"
    if reply.status >= 400:
        _keep_laws_of_errors(method, reply)


def _texts(detail: Any) -> Iterator[str]:
    if isinstance(detail, str):
        yield detail
    elif isinstance(detail, dict | list):
        for inner in detail.values() if isinstance(detail, dict) else detail:
            yield from _texts(inner)


def _keep_laws_of_errors(method: str, reply: Reply) -> None:
    assert reply["Content-Type"] == "application/json"
    if method != "HEAD":
        assert reply.json.keys() == {"errors"}
        assert reply.errors, "an error has a reason"
        for error in reply.errors:
            assert error.keys() <= {"code", "message", "detail"}, error
            assert error["code"] in CODES, error
            assert error["message"], error
            assert len(error["message"]) < MOST_SAID, error
            assert all(len(text) <= MOST_ECHOED for text in _texts(error.get("detail"))), error
    assert (reply.status == 405) == bool(reply["Allow"]), "405 names the methods, nothing else does"
    assert reply.status != 401 or reply["WWW-Authenticate"]
    assert reply.status not in {429, 503} or reply["Retry-After"]

"""A client of registries in a thread: pushes as docker does, pulls, and asks for manifests, on kept connections."""

import hashlib
import http.client
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from benchmarks.images import MANIFEST_TYPE, make_manifest
from benchmarks.load import WrongAnswer
from storage.digest import Digest

MIB = 1 << 20
_TIMEOUT = 600  # seconds
_BLOCK = os.urandom(MIB)


@dataclass(frozen=True)
class Content:
    """Bytes that nobody has pushed yet: one block again and again, and each time with another beginning."""

    seed: bytes
    size: int
    digest: str

    @classmethod
    def make(cls, size: int) -> "Content":
        seed = os.urandom(32)
        found = hashlib.sha256()
        for piece in _pieces(seed, size):
            found.update(piece)
        return cls(seed, size, f"sha256:{found.hexdigest()}")

    def pieces(self) -> Iterator[bytes]:
        return _pieces(self.seed, self.size)


def _pieces(seed: bytes, size: int) -> Iterator[bytes]:
    piece = seed + _BLOCK[len(seed) :]
    for start in range(0, size, MIB):
        yield piece[: size - start]


class Client:
    """Each request goes to the next of the ports, as a balancer would send it. Not for several threads at once.

    The headers are sent with every request.
    """

    def __init__(
        self,
        host: str,
        ports: Sequence[int],
        repository: str = "benchmark/app",
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self._headers = dict(headers or {})
        self._connections = [http.client.HTTPConnection(host, port, timeout=_TIMEOUT) for port in ports]
        self._turn = 0
        self._root = f"/v2/{repository}"

    def push(self, content: Content) -> None:
        """POST, PATCH with all of it in chunks, PUT. Raises WrongAnswer."""
        session = self._send("POST", f"{self._root}/blobs/uploads/", 202)
        headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"}
        session = self._send("PATCH", session, 202, content.pieces(), headers)
        self._send("PUT", _finish(session, content), 201)

    def push_whole(self, content: Content) -> None:
        """POST, PUT with all of it, as containerd does. Raises WrongAnswer."""
        session = self._send("POST", f"{self._root}/blobs/uploads/", 202)
        headers = {"Content-Length": str(content.size), "Content-Type": "application/octet-stream"}
        self._send("PUT", _finish(session, content), 201, content.pieces(), headers)

    def put_manifest(self, reference: str, manifest: bytes) -> None:
        self._send("PUT", f"{self._root}/manifests/{reference}", 201, manifest, {"Content-Type": MANIFEST_TYPE})

    def push_manifest(self, config: Content, tag: str) -> None:
        self.put_manifest(tag, make_manifest(Digest.parse(config.digest), config.size))

    def get_manifest(self, tag: str) -> None:
        self._send("GET", f"{self._root}/manifests/{tag}", 200, headers={"Accept": MANIFEST_TYPE})

    def pull(self, content: Content) -> bool:
        """Whether it was redirected. Raises WrongAnswer."""
        connection = self._next()
        connection.request("GET", f"{self._root}/blobs/{content.digest}", headers=self._headers)
        response = connection.getresponse()
        if response.status != http.HTTPStatus.TEMPORARY_REDIRECT:
            _read_all(response, content.size)
            return False
        response.read()
        target = urlsplit(response.headers["Location"])
        store = http.client.HTTPConnection(target.hostname or "", target.port, timeout=_TIMEOUT)
        store.request("GET", f"{target.path}?{target.query}")
        _read_all(store.getresponse(), content.size)
        store.close()
        return True

    def close(self) -> None:
        for connection in self._connections:
            connection.close()

    def _next(self) -> http.client.HTTPConnection:
        self._turn = (self._turn + 1) % len(self._connections)
        return self._connections[self._turn]

    def _send(
        self,
        method: str,
        path: str,
        status: int,
        body: bytes | Iterator[bytes] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """The path of the answer's Location."""
        connection = self._next()
        connection.request(method, path, body, {**self._headers, **(headers or {})}, encode_chunked=True)
        response = connection.getresponse()
        answer = response.read()
        if response.status != status:
            raise WrongAnswer(f"{method} {path}: {response.status} {answer[:500]!r}")
        location = urlsplit(response.headers.get("Location", ""))
        return f"{location.path}?{location.query}" if location.query else location.path


def _finish(session: str, content: Content) -> str:
    return f"{session}{'&' if '?' in session else '?'}digest={content.digest}"


def _read_all(response: http.client.HTTPResponse, size: int) -> None:
    buffer, received = memoryview(bytearray(MIB)), 0
    while count := response.readinto(buffer):
        received += count
    if response.status != http.HTTPStatus.OK or received != size:
        raise WrongAnswer(f"{response.status}, {received} of {size} bytes")

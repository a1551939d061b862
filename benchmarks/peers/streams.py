"""The load of large blobs and of HEAD, in a process of its own: `python -m benchmarks.peers.streams`.

It reads a job as JSON from its standard input, and prints what was done and in how many seconds. Answers are looked at:
the status and the length of each, and the bytes of the first one of a run that `verify` does.
"""

import hashlib
import http.client
import json
import select
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.blob_client import Client, Content
from benchmarks.load import Call, WrongAnswer

_HOST = "127.0.0.1"
_BUFFER = 1 << 20
_END = b"\r\n\r\n"
_TIMEOUT = 600  # seconds


@dataclass(frozen=True)
class Pull:
    """GET of one path again and again for some seconds, and one whole answer at least; it counts bytes."""

    port: int
    path: str
    headers: Mapping[str, str]
    size: int
    connections: int
    seconds: float

    def run(self) -> tuple[float, float]:
        request = Call(self.port, self.path, headers=self.headers).encode()
        with ExitStack() as opened:
            poller = opened.enter_context(select.epoll())
            began, received = time.monotonic(), 0
            streams: dict[int, _Stream] = {}
            for _ in range(self.connections):
                connection = opened.enter_context(_connect(self.port))
                streams[connection.fileno()] = _Stream(connection, request, self.size)
                poller.register(connection, select.EPOLLIN)
            while time.monotonic() < began + self.seconds or received < self.size:
                ready = poller.poll(_TIMEOUT)
                if not ready:
                    raise WrongAnswer(f"nothing came for {_TIMEOUT} s")
                received += sum(streams[number].receive() for number, _ in ready)
            return received, time.monotonic() - began


@dataclass(frozen=True)
class Volley:
    """A request without a body in the answer, on all connections at once and then again; it counts answers."""

    port: int
    path: str
    headers: Mapping[str, str]
    method: str
    connections: int
    seconds: float

    def run(self) -> tuple[float, float]:
        request = Call(self.port, self.path, self.method, self.headers).encode()
        with ExitStack() as opened:
            sockets = [opened.enter_context(_connect(self.port)) for _ in range(self.connections)]
            answered, began = 0, time.monotonic()
            while (took := time.monotonic() - began) < self.seconds:
                for each in sockets:
                    each.sendall(request)
                for each in sockets:
                    _receive_head(each)
                answered += len(sockets)
            return answered, took


@dataclass(frozen=True)
class Push:
    """Blobs that nobody has pushed yet, so many on each connection, which are pushed at once; it counts bytes.

    Each is sent in one PUT, or `chunked` in a PATCH of unknown length, as docker does.
    """

    port: int
    repository: str
    headers: Mapping[str, str]
    size: int
    count: int
    connections: int
    chunked: bool = False

    def run(self) -> tuple[float, float]:
        number = self.count * self.connections
        with ThreadPoolExecutor(self.connections) as pool:
            contents = list(pool.map(Content.make, [self.size] * number))
            began = time.monotonic()
            list(pool.map(self._push, [contents[first :: self.connections] for first in range(self.connections)]))
            return number * self.size, time.monotonic() - began

    def _push(self, contents: list[Content]) -> None:
        client = Client(_HOST, [self.port], self.repository, self.headers)
        for content in contents:
            if self.chunked:
                client.push(content)
            else:
                client.push_whole(content)
        client.close()


Job = Pull | Volley | Push
_JOBS: Mapping[str, type[Job]] = {"Pull": Pull, "Volley": Volley, "Push": Push}


def do(job: Job) -> tuple[float, float]:
    """Let another process do it; returns the amount and the seconds. Raises WrongAnswer."""
    command = [sys.executable, "-m", "benchmarks.peers.streams"]
    written = json.dumps({"job": type(job).__name__, **asdict(job)})
    done = subprocess.run(command, input=written, capture_output=True, text=True, check=False)
    if done.returncode:
        raise WrongAnswer(done.stderr[-2000:])
    amount, seconds = json.loads(done.stdout)
    return amount, seconds


def verify(call: Call, digest: str) -> None:
    """Compare the bytes of one answer with their digest. Raises WrongAnswer."""
    connection = http.client.HTTPConnection(_HOST, call.port, timeout=_TIMEOUT)
    connection.request("GET", call.path, headers=dict(call.headers))
    response = connection.getresponse()
    found, buffer = hashlib.sha256(), memoryview(bytearray(_BUFFER))
    while count := response.readinto(buffer):
        found.update(buffer[:count])
    connection.close()
    if response.status != call.status or f"sha256:{found.hexdigest()}" != digest:
        raise WrongAnswer(f"{call.path}: {response.status}, sha256:{found.hexdigest()}")


class _Stream:
    """One connection that asks again as soon as an answer is whole."""

    _buffer = memoryview(bytearray(_BUFFER))  # of all: nobody looks at the bytes

    def __init__(self, connection: socket.socket, request: bytes, size: int) -> None:
        self._socket = connection
        self._request = request
        self._size = size
        self._left = 0
        self._head = b""
        self._socket.sendall(request)

    def receive(self) -> int:
        """How many bytes of a body came."""
        count = self._socket.recv_into(self._buffer)
        if not count:
            raise WrongAnswer("the connection was closed")
        if not self._left:
            count = self._begin(bytes(self._buffer[:count]))
        self._left -= count
        if self._left < 0:
            raise WrongAnswer(f"{-self._left} bytes too many")
        if not self._left and not self._head:
            self._socket.sendall(self._request)
        return count

    def _begin(self, received: bytes) -> int:
        self._head += received
        head, end, body = self._head.partition(_END)
        if end:
            self._left = _length(head)
            if self._left != self._size:
                raise WrongAnswer(f"{self._left} bytes of {self._size}")
            self._head = b""
        return len(body)


def _connect(port: int) -> socket.socket:
    return socket.create_connection((_HOST, port), _TIMEOUT)


def _receive_head(connection: socket.socket) -> None:
    received = connection.recv(_BUFFER)
    while not received.endswith(_END):
        piece = connection.recv(_BUFFER)
        if not piece:
            break
        received += piece
    if not received.endswith(_END) or not received.startswith(b"HTTP/1.1 200 "):
        raise WrongAnswer(repr(received[:500]))


def _length(head: bytes) -> int:
    """Of the body. Raises WrongAnswer."""
    status, *fields = head.split(b"\r\n")
    named = dict(field.lower().split(b":", 1) for field in fields)
    if not status.startswith(b"HTTP/1.1 200") or b"content-length" not in named:
        raise WrongAnswer(repr(head[:500]))
    return int(named[b"content-length"])


def main() -> None:
    given: dict[str, Any] = json.load(sys.stdin)
    job = _JOBS[given.pop("job")](**given)
    print(json.dumps(job.run()))


if __name__ == "__main__":
    main()

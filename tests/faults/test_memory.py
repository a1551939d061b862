"""Large blobs stream through the server: its memory does not grow with them."""

import hashlib
import http.client
import shutil
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kill import running
from tests.kill.client import Client
from tests.kill.content import make_content
from tests.kill.running import RunningServer

BLOCK = make_content("block", 1 << 20)
BLOCKS = 1024  # of 1 MiB: a blob of 1 GiB
AT_ONCE = 8
ALLOWED = 64 << 20  # bytes above rest


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    storage = tmp_path / "registry"
    started = running.start(storage, tmp_path / "server.log")
    yield started
    started.stop()
    shutil.rmtree(storage)  # many GiB, which pytest would keep


@pytest.fixture(scope="module")
def digests() -> list[str]:
    """The digests of the blobs: all blocks are the same but the last, which carries the blob's number."""
    first = hashlib.sha256()
    for _ in range(BLOCKS - 1):
        first.update(BLOCK)
    whole = [first.copy() for _ in range(AT_ONCE)]
    for number, digest in enumerate(whole):
        digest.update(_last_block(number))
    return [f"sha256:{digest.hexdigest()}" for digest in whole]


@pytest.mark.timeout(240)
def test_large_blobs_stream(server: RunningServer, digests: list[str]) -> None:
    """A blob of 1 GiB goes up and down, then 8 at once do, with at most 64 MiB more memory than at rest."""
    _push(server.port, "load/rest", make_content("small", 1 << 20))
    rest = _memory(server, "VmRSS")
    Path(f"/proc/{server.program.pid}/clear_refs").write_text("5")  # begins VmHWM, the peak, anew
    _push_large(server.port, 0, digests[0])
    _pull_large(server.port, 0, digests[0])
    alone = _memory(server, "VmHWM") - rest
    with ThreadPoolExecutor(AT_ONCE) as threads:
        list(threads.map(_push_large, [server.port] * AT_ONCE, range(AT_ONCE), digests))
        pushed = _memory(server, "VmHWM") - rest
        list(threads.map(_pull_large, [server.port] * AT_ONCE, range(AT_ONCE), digests))
    together = _memory(server, "VmHWM") - rest
    print(f"rest {rest >> 20} MiB; above it {alone >> 20} alone, {pushed >> 20} up, {together >> 20} up and down")
    assert max(alone, together) <= ALLOWED


def _last_block(number: int) -> bytes:
    return number.to_bytes(8, "big") + BLOCK[8:]


def _push(port: int, repository: str, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    with Client(port) as client:
        assert client.call("POST", f"/v2/{repository}/blobs/uploads/?digest=sha256:{digest}", content).status == 201
        assert client.call("GET", f"/v2/{repository}/blobs/sha256:{digest}").content == content


def _push_large(port: int, number: int, digest: str) -> None:
    with Client(port) as client:
        location = client.call("POST", f"/v2/load/{number}/blobs/uploads/").headers["location"]
    mark = "&" if "?" in location else "?"
    head = f"PUT {location}{mark}digest={digest} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {BLOCKS << 20}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", port), timeout=120) as connection:
        connection.sendall(head.encode())
        for _ in range(BLOCKS - 1):
            connection.sendall(BLOCK)
        connection.sendall(_last_block(number))
        assert connection.recv(12) == b"HTTP/1.1 201"


def _pull_large(port: int, number: int, digest: str) -> None:
    size, buffer = 0, bytearray(1 << 20)
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET", f"/v2/load/{number}/blobs/{digest}")
    response = connection.getresponse()
    assert response.status == 200
    while read := response.readinto(buffer):
        size += read
    assert size == BLOCKS << 20
    connection.close()


def _memory(server: RunningServer, field: str) -> int:
    """VmRSS (now) or VmHWM (the peak) in bytes."""
    lines = Path(f"/proc/{server.program.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:")) << 10

"""Servers that run: started on a loopback port of their own, each on its own folder, measured, and stopped."""

import http.client
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.figures import Run
from benchmarks.peers.meters import processor_seconds
from benchmarks.peers.programs import Program
from benchmarks.serving import free_port

HOST = "127.0.0.1"
_START_SECONDS = 120  # zot reads a repository of 100,000 tags first
_POLL_SECONDS = 0.002
_STOP_SECONDS = 60


@dataclass(frozen=True)
class Peer:
    """A server with what it was started from; `started` is how many seconds passed until its first answer."""

    program: Program
    folder: Path
    port: int
    pid: int
    started: float

    @property
    def name(self) -> str:
        return self.program.name

    def authorize(self, repository: str) -> dict[str, str]:
        return self.program.authorize(self.port, repository)

    def measure(self, work: Callable[[], tuple[float, float]]) -> Run:
        """Meter the server while the work, which returns its amount and its seconds, is done."""
        before = processor_seconds(self.pid)
        amount, seconds = work()
        return Run(amount, seconds, processor_seconds(self.pid) - before)


@contextmanager
def running(program: Program, folder: Path) -> Iterator[Peer]:
    """Serve what is in a folder that was made for the program."""
    port = free_port()
    command = program.command(folder, port)
    path = folder.with_suffix(".log")
    with path.open("ab") as log:
        began = time.monotonic()
        server = subprocess.Popen(command.arguments, env=command.environment, cwd=folder, stdout=log, stderr=log)
    try:
        while not _answers(port):
            if server.poll() is not None or time.monotonic() > began + _START_SECONDS:
                raise SystemExit(f"{program.name} did not start:\n{path.read_text(errors='replace')[-3000:]}")
            time.sleep(_POLL_SECONDS)
        yield Peer(program, folder, port, server.pid, time.monotonic() - began)
    finally:
        _stop(server)


def _answers(port: int) -> bool:
    """Whether a ping is answered, be it by asking for a login."""
    connection = http.client.HTTPConnection(HOST, port, timeout=30)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status in {http.HTTPStatus.OK, http.HTTPStatus.UNAUTHORIZED}
    except OSError:
        return False
    finally:
        connection.close()


def _stop(server: subprocess.Popen[bytes]) -> None:
    server.terminate()
    try:
        server.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()

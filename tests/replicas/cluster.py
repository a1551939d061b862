"""Several servers as programs of their own, on one PostgreSQL database and one store, and clients that wander."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from tests.kill.client import Answer, Client
from tests.kill.running import RunningServer
from tests.places import Place, place_under_test

SERVER = (sys.executable, "-m", "tests.replicas.server")
SECONDS_TO_END = "10"  # for requests that are under way: more than any of them needs


def shared_place() -> Place:
    """Where several servers can be: the store under test, on PostgreSQL."""
    return Place("postgresql", place_under_test().store)


class Cluster:
    """Servers of the registry in `folder`; `settings` are ENTREPOT_* of all of them."""

    def __init__(self, folder: Path, **settings: str) -> None:
        self.folder = folder
        self.environment = shared_place().environment(folder / "registry") | {
            "ENTREPOT_DRAIN_SECONDS": SECONDS_TO_END,
            **settings,
        }
        self.servers: list[RunningServer] = []

    def start(self, count: int = 1, **settings: str) -> list[RunningServer]:
        """Start so many more, and wait until they are ready. `settings` are of these alone."""
        begun = [self._begin(**settings) for _ in range(count)]
        self.servers += begun
        for server in begun:
            assert server.wait_ready(), server.log_end()
        return begun

    def restart(self, server: RunningServer, command: Sequence[str] = SERVER) -> RunningServer:
        """Start one again that has ended, where it was, perhaps in another version."""
        again = self._begin(command, ENTREPOT_PORT=str(server.port))
        again.port = server.port
        self.servers[self.servers.index(server)] = again
        assert again.wait_ready(), again.log_end()
        return again

    def begin(self, command: Sequence[str] = SERVER, **settings: str) -> RunningServer:
        """One that the test waits for itself: it may refuse to start."""
        server = self._begin(command, **settings)
        self.servers.append(server)
        return server

    @property
    def ports(self) -> list[int]:
        return [server.port for server in self.servers]

    def end(self) -> None:
        for server in self.servers:
            if server.program.poll() is None:
                server.kill()

    def _begin(self, command: Sequence[str] = SERVER, **settings: str) -> RunningServer:
        log = self.folder / f"server-{len(list(self.folder.glob('server-*')))}.log"
        return RunningServer(command, self.folder / "registry", log, **self.environment | settings)


@contextlib.contextmanager
def running_cluster(folder: Path, count: int, **settings: str) -> Iterator[Cluster]:
    """So many servers, killed at the end of the block."""
    cluster = Cluster(folder, **settings)
    try:
        cluster.start(count)
        yield cluster
    finally:
        cluster.end()


def call(
    port: int,
    method: str,
    path: str,
    content: bytes | Iterable[bytes] = b"",
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """One request on a connection of its own."""
    with Client(port) as client:
        return client.call(method, path, content, headers)


class Wanderer(Client):
    """Asks on another connection each time, so that a balancer sends it to another server."""

    def call(
        self,
        method: str,
        path: str,
        content: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        try:
            return super().call(method, path, content, headers)
        finally:
            self._connection.close()

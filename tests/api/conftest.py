"""Servers on loopback sockets, each with a fresh directory."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import structlog

from tests.api.content import Repository
from tests.api.running import Gate, RunningServer, running
from tests.api.watching import WatchedServer

Serve = Callable[..., RunningServer]


@pytest.fixture(scope="session", autouse=True)
def _plain_logs() -> Iterator[None]:
    """Lines are made, as in production, and shown to nobody: they would come between the tests' names."""
    before = structlog.get_config()
    structlog.configure(
        processors=[structlog.processors.JSONRenderer()], logger_factory=structlog.ReturnLoggerFactory()
    )
    yield
    structlog.configure(**before)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """With default settings, shared by all tests: each has its own repositories and its own content."""
    with running(tmp_path_factory.mktemp("shared")) as server:
        yield server


@pytest.fixture(scope="session")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedServer]:
    """Shared by the tests of what is refused: the `server` of their modules is this one."""
    server = WatchedServer(tmp_path_factory.mktemp("watched"))
    yield server
    server.stop()


@pytest.fixture
def repository(server: RunningServer) -> Repository:
    """A name on the shared server under which nothing was pushed yet."""
    return Repository(server)


@pytest.fixture(scope="module")
def serve(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serve]:
    """Starts servers with other settings, one for each different set of them, and stops them after the module."""
    servers: dict[str, RunningServer] = {}

    def start(**settings: Any) -> RunningServer:
        key = repr(sorted(settings.items()))
        if key not in servers:
            servers[key] = RunningServer(tmp_path_factory.mktemp("server"), **settings)
        return servers[key]

    yield start
    for server in servers.values():
        server.begin_to_stop()
    for server in servers.values():
        server.stop()


@pytest.fixture
def gate() -> Gate:
    return Gate()


@pytest.fixture
def gated(tmp_path_factory: pytest.TempPathFactory, gate: Gate) -> Iterator[Repository]:
    """A repository on a server of its own, whose kill points are the barriers of `gate`."""
    with running(tmp_path_factory.mktemp("gated"), reach=gate) as server:
        yield Repository(server)

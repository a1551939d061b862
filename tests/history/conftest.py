"""A server, with the command line beside it; and registries whose clock the test moves."""

import os
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from registry.app import Registry
from tests.api.conftest import _plain_logs, gate, gated  # noqa: F401 - fixtures
from tests.api.content import Repository
from tests.api.running import RunningServer, running
from tests.cli.running import Outcome, entrepot
from tests.history.moving import MovedClock, Past
from tests.places import environment, make_config

Command = Callable[..., Outcome]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """With default settings, shared by all tests: each has its own repositories and its own content."""
    with running(tmp_path_factory.mktemp("history")) as server:
        yield server


@pytest.fixture
def repository(server: RunningServer) -> Repository:
    """A name on the shared server under which nothing was pushed yet."""
    return Repository(server)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Runs `entrepot` on the data of a repository's server, while that runs."""

    def run(repository: Repository, *arguments: str) -> Outcome:
        for name in [name for name in os.environ if name.startswith("ENTREPOT_")]:
            monkeypatch.delenv(name)
        for name, value in environment(repository.server.folder).items():
            monkeypatch.setenv(name, value)
        return entrepot(*arguments)

    return run


@pytest.fixture
async def past(tmp_path: Path) -> AsyncIterator[Past]:
    """A client of a fresh registry with default settings."""
    clock = MovedClock()
    registry = Registry(make_config(tmp_path), clock=clock)
    await registry.start()
    yield Past(registry, clock)
    registry.close()


@pytest.fixture
async def sparse(tmp_path: Path) -> AsyncIterator[Past]:
    """As `past`, where anything may be absent from manifests."""
    clock = MovedClock()
    registry = Registry(make_config(tmp_path, sparse_manifests="accept"), clock=clock)
    await registry.start()
    yield Past(registry, clock)
    registry.close()

"""Docker Engine with the image built in it, and one server in a hardened container."""

import json
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

import pytest

from tests.clients.engines import DockerEngine
from tests.clients.registry import free_port
from tests.clients.report import ScenarioReport
from tests.clients.suites import Suite

from .container import IMAGE, Container
from .context import base_archive, make_context


class Start(Protocol):
    def __call__(self, *options: str) -> Container: ...


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    # The engine's sockets live in it, and their paths may have 108 bytes only.
    folder = Path(tempfile.gettempdir()) / f"entrepot-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def docker(workspace: Path) -> Iterator[DockerEngine]:
    """Debian 12's Docker Engine, building with BuildKit as later ones do."""
    settings = workspace / "daemon.json"
    settings.write_text(json.dumps({"features": {"buildkit": True}}))
    engine = DockerEngine("docker", Suite(Path("/"), workspace / "debian12"), f"--config-file={settings}")
    try:
        engine.wait_until_ready()
        yield engine
    finally:
        engine.stop()


@pytest.fixture(scope="session", autouse=True)
def _image(docker: DockerEngine, workspace: Path) -> None:
    """The image, built without any network."""
    docker.run("import", base_archive(), "entrepot/base:test")
    context = make_context(workspace / "context")
    options = ("--build-arg=BASE=entrepot/base:test", "--build-arg=REVISION=tested", "--network=none")
    docker.run("build", *options, f"--tag={IMAGE}", context)


@contextmanager
def _starting(docker: DockerEngine) -> Iterator[Start]:
    started: list[Container] = []

    def start(*options: str) -> Container:
        container = Container(docker, f"server-{uuid.uuid4().hex[:8]}", *options)
        started.append(container)
        return container

    try:
        yield start
    finally:
        for container in started:
            container.remove()


@pytest.fixture
def start(docker: DockerEngine) -> Iterator[Start]:
    """Starts containers that are gone when the test ends."""
    with _starting(docker) as start:
        yield start


@pytest.fixture(scope="module")
def address() -> str:
    return free_address()


@pytest.fixture(scope="module")
def server(docker: DockerEngine, address: str) -> Iterator[Container]:
    """One server that everyone on this machine may push to."""
    with _starting(docker) as start:
        container = start(*on_this_machine(address))
        container.wait_until_healthy()
        yield container


def free_address() -> str:
    return f"127.0.0.1:{free_port()}"


def on_this_machine(address: str) -> tuple[str, ...]:
    host, port = address.split(":")
    settings = {"HOST": host, "PORT": port, "ANONYMOUS": "push"}
    return ("--network=host", *(f"--env=ENTREPOT_{name}={value}" for name, value in settings.items()))


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ScenarioReport(config))

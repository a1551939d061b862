"""Fixtures of the client scenarios, and their report: one line each with its seconds, one line for all."""

import shutil
import tempfile
import uuid
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from .engines import Containerd, DockerEngine
from .images import MIB, Image, layer, random_layer
from .registry import Registry
from .report import ScenarioReport
from .suites import Suite, tool_path

Engine = TypeVar("Engine", DockerEngine, Containerd)


@pytest.fixture(scope="session")
def workspace() -> Iterator[Path]:
    # Sockets live in it, and their paths may have 108 bytes only; podman 4.3 reads a path as an image name, which may
    # not hold every character. Temporary folders as pytest or tempfile make them break one of these rules.
    folder = Path(tempfile.gettempdir()) / f"entrepot-{uuid.uuid4().hex[:8]}"
    folder.mkdir(mode=0o700)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def debian12(workspace: Path) -> Suite:
    return Suite(Path("/"), workspace / "debian12")


@pytest.fixture(scope="session")
def newer(workspace: Path) -> Suite:
    return Suite(tool_path("newer"), workspace / "newer")


@pytest.fixture(scope="module")
def registry(request: pytest.FixtureRequest, workspace: Path) -> Iterator[Registry]:
    """A fresh registry for the clients of one module; no request of theirs may end in a 5xx or an error in its log."""
    running = Registry(workspace / request.module.__name__.rpartition(".")[2])
    try:
        running.wait_until_ready()
        yield running
        complaints = running.complaints()
        assert not complaints, "\n".join(complaints)
    finally:
        running.stop()


@pytest.fixture(scope="module")
def docker20(debian12: Suite) -> Iterator[DockerEngine]:
    """Docker Engine 20.10 with its own image store."""
    yield from _running(DockerEngine("docker20", debian12, "--storage-driver=overlay2"))


@pytest.fixture(scope="module")
def docker28(newer: Suite) -> Iterator[DockerEngine]:
    """Docker Engine 28 with containerd's image store."""
    yield from _running(DockerEngine("docker28", newer, "--feature=containerd-snapshotter=true"))


@pytest.fixture(scope="module")
def containerd16(debian12: Suite) -> Iterator[Containerd]:
    yield from _running(Containerd("containerd16", debian12))


@pytest.fixture(scope="module")
def containerd21(newer: Suite) -> Iterator[Containerd]:
    yield from _running(Containerd("containerd21", newer))


def _running(engine: Engine) -> Iterator[Engine]:
    try:
        engine.wait_until_ready()
        yield engine
    finally:
        engine.stop()
        shutil.rmtree(engine.folder)


@pytest.fixture(scope="session")
def small() -> Image:
    return Image((layer({"etc/motd": b"welcome\n", "bin/tool": b"#!tool\n" * 999}), random_layer("lib/one", MIB)))


@pytest.fixture(scope="session")
def sibling(small: Image) -> Image:
    """Shares the layers of `small` and adds one."""
    return Image((*small.layers, layer({"etc/sibling": b"another layer\n"})))


@pytest.fixture(scope="session")
def platforms(small: Image) -> tuple[Image, Image]:
    """One image for two platforms, with a layer in common."""
    other = Image((small.layers[0], random_layer("lib/one", MIB // 2)), architecture="arm64")
    return small, other


@pytest.fixture(scope="session")
def one_layer() -> Image:
    """A layer long enough to be cut in the middle."""
    return Image((random_layer("big/one", 24 * MIB),))


@pytest.fixture(scope="session")
def big() -> Image:
    """More than 200 MB in five layers."""
    return Image(tuple(random_layer(f"big/{size}", size * MIB) for size in (96, 56, 32, 12, 8)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    running = getattr(item, "funcargs", {}).get("registry")
    if report.failed and running and report.when == "call":
        report.sections.append(("the registry's log ended with", running.log_tail()))
    return report


@pytest.hookimpl(trylast=True)
def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(ScenarioReport(config))

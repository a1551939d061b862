"""Real clients before three replicas: every request may reach another one, and one of them dies in between."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from .engines import DockerEngine
from .images import Image, Layout, files_in_archive
from .requestlog import RequestLog
from .suites import Suite
from .topology import Topology


@pytest.fixture(scope="module")
def registry(workspace: Path) -> Iterator[Topology]:
    """No request may end in a 5xx or an error in a log, whichever replica it reaches."""
    running = Topology(workspace / "replicas")
    try:
        running.wait_until_ready()
        yield running
        complaints = running.complaints()
        assert not complaints, "\n".join(complaints)
    finally:
        running.stop()


@pytest.fixture(scope="module", params=["docker20", "docker28"])
def docker(request: pytest.FixtureRequest) -> DockerEngine:
    engine: DockerEngine = request.getfixturevalue(request.param)
    return engine


@pytest.fixture(scope="module")
def layout(newer: Suite, platforms: tuple[Image, Image]) -> Path:
    written = Layout(newer.folder("replicas-layout"))
    written.tag("1", written.add_index(platforms))
    return written.folder


def assert_in_turn(logs: list[RequestLog]) -> None:
    """Each replica has answered."""
    assert all(log.served() for log in logs), [len(log) for log in logs]


def test_docker(registry: Topology, docker: DockerEngine, one_layer: Image) -> None:
    """A push whose requests reach replica after replica is whole, and comes back from the S3 server itself."""
    reference = f"{registry.address}/{docker.name}/app:1"
    docker.run("load", "--input", one_layer.write_archive(docker.folder / "load.tar", reference))
    with registry.recording() as logs:
        docker.run("push", reference)
    assert_in_turn(logs)
    registry.assert_complete(f"{docker.name}/app", "1")
    docker.forget(reference)
    with registry.recording() as logs:
        docker.run("pull", reference)
    redirected = [log.matching("GET", f"/v2/{docker.name}/app/blobs/sha256:.*", 307) for log in logs]
    assert sum(map(len, redirected)) == len(one_layer.layers)  # the configuration is small, and comes at once
    assert files_in_archive(docker.save(reference)) == one_layer.files
    docker.forget(reference)


@pytest.mark.parametrize("generation", ["debian12", "newer"])
def test_skopeo(registry: Topology, request: pytest.FixtureRequest, generation: str, layout: Path) -> None:
    """An index with its platforms is pushed, and copied back with its digest."""
    suite: Suite = request.getfixturevalue(generation)
    target = f"docker://{registry.address}/skopeo/{generation}:1"
    suite.run("skopeo", "copy", "--all", "--dest-tls-verify=false", f"oci:{layout}:1", target)
    registry.assert_complete(f"skopeo/{generation}", "1")
    pulled = suite.folder("pulled")
    suite.run("skopeo", "copy", "--all", "--src-tls-verify=false", target, f"oci:{pulled}:1")


def test_crane(registry: Topology, newer: Suite, layout: Path) -> None:
    """What crane pushes it finds whole, and its tags at once on every replica."""
    reference = f"{registry.address}/crane/app"
    newer.run("crane", "push", layout, f"{reference}:1")
    newer.run("crane", "validate", "--remote", f"{reference}:1")
    for number in range(2, 6):
        newer.run("crane", "tag", f"{reference}:1", str(number))
        assert newer.run("crane", "ls", reference).split() == [str(each) for each in range(1, number + 1)]


def test_a_replica_is_lost(registry: Topology, docker20: DockerEngine, newer: Suite, small: Image) -> None:
    """When one dies, what was pushed before can be pulled, and pushes go on, without an error that a client sees."""
    before, after = (f"{registry.address}/lost/{name}:1" for name in ("before", "after"))
    docker20.run("load", "--input", small.write_archive(docker20.folder / "load.tar", before))
    docker20.run("push", before)
    registry.lose()
    docker20.run("tag", before, after)
    docker20.run("push", after)
    docker20.forget(before)
    docker20.run("pull", before)
    assert files_in_archive(docker20.save(before)) == small.files
    for name in ("before", "after"):
        registry.assert_complete(f"lost/{name}", "1")
        newer.run("crane", "validate", "--remote", f"{registry.address}/lost/{name}:1")

"""The wall time of a real client: docker push and pull of one image, by a Docker Engine of its own (needs root)."""

import os
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.peers.contents import REPOSITORY
from benchmarks.peers.figures import SECONDS, Gauge, Measured, turn
from benchmarks.peers.fresh import serving_alone
from benchmarks.peers.parts import Bench
from benchmarks.peers.programs import PASSWORD, USER, NotThere
from benchmarks.peers.servers import HOST, Peer
from tests.clients.engines import DockerEngine
from tests.clients.images import Image, random_layer
from tests.clients.suites import Suite

MIB = 1 << 20
_LOCAL = "benchmark:local"
_ACTS = ("docker push", "docker push, again", "docker pull", "docker pull, again")


def measure_clients(bench: Bench) -> Iterator[Measured]:
    """Each registry is empty before its turn, the engine before its pull."""
    registries = {program.name: program for program in bench.programs if program.is_registry}
    size = sum(bench.scale.layers)
    seconds: dict[str, dict[str, list[float]]] = {act: {name: [] for name in registries} for act in _ACTS}
    with _engine() as docker:
        _load(docker, bench.scale.layers)
        for number in range(bench.rounds):
            for name in turn(list(registries), number):
                with serving_alone(bench, registries[name]) as peer:
                    for act, took in zip(_ACTS, _carry(docker, peer), strict=True):
                        seconds[act][name].append(took)
    for act in _ACTS:
        yield Gauge(f"{act}, {size} MiB", SECONDS, seconds[act])


@contextmanager
def _engine() -> Iterator[DockerEngine]:
    if os.geteuid() != 0 or not shutil.which("dockerd"):
        raise NotThere("docker push and pull need root, and dockerd of .ci/install packages")
    # Not in the benchmark's folder, which is deep: containerd wants paths of its sockets below 105 bytes.
    workspace = Path(tempfile.mkdtemp(prefix="entrepot-"))
    try:
        docker = DockerEngine("docker20", Suite(Path("/"), workspace / "debian12"), "--storage-driver=overlay2")
        try:
            docker.wait_until_ready()
            yield docker
        finally:
            docker.stop()
    finally:
        shutil.rmtree(workspace)


def _load(docker: DockerEngine, layers: Sequence[int]) -> None:
    image = Image(tuple(random_layer(f"layer/{number}", size * MIB) for number, size in enumerate(layers)))
    archive = image.write_archive(docker.folder / "load.tar", _LOCAL)
    docker.run("load", "--input", archive)
    archive.unlink()


def _carry(docker: DockerEngine, peer: Peer) -> Iterator[float]:
    """The seconds of each act; the image is as it was afterwards."""
    address = f"{HOST}:{peer.port}"
    reference = f"{address}/{REPOSITORY}:1"
    if peer.authorize(REPOSITORY):
        docker.run("login", "--username", USER, "--password", PASSWORD, address)
    docker.run("tag", _LOCAL, reference)
    yield _time(docker, "push", reference)
    yield _time(docker, "push", reference)
    docker.forget(_LOCAL, reference)
    yield _time(docker, "pull", reference)
    yield _time(docker, "pull", reference)
    docker.run("tag", reference, _LOCAL)
    docker.forget(reference)


def _time(docker: DockerEngine, *arguments: str) -> float:
    began = time.monotonic()
    docker.run(*arguments)
    return time.monotonic() - began

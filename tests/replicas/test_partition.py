"""Servers that cannot reach what they share: refused at their start, or unavailable until they can again."""

import os
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.kill.content import digest_of, make_content
from tests.kill.running import COMMAND, RunningServer
from tests.places import only_on
from tests.replicas.cluster import Cluster, call, running_cluster
from tests.servers.postgres import fresh_database
from tests.servers.proxy import TcpProxy
from tests.waiting import wait_until

OCTETS = {"Content-Type": "application/octet-stream"}


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    with running_cluster(tmp_path, 0) as cluster:
        yield cluster


def start_behind(cluster: Cluster, proxy: TcpProxy) -> RunningServer:
    """A server that reaches its database through the proxy only."""
    base, _, rest = cluster.environment["ENTREPOT_DATABASE"].rpartition(":")
    return cluster.start(ENTREPOT_DATABASE=f"{base}:{proxy.port}/{rest.rpartition('/')[2]}")[0]


def port_of(cluster: Cluster) -> int:
    return int(cluster.environment["ENTREPOT_DATABASE"].rpartition(":")[2].partition("/")[0])


def push(port: int, content: bytes) -> int:
    return call(port, "POST", f"/v2/acme/app/blobs/uploads/?digest={digest_of(content)}", content, OCTETS).status


@pytest.mark.fault("F48")
def test_a_server_without_its_database_says_so(cluster: Cluster) -> None:
    """It allows nothing by what it remembers, answers 503 with Retry-After, and serves again by itself."""
    content = make_content("seen", 1000)
    path = f"/v2/acme/app/blobs/{digest_of(content)}"
    with TcpProxy(port_of(cluster)) as proxy:
        cut_off, other = start_behind(cluster, proxy), cluster.start()[0]
        assert push(cut_off.port, content) == 201
        proxy.refuse()
        for method, where in (("GET", path), ("GET", "/v2/"), ("GET", "/readyz"), ("POST", "/v2/a/blobs/uploads/")):
            answer = call(cut_off.port, method, where)
            assert (answer.status, answer.headers.get("retry-after")) == (503, "5"), where
        assert call(cut_off.port, "GET", "/healthz").status == 200
        assert call(other.port, "GET", path).content == content
        proxy.heal()
        wait_until(lambda: call(cut_off.port, "GET", "/readyz").status == 200, "it is ready again")
        assert call(cut_off.port, "GET", path).content == content
        assert push(cut_off.port, make_content("later", 1000)) == 201


@pytest.mark.fault("F46")
@only_on("files", "a bucket is the same from everywhere")
def test_servers_with_blobs_of_their_own_refuse_to_start(cluster: Cluster, tmp_path: Path) -> None:
    """The second one, with exit status 1 and words about it; the first one goes on."""
    first = cluster.start()[0]
    storage = f"file://{tmp_path / 'elsewhere'}"
    environment = cluster.environment | {"ENTREPOT_STORAGE": storage}
    second = RunningServer([str(COMMAND), "serve"], tmp_path / "registry", tmp_path / "second.log", **environment)
    assert second.program.wait(60) == 1
    assert "is not the directory of the other servers of this database" in second.log_end()
    assert f"127.0.0.1:{first.port}" in second.log_end()
    assert "Traceback" not in second.log_end()
    assert call(first.port, "GET", "/readyz").status == 200
    third = cluster.start()[0]
    assert call(third.port, "GET", "/readyz").status == 200


@pytest.mark.fault("F49")
def test_several_that_begin_at_once_make_one_registry(tmp_path: Path) -> None:
    """On a database without tables: one migrates, the others wait for it and find it done."""
    with running_cluster(tmp_path, 0, ENTREPOT_DATABASE=fresh_database(is_migrated=False)) as cluster:
        cluster.start(3)
        content = make_content("shared", 1000)
        assert push(cluster.ports[0], content) == 201
        assert [call(port, "GET", f"/v2/acme/app/blobs/{digest_of(content)}").status for port in cluster.ports] == [
            200
        ] * 3


def test_two_servers_on_one_embedded_database_are_refused(tmp_path: Path) -> None:
    """Each would believe that it alone appends to the uploads."""
    settings = {
        "ENTREPOT_DATABASE": f"sqlite:///{tmp_path}/entrepot.db",
        "ENTREPOT_STORAGE": f"file://{tmp_path}/blobs",
    }
    first = RunningServer([str(COMMAND), "serve"], tmp_path, tmp_path / "first.log", **settings)
    try:
        assert first.wait_ready(), first.log_end()
        second = RunningServer([str(COMMAND), "serve"], tmp_path, tmp_path / "second.log", **settings)
        assert second.program.wait(60) == 1
        assert "another server serves" in second.log_end()
    finally:
        first.stop()


@pytest.mark.fault("F49")
def test_rounds_of_two_commands_at_once_do_what_one_would(cluster: Cluster) -> None:
    """Two collectors and two lifecycle runs beside two servers: each step is a transaction of its own."""
    cluster.start(2)
    contents = [make_content(f"garbage {number}", 100) for number in range(30)]
    assert {push(cluster.ports[number % 2], content) for number, content in enumerate(contents)} == {201}
    environment = os.environ | cluster.environment | {"ENTREPOT_UNDELETE_DAYS": "0"}
    commands = [["garbage", "collect", "--json"], ["lifecycle", "run"]] * 2

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(COMMAND), *command], env=environment, capture_output=True, text=True, check=False, timeout=100
        )

    with ThreadPoolExecutor(len(commands)) as threads:
        done = list(threads.map(run, commands))
    assert [each.returncode for each in done] == [0] * len(done), done

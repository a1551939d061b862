"""Servers of two versions on one registry: a roll-out under load, one that is interrupted, and one that cannot be."""

import json
import os
import subprocess
import uuid
from collections.abc import Sequence
from pathlib import Path

import psycopg
import pytest

from tests.kill.client import Client
from tests.kill.content import digest_of, make_content, make_image
from tests.kill.history import History
from tests.kill.pusher import Pusher
from tests.kill.running import COMMAND, RunningServer
from tests.kill.verification import find_faults
from tests.replicas.cluster import SERVER, Cluster, call, running_cluster
from tests.replicas.later import ADDITIVE, BREAKING, VERSION, Later, make_later
from tests.replicas.rolling import pushing

pytestmark = pytest.mark.timeout(300)  # seconds: ten times what the longest one takes

OCTETS = {"Content-Type": "application/octet-stream"}
NAME = "acme/app"
OWN = (str(COMMAND),)


def ask(cluster: Cluster, query: str) -> list[tuple[object, ...]]:
    with psycopg.connect(cluster.environment["ENTREPOT_DATABASE"]) as connection:
        return connection.execute(query.encode()).fetchall()


def list_versions(cluster: Cluster) -> list[object]:
    """Of the servers that live, in the order in which they started."""
    return [row[0] for row in ask(cluster, "SELECT version FROM replica ORDER BY started_at")]


def find_schema(cluster: Cluster) -> object:
    return ask(cluster, "SELECT max(number) FROM migration")[0][0]


def run(
    cluster: Cluster, command: tuple[str, ...], *arguments: str, **settings: str
) -> subprocess.CompletedProcess[str]:
    """A command of a version, beside the servers."""
    return subprocess.run(
        [*command, *arguments],
        env=os.environ | cluster.environment | settings,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def embedded(folder: Path) -> dict[str, str]:
    return {
        "ENTREPOT_DATA": str(folder),
        "ENTREPOT_DATABASE": f"sqlite:///{folder}/entrepot.db",
        "ENTREPOT_STORAGE": f"file://{folder}/blobs",
    }


def push_tag(port: int, tag: str) -> int:
    config = make_content("config", 100)
    assert call(port, "POST", f"/v2/{NAME}/blobs/uploads/?digest={digest_of(config)}", config, OCTETS).status == 201
    image = make_image(config, [], note=tag)
    headers = {"Content-Type": image.media_type}
    return call(port, "PUT", f"/v2/{NAME}/manifests/{tag}", image.content, headers).status


def push_noted(port: int, history: History, tag: str) -> None:
    """An image into a repository of its own, which the history knows."""
    config = make_content(tag, 100)
    with Client(port) as client:
        pusher = Pusher(client, history, f"noted/{tag}")
        pusher.push_with_post(config)
        pusher.put(make_image(config, []), tag)


@pytest.fixture
def later(tmp_path: Path) -> Later:
    return make_later(tmp_path / "later", ADDITIVE)


@pytest.fixture
def breaking(tmp_path: Path) -> Later:
    return make_later(tmp_path / "breaking", BREAKING)


def refuse_to_start(server: RunningServer) -> str:
    """What it says when it does not start."""
    assert server.program.wait(60) == 1
    log = server.log.read_text()
    assert "Traceback" not in log
    return " ".join(log.split())


@pytest.mark.fault("F50")
def test_roll_out_under_load(tmp_path: Path, later: Later) -> None:
    """The first new server changes the schema while old ones serve; one of these that is killed starts again beside it.

    Nobody is refused anything on the way, and at its end all that was acknowledged is there, whoever acknowledged it.
    """
    with running_cluster(tmp_path, 2) as cluster:
        first, second = cluster.servers
        with pushing(cluster) as history:
            first.stop()
            cluster.restart(first, later.serve)
            assert find_schema(cluster) == later.number
            second.kill()
            second = cluster.restart(second)
            push_noted(first.port, history, "new")
            push_noted(second.port, history, "old")
            second.stop()
            cluster.restart(second, later.serve)
        assert list_versions(cluster) == [VERSION] * 2
        assert find_faults(cluster.ports[0], history) == []
        notes = ask(cluster, "SELECT name, note FROM tag WHERE name IN ('new', 'old') ORDER BY name")
        assert notes == [("new", "later"), ("old", None)]
        assert not any("Traceback" in log.read_text() for log in tmp_path.glob("server-*.log"))


@pytest.mark.fault("F49", "F50")
def test_roll_out_that_is_taken_back(tmp_path: Path, later: Later) -> None:
    """New servers that start at once migrate once; the old version starts on the new schema when they are gone."""
    with running_cluster(tmp_path, 1) as cluster:
        [old] = cluster.servers
        new = [cluster.begin(later.serve) for _ in range(2)]
        assert [server.wait_ready() for server in new] == [True, True]
        assert sorted(map(str, list_versions(cluster))).count(VERSION) == 2
        assert push_tag(new[0].port, "new") == push_tag(old.port, "old") == 201
        for server in (old, *new):
            server.kill()
        old = cluster.restart(old)
        assert push_tag(old.port, "older") == 201
        tags = call(old.port, "GET", f"/v2/{NAME}/tags/list").content
        assert json.loads(tags)["tags"] == ["new", "old", "older"]
        assert find_schema(cluster) == later.number


@pytest.mark.fault("F50")
def test_what_servers_cannot_work_with_waits_until_they_are_stopped(tmp_path: Path, breaking: Later) -> None:
    """The new version names them and does not start; when it has, they refuse to start again, and say why."""
    with running_cluster(tmp_path, 1) as cluster:
        [old] = cluster.servers
        assert push_tag(old.port, "old") == 201
        said = refuse_to_start(cluster.begin((*breaking.command, "serve")))
        assert f"127.0.0.1:{old.port} (version " in said
        assert "Stop all of them" in said
        assert push_tag(old.port, "older") == 201
        old.stop()
        new = cluster.restart(old, breaking.serve)
        assert call(new.port, "GET", f"/v2/{NAME}/manifests/older").status == 200
        said = refuse_to_start(cluster.begin((*OWN, "serve")))
        assert (
            f"schema {breaking.number}, this version knows {breaking.number - 1}: install the newer one again" in said
        )
        assert call(new.port, "GET", "/readyz").status == 200


def test_backups_of_two_versions(tmp_path: Path, later: Later) -> None:
    """Each is restored by its own version, which the other one names; none saves less than there is."""
    with running_cluster(tmp_path, 0) as cluster:
        cluster.start()
        own, newer = tmp_path / "own.tar", tmp_path / "newer.tar"
        assert push_tag(cluster.ports[0], "old") == 201
        assert run(cluster, OWN, "backup", str(own)).returncode == 0
        new = cluster.begin(later.serve)
        assert new.wait_ready(), new.log_end()
        assert push_tag(new.port, "new") == 201
        refused = run(cluster, OWN, "backup", str(tmp_path / "less.tar"))
        assert (refused.returncode, "do it with the newer version" in " ".join(refused.stderr.split())) == (1, True)
        assert run(cluster, later.command, "backup", str(newer)).returncode == 0
        for command, file, status, says in (
            (OWN, newer, 1, f"restore it with version {VERSION}"),
            (later.command, newer, 0, ""),
            (later.command, own, 1, "restore it with version "),
        ):
            empty = embedded(tmp_path / f"{Path(command[-1]).name}-{file.stem}")
            done = run(cluster, command, "restore", str(file), **empty)
            assert done.returncode == status, done.stderr
            assert says in " ".join(done.stderr.split())


@pytest.mark.fault("F50")
def test_embedded_database_is_taken_back(tmp_path: Path, later: Later, breaking: Later) -> None:
    """An older version serves what a newer one has only added to, and refuses the rest."""
    settings = embedded(tmp_path / "registry")

    def start(command: Sequence[str]) -> RunningServer:
        return RunningServer(command, tmp_path, tmp_path / f"{uuid.uuid4().hex}.log", **settings)

    for tag, command in (("new", later.serve), ("old", SERVER)):
        server = start(command)
        try:
            assert server.wait_ready(), server.log_end()
            assert push_tag(server.port, tag) == 201
            assert call(server.port, "GET", f"/v2/{NAME}/manifests/new").status == 200
        finally:
            server.stop()
    (tmp_path / "registry").rename(tmp_path / "kept")
    server = start(breaking.serve)
    assert server.wait_ready(), server.log_end()
    server.stop()
    assert "install the newer one again" in refuse_to_start(start((*OWN, "serve")))

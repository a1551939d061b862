"""Servers that end, are killed and start again behind a balancer, under load: what was acknowledged is kept."""

import contextlib
import time
from pathlib import Path

import pytest

from tests.kill.client import Unanswered, Unreachable
from tests.kill.verification import find_faults
from tests.replicas.cluster import Wanderer, running_cluster
from tests.replicas.rolling import pushing


@pytest.mark.fault("F50")
def test_one_after_the_other_is_restarted_without_errors(tmp_path: Path) -> None:
    """Nobody is refused anything, and nothing acknowledged is lost."""
    with running_cluster(tmp_path, 3) as cluster:
        with pushing(cluster) as history:
            for server in list(cluster.servers):
                server.stop()
                cluster.restart(server)
        assert find_faults(cluster.ports[0], history) == []
        logs = [log.read_text() for log in tmp_path.glob("server-*.log")]
        assert not any("without a word" in log or "Traceback" in log for log in logs)


def test_one_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    """A kill costs the requests that it had, and their clients try again."""
    with running_cluster(tmp_path, 3) as cluster:
        with pushing(cluster) as history:
            cluster.servers[0].kill()
            cluster.restart(cluster.servers[0])
        for port in cluster.ports:
            assert find_faults(port, history) == []


def test_a_server_that_ends_is_not_ready_before_it_closes(tmp_path: Path) -> None:
    """Load balancers that ask see it in time, and what they send meanwhile is served."""
    with running_cluster(tmp_path, 1) as cluster:
        ending = cluster.start()[0]  # the second one: it knows that it is not alone
        statuses, end = list[int](), time.monotonic() + 30
        ending.program.terminate()
        with contextlib.suppress(Unanswered, Unreachable), Wanderer(ending.port) as client:
            while time.monotonic() < end:
                statuses.append(client.call("GET", "/readyz").status)
                assert client.call("GET", "/v2/").status == 200
        assert 503 in statuses
        assert statuses == sorted(statuses)
        assert ending.program.wait(30) == 0

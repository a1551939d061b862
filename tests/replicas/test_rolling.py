"""Servers that end, are killed and start again behind a balancer, under load: what was acknowledged is kept."""

import contextlib
import threading
import time
from collections.abc import Callable
from pathlib import Path

from tests.kill import workload
from tests.kill.client import Unanswered, Unreachable
from tests.kill.history import History
from tests.kill.running import RunningServer
from tests.kill.verification import find_faults
from tests.replicas.balancer import Balancer
from tests.replicas.cluster import Cluster, Wanderer, running_cluster


def push_until(is_over: threading.Event, port: int, history: History, faults: list[BaseException]) -> threading.Thread:
    """Pushers that wander from server to server; each of their answers is in the history."""

    def run() -> None:
        try:
            while not is_over.is_set():
                workload.run(port, history, Wanderer)
        except BaseException as problem:  # noqa: BLE001 - told by the test's own thread
            faults.append(problem)

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def load(cluster: Cluster, servers: list[RunningServer], disturb: Callable[[RunningServer], None]) -> History:
    """Push through a balancer while each of these in turn is disturbed and started again."""
    history, is_over, faults = History(), threading.Event(), list[BaseException]()
    with Balancer(cluster.ports) as balancer:
        pushing = push_until(is_over, balancer.port, history, faults)
        for server in servers:
            disturb(server)
            cluster.restart(server)
        is_over.set()
        pushing.join()
    assert faults == []
    return history


def test_one_after_the_other_is_restarted_without_errors(tmp_path: Path) -> None:
    """Nobody is refused anything, and nothing acknowledged is lost."""
    with running_cluster(tmp_path, 3) as cluster:
        history = load(cluster, list(cluster.servers), lambda server: server.stop())
        assert find_faults(cluster.ports[0], history) == []
        logs = [log.read_text() for log in tmp_path.glob("server-*.log")]
        assert not any("without a word" in log or "Traceback" in log for log in logs)


def test_one_is_killed_and_nothing_is_lost(tmp_path: Path) -> None:
    """A kill costs the requests that it had, and their clients try again."""
    with running_cluster(tmp_path, 3) as cluster:
        history = load(cluster, cluster.servers[:1], lambda server: server.kill())
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

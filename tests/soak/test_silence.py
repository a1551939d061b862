"""A database that keeps its connections and says nothing: that takes as long as the time-outs."""

import threading
from pathlib import Path

from tests.kill.content import make_content
from tests.replicas.cluster import running_cluster
from tests.replicas.test_partition import port_of, push, start_behind
from tests.servers.proxy import TcpProxy
from tests.waiting import wait_until

LONGEST_ANSWER = 60  # seconds


def test_a_database_that_says_nothing_is_not_waited_for_without_end(tmp_path: Path) -> None:
    """Requests end with 503, and nothing of them is done later."""
    content = make_content("lost", 1000)
    with running_cluster(tmp_path, 0) as cluster, TcpProxy(port_of(cluster)) as proxy:
        server = start_behind(cluster, proxy)
        assert push(server.port, make_content("first", 1000)) == 201
        proxy.hang()
        statuses: list[int] = []
        asking = threading.Thread(target=lambda: statuses.append(push(server.port, content)))
        asking.start()
        asking.join(LONGEST_ANSWER)
        assert statuses == [503]
        proxy.heal()
        wait_until(lambda: push(server.port, content) == 201, "it serves again", LONGEST_ANSWER)

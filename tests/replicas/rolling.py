"""Pushes through a balancer, for as long as a test disturbs the servers behind it."""

import contextlib
import threading
from collections.abc import Iterable, Iterator, Mapping

from tests.kill import workload
from tests.kill.client import Answer, Unreachable
from tests.kill.history import History
from tests.replicas.balancer import Balancer
from tests.replicas.cluster import Cluster, Wanderer

SECONDS = 60


class Visitor(Wanderer):
    """Goes when `is_over`: then no server can be reached any more."""

    def __init__(self, port: int, is_over: threading.Event) -> None:
        super().__init__(port)
        self._is_over = is_over

    def call(
        self,
        method: str,
        path: str,
        content: bytes | Iterable[bytes] = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        if self._is_over.is_set():
            raise Unreachable("the test is over")
        return super().call(method, path, content, headers)


@contextlib.contextmanager
def pushing(cluster: Cluster) -> Iterator[History]:
    """Pushers that wander from server to server while the block lasts; each of their answers is in the history.

    Raises at its end what a server has refused.
    """
    history, is_over, faults = History(), threading.Event(), list[BaseException]()

    def push(port: int) -> None:
        try:
            while not is_over.is_set():
                workload.run(port, history, lambda port: Visitor(port, is_over))
        except BaseException as problem:  # noqa: BLE001 - told by the test's own thread
            faults.append(problem)

    with Balancer(cluster.ports) as balancer:
        thread = threading.Thread(target=push, args=(balancer.port,))
        thread.start()
        try:
            yield history
        finally:
            is_over.set()
            thread.join(SECONDS)
    assert faults == []
    assert history.log, "the load was there"

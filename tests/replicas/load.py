"""Minutes of pushes through a balancer while servers are killed, frozen and stopped in turn.

Beside the pushers, whose history knows what was acknowledged, images come into a repository whose policy keeps a few:
lifecycle runs and the collector have work all the time.
"""

import asyncio
import contextlib
import json
import random
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from registry.app import Registry
from registry.identity import Actor
from registry.oci.names import RepositoryName
from tests.kill import workload
from tests.kill.client import Unanswered, Unreachable
from tests.kill.content import digest_of, make_content, make_image
from tests.kill.history import History
from tests.kill.running import RunningServer
from tests.kill.verification import find_faults
from tests.places import make_config
from tests.replicas.balancer import Balancer
from tests.replicas.cluster import Cluster, Wanderer, running_cluster, shared_place
from tests.replicas.server import TERM

AGING = "aging/app"
NAME, BY = RepositoryName(AGING), Actor("test")
KEPT = 5
OFTEN = "0.003"  # hours between two lifecycle runs
OCTETS = {"Content-Type": "application/octet-stream"}
POLICY = {
    "rules": [
        {
            "rulePriority": 1,
            "selection": {"tagStatus": "any", "countType": "imageCountMoreThan", "countNumber": KEPT},
            "action": {"type": "expire"},
        }
    ]
}


class Load:
    """`seconds_between` disturbances, chosen by `seed`."""

    def __init__(self, cluster: Cluster, seed: int, seconds_between: float) -> None:
        self._cluster = cluster
        self._chance = random.Random(seed)  # noqa: S311 - a schedule, not a secret
        self._seconds_between = seconds_between
        self._is_over = threading.Event()
        self.history = History()
        self.faults: list[str] = []
        self.aged: list[str] = []
        self.disturbed: list[str] = []

    def run(self, seconds: float) -> list[str]:
        """Everything that went wrong, in words."""
        with Balancer(self._cluster.ports) as balancer:
            port = balancer.port
            threads = [threading.Thread(target=self._guarded, args=(work, port)) for work in (self._push, self._age)]
            for thread in threads:
                thread.start()
            end = time.monotonic() + seconds
            while not self._is_over.wait(min(self._seconds_between, max(0.0, end - time.monotonic()))):
                if time.monotonic() >= end:
                    break
                self._disturb(self._chance.choice(self._cluster.servers))
            self._is_over.set()
            for thread in threads:
                thread.join()
        for port in self._cluster.ports:
            self.faults += self._find_lost(port)
        asyncio.run(_change(self._cluster, lambda it: it.repositories.delete(NAME, BY)))  # it is not in the history
        for port in self._cluster.ports:
            self.faults += find_faults(port, self.history)
        return self.faults

    def _guarded(self, work: Callable[[int], None], port: int) -> None:
        try:
            while not self._is_over.is_set():
                work(port)
        except BaseException as problem:  # noqa: BLE001 - told by the main thread
            self.faults.append(repr(problem))
            self._is_over.set()

    def _push(self, port: int) -> None:
        workload.run(port, self.history, Wanderer)

    def _age(self, port: int) -> None:
        """Push one image more under a tag of its own."""
        tag = f"t{len(self.aged)}"
        config, layer = make_content(f"config {tag}", 500), make_content(f"layer {tag}", 50_000)
        image = make_image(config, [layer], note=tag)
        with contextlib.suppress(Unanswered, Unreachable), Wanderer(port) as client:
            for blob in (config, layer):
                path = f"/v2/{AGING}/blobs/uploads/?digest={digest_of(blob)}"
                assert client.call("POST", path, blob, OCTETS).status == 201
            answer = client.call(
                "PUT", f"/v2/{AGING}/manifests/{tag}", image.content, {"Content-Type": image.media_type}
            )
            assert answer.status == 201, answer
            self.aged.append(tag)

    def _find_lost(self, port: int) -> list[str]:
        """Of the images that the policy keeps, those that are not whole."""
        with Wanderer(port) as client:
            return [f"{tag} is gone" for tag in self.aged[-KEPT:] if not _is_whole(client, tag)]

    def _disturb(self, server: RunningServer) -> None:
        how = self._chance.choice(["kill", "stop", "freeze"])
        self.disturbed.append(how)
        if how == "freeze":
            server.program.send_signal(signal.SIGSTOP)
            self._is_over.wait(3 * TERM / 1000)  # for longer than it may be silent
            server.program.send_signal(signal.SIGCONT)
            return
        server.kill() if how == "kill" else server.stop()
        self._cluster.restart(server)


def run(folder: Path, seed: int, seconds: float, count: int, seconds_between: float = 60) -> tuple[list[str], Load]:
    """What went wrong with so many servers, and the load."""
    folder.mkdir(exist_ok=True)
    with running_cluster(folder, count, ENTREPOT_LIFECYCLE_HOURS=OFTEN, ENTREPOT_BRAKE_PERCENT="100") as cluster:
        asyncio.run(_change(cluster, _set_policy))
        load = Load(cluster, seed, seconds_between)
        return load.run(seconds), load


async def _change(cluster: Cluster, work: Callable[[Registry], Awaitable[object]]) -> None:
    registry = Registry(make_config(cluster.folder / "registry", shared_place()))
    try:
        await registry.join()
        await work(registry)
    finally:
        registry.close()


async def _set_policy(registry: Registry) -> None:
    await registry.repositories.create(NAME, BY)
    await registry.policies.set(NAME, json.dumps(POLICY), BY)


def _is_whole(client: Wanderer, tag: str) -> bool:
    answer = client.call("GET", f"/v2/{AGING}/manifests/{tag}")
    if answer.status != 200:
        return False
    manifest = json.loads(answer.content)
    digests = [each["digest"] for each in (manifest["config"], *manifest["layers"])]
    return all(digest_of(client.call("GET", f"/v2/{AGING}/blobs/{each}").content) == each for each in digests)

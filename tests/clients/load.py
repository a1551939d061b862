"""Docker, skopeo and crane before three replicas that are killed, while a policy removes and the collector works.

The clients' record knows what was acknowledged. What may never be: an image that is not whole, a byte that is wrong, a
failure of a client that no kill has cut off, an answer with 5xx, and at the end an object that nothing names.
"""

import asyncio
import gzip
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.garbage.findings import Contents
from tests.garbage.yard import in_a_month
from tests.kill.verification import find_faults
from tests.places import make_config
from tests.replicas.cluster import SECONDS_TO_END, SERVER
from tests.replicas.load import KEPT, POLICY
from tests.replicas.server import WINDOWS
from tests.stored import read_rows
from tests.waiting import wait_until

from .carriers import Carrier, Crane, Docker, Skopeo, Stored
from .customer import Ager, Customer
from .engines import DockerEngine
from .images import layer
from .record import Record
from .registry import sha256
from .suites import Suite, tool_path
from .topology import PLACE, SHARED, Topology

OFTEN = "0.0012"  # hours between two lifecycle runs
DOWN_SECONDS = (1, 6)  # of a killed replica: also longer than it may be silent
TAKEN_FOR_DEAD = (
    "this one was not heard of for too long"  # on a busy machine, by so short a term: then it removes nothing
)
END_SECONDS = 60  # of work that goes on beside the clients
BASES = (20_000, 400_000, 3_000_000)  # bytes of layers that all clients share


class Load:
    """Runs in `folder`, as `seed` says; sockets in it have short paths only."""

    def __init__(self, folder: Path, seed: int, topology: Topology, docker: DockerEngine) -> None:
        self.folder = folder
        self.seed = seed
        self.record = Record()
        self._topology = topology
        chance = self._chance("bases")
        self._bases = tuple(layer({f"base/{size}": chance.randbytes(size)}) for size in BASES)
        address, newer = topology.address, tool_path("newer")
        debian12 = Skopeo(docker.suite, address)
        self._customers = [
            self._welcome("docker", Docker(docker, debian12, address)),
            self._welcome("skopeo", Skopeo(Suite(Path("/"), folder / "skopeo"), address)),
            self._welcome("skopeo-newer", Skopeo(Suite(newer, folder / "skopeo-newer"), address)),
            self._welcome("crane", Crane(Suite(newer, folder / "crane"), address)),
        ]
        aging = Crane(Suite(newer, folder / "aging"), address)
        self._ager = Ager("ager", aging, self.record, self._chance("ager"), self._bases, most=KEPT)

    def run(self, seconds: float, seconds_between: float) -> list[str]:
        """Everything that went wrong, in words. A replica is killed after every `seconds_between`."""
        operator = self._topology.replicas[0]
        operator.command("user", "grant", "anonymous", "**", "pull,push,delete")
        operator.command("repository", "create", self._ager.repository)
        operator.command("lifecycle", "set", self._ager.repository, "-", stdin=json.dumps(POLICY))
        threads = [threading.Thread(target=self._guard(one.act)) for one in (*self._customers, self._ager)]
        for thread in threads:
            thread.start()
        self._guard(lambda: self._disturb(seconds, seconds_between))()
        for thread in threads:
            thread.join()
        return self.record.faults or self._find_faults()

    def _chance(self, what: str) -> random.Random:
        return random.Random(f"{self.seed} {what}")  # noqa: S311 - a schedule, not a secret

    def _welcome(self, name: str, carrier: Carrier) -> Customer:
        return Customer(name, carrier, self.record, self._chance(name), self._bases)

    def _guard(self, work: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            try:
                while not self.record.is_over.is_set():
                    work()
            except BaseException as problem:  # noqa: BLE001 - told by the main thread
                self.record.blame(f"{type(problem).__name__}: {problem}")

        return run

    def _disturb(self, seconds: float, seconds_between: float) -> None:
        """Kill one replica after the other, and start it again."""
        began, chance, is_over = time.monotonic(), self._chance("kills"), self.record.is_over
        for number in range(1, int(seconds / seconds_between)):
            is_over.wait(began + number * seconds_between - time.monotonic())
            replica = self._topology.replicas[number % len(self._topology.replicas)]
            with self.record.killing():
                replica.kill()
            is_over.wait(chance.uniform(*DOWN_SECONDS))
            replica.start()
            replica.wait_until_ready()
        is_over.wait(began + seconds - time.monotonic())
        wait_until(lambda: is_over.is_set() or self._count_lifecycle_runs() > 0, "the policy is run", END_SECONDS)
        is_over.set()

    def _find_faults(self) -> list[str]:
        """What the registry shows, through nginx, that is not what was acknowledged."""
        self.record.counts["lifecycle runs"] = self._count_lifecycle_runs()
        self._topology.replicas[0].command("lifecycle", "run", "--repository", self._ager.repository)
        self._ager.settle()
        faults = [line for line in self._topology.complaints() if TAKEN_FOR_DEAD not in line]
        faults += find_faults(self._topology.port, self.record.history)
        for stored in [] if faults else self.record.stored():
            faults += find_differences(self._topology, stored)
            self.record.count("images compared at the end")
        wait_until(lambda: not self._list_uncollected(), "what was removed is collected", END_SECONDS)
        return faults

    def _count_lifecycle_runs(self) -> int:
        logs = [replica.log_path.read_bytes() for replica in self._topology.replicas]
        return sum(b'"lifecycle run"' in line for log in logs for line in log.splitlines())

    def _list_uncollected(self) -> set[tuple[str, str]]:
        rows = read_rows(
            make_config(self.folder / SHARED, PLACE),
            "SELECT name, digest FROM manifest JOIN repository ON repository.id = repository_id",
        )
        kept = {(stored.repository, digest) for stored in self.record.stored() for digest in stored.manifests}
        return {(name, digest) for name, digest in rows} - kept


@contextmanager
def ready_load(folder: Path, seed: int) -> Iterator[Load]:
    """With its replicas and Docker Engine; when they have ended, `find_leftovers` looks at what there is."""
    settings = {"ENTREPOT_LIFECYCLE_HOURS": OFTEN, "ENTREPOT_BRAKE_PERCENT": "100", "ENTREPOT_UNDELETE_DAYS": "0"}
    settings["ENTREPOT_DRAIN_SECONDS"] = SECONDS_TO_END
    with ExitStack() as stack:
        topology = Topology(folder, SERVER, **settings)
        stack.callback(topology.stop)
        docker = DockerEngine("docker20", Suite(Path("/"), folder / "docker"), "--storage-driver=overlay2")
        stack.callback(docker.stop)
        topology.wait_until_ready()
        docker.wait_until_ready()
        yield Load(folder, seed, topology, docker)


def run(folder: Path, seed: int, seconds: float, seconds_between: float) -> tuple[list[str], Record]:
    """What went wrong, and the record."""
    with ready_load(folder, seed) as load:
        faults = load.run(seconds, seconds_between)
    return faults or asyncio.run(find_leftovers(folder / SHARED, load.record)), load.record


async def find_leftovers(place: Path, record: Record) -> list[str]:
    """When all windows have ended: what is left that nothing names, and what is not left though it was acknowledged."""
    async with in_a_month(place, WINDOWS, place=PLACE) as yard:
        there = Contents.of(yard)
        kept = {digest for stored in record.stored() for digest in stored.manifests}
        lost = kept - {digest for _, digest in there.manifests}
        record.counts["objects left"] = len(there.files)
        return (
            [f"the manifest {digest} is lost" for digest in lost]
            + [f"the row of {digest} has no bytes" for digest in there.blobs if there.lacks_bytes(digest)]
            + [f"{what} is left" for what in yard.list_unnamed()]
            + await yard.check()
        )


def find_differences(topology: Topology, stored: Stored) -> list[str]:
    """Between the image's bytes and what its client knows of them: its config covers every layer."""
    faults = []
    for digest, known in stored.images.items():
        manifest = topology.manifest(stored.repository, digest)
        config = _read(topology, stored, known)
        layers = [_read(topology, stored, each["digest"]) for each in manifest["layers"]]
        diffs = [sha256(gzip.decompress(content)) for content in layers]
        named = [manifest["config"]["digest"], *(each["digest"] for each in manifest["layers"])]
        if [sha256(content) for content in (config, *layers)] != named or named[0] != known:
            faults.append(f"{stored.repository}@{digest}: blobs that are not what the manifest names")
        if diffs != json.loads(config)["rootfs"]["diff_ids"]:
            faults.append(f"{stored.repository}@{digest}: layers that are not what was pushed")
    return faults


def _read(topology: Topology, stored: Stored, digest: str) -> bytes:
    return topology.get(f"/v2/{stored.repository}/blobs/{digest}").content

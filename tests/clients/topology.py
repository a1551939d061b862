"""Three replicas on one PostgreSQL and one S3 server, behind Debian's nginx with the configuration of deploy/."""

import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.deploy.nginx import local_configuration
from tests.places import Place
from tests.waiting import wait_until

from .registry import ENDED_WITH_US, SERVE, Caller, Registry, free_port
from .requestlog import RequestLog

REPLICAS = 3
PLACE = Place("postgresql", "s3")
SHARED = "shared"  # the name of the folder by which the tests know the registry's database and store


class Topology(Caller):
    """Asks the replicas in turn. `program` is what each of them runs; `settings` are ENTREPOT_* of all of them."""

    def __init__(self, folder: Path, program: Sequence[str | Path] = SERVE, **settings: str) -> None:
        super().__init__(free_port())
        self.folder = folder
        self._program = program
        self._settings = PLACE.environment(folder / SHARED)
        self._settings |= settings | {
            "ENTREPOT_ANONYMOUS": "push",
            "ENTREPOT_TRUSTED_PROXIES": "127.0.0.1",
            "ENTREPOT_S3_REDIRECTS": "on",
            "ENTREPOT_S3_PUBLIC_ENDPOINT": self._settings["ENTREPOT_S3_ENDPOINT"].replace("127.0.0.1", "localhost"),
        }
        self.replicas = [self._start(number) for number in range(REPLICAS)]  # all at once, on an empty database
        self._proxy = self._start_proxy()

    def _start(self, number: int) -> Registry:
        folder = self.folder / f"replica-{number}"
        return Registry(folder, self._settings | {"ENTREPOT_DATA": str(folder / "data")}, self._program)

    def _start_proxy(self) -> subprocess.Popen[bytes]:
        configuration = self.folder / "nginx.conf"
        ports = [replica.port for replica in self.replicas]
        configuration.write_text(local_configuration(self.folder, self.port, ports))
        with (self.folder / "nginx.log").open("wb") as log:
            return subprocess.Popen(
                [*ENDED_WITH_US, "nginx", "-c", configuration, "-p", self.folder, "-g", "daemon off; user root;"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        for replica in self.replicas:
            replica.wait_until_ready()
        wait_until(self._is_ready, f"nginx passes requests on: see {self.folder}/nginx.log", seconds=30)

    def _is_ready(self) -> bool:
        try:
            return self.call("GET", "/readyz").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        self._proxy.terminate()
        self._proxy.wait(30)
        with ThreadPoolExecutor() as threads:  # each waits for load balancers to see that it ends
            list(threads.map(Registry.stop, self.replicas))

    def lose(self) -> None:
        """One replica dies without a word."""
        self.replicas.pop().kill()

    @contextmanager
    def recording(self) -> Iterator[list[RequestLog]]:
        """Collect the requests of each replica made inside the block; the lists are filled when it ends."""
        logs = [RequestLog() for _ in self.replicas]
        offsets = []
        for replica in self.replicas:
            replica.settled_requests()
            offsets.append(replica.log_path.stat().st_size)
        yield logs
        for replica, offset, log in zip(self.replicas, offsets, logs, strict=True):
            log.extend(replica.settled_requests(offset))

    def log_tail(self) -> str:
        return "\n".join(replica.log_tail(20) for replica in self.replicas)

    def complaints(self) -> list[str]:
        return [line for replica in self.replicas for line in replica.complaints()]

"""What benchmarks/stores.py compares: registries on one S3 server, each with its metadata in its own place."""

import http.client
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeAlias

import boto3
from botocore.config import Config
from mypy_boto3_s3 import S3Client

from benchmarks.serving import SERVER, free_port, settings
from tests.servers.postgres import PostgresServer, fresh_database
from tests.servers.seaweed import running_seaweed

HOST = "127.0.0.1"
OTHER_NAME = "localhost"  # for redirects: nothing is redirected to the registry's own host name
_START_SECONDS = 60

Child: TypeAlias = subprocess.Popen[bytes]


@dataclass(frozen=True)
class Registry:
    """One that answers on several ports: those of its replicas, whose processes are `pids`."""

    name: str
    ports: Sequence[int]
    pids: Sequence[int]

    def peak_memory(self) -> int:
        """The most that any of its processes has held, in bytes."""
        return max(_peak(pid) for pid in self.pids)


def _peak(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith("VmHWM:"))


class Servers:
    """SeaweedFS and PostgreSQL, and what is started on them; all of it ends with the block."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running = ExitStack()

    def __enter__(self) -> Self:
        self._store = self._running.enter_context(running_seaweed(self._folder / "s3"))
        self._postgres = PostgresServer(fsync="on", full_page_writes="on", synchronous_commit="on")
        self._running.callback(self._postgres.remove)
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def bucket(self) -> str:
        return self._store.bucket

    def client(self) -> S3Client:
        """For boto3's own transfer, with its defaults but for the checksums: the registries send none either."""
        return boto3.client(
            "s3",
            endpoint_url=self._endpoint(HOST),
            config=Config(signature_version="s3v4", request_checksum_calculation="when_required"),
        )

    def entrepot(self, name: str, replicas: int, *, redirects: bool = False) -> Registry:
        """On a database and a prefix of its own."""
        database = fresh_database(self._postgres, is_migrated=False)
        given = {
            "ENTREPOT_DATABASE": database,
            "ENTREPOT_STORAGE": f"s3://{self.bucket}/{name}",
            "ENTREPOT_S3_ENDPOINT": self._endpoint(HOST),
            "ENTREPOT_S3_PUBLIC_ENDPOINT": self._endpoint(OTHER_NAME),
            "ENTREPOT_S3_REDIRECTS": "on" if redirects else "off",
            "ENTREPOT_S3_REGION": os.environ["AWS_REGION"],
            "ENTREPOT_S3_ADDRESSING": "path",
            "ENTREPOT_ANONYMOUS": "push",
        }
        started = []
        for number in range(replicas):
            port = free_port()
            environment = settings(self._folder / f"{name}-{number}", given)
            command = [str(SERVER), "serve", "--port", str(port)]
            started.append((port, self._start(f"{name}-{number}", command, environment)))
            _wait(*started[-1], "/readyz", self._log(f"{name}-{number}"))
        return Registry(name, [port for port, _ in started], [child.pid for _, child in started])

    def distribution(self, name: str, program: Path, *, redirects: bool = False) -> Registry:
        """CNCF distribution, which keeps its metadata in the same bucket."""
        port = free_port()
        file = self._folder / f"{name}.yml"
        endpoint = self._endpoint(OTHER_NAME if redirects else HOST)
        file.write_text(_describe_distribution(f"{self.bucket}/{name}", port, endpoint, redirects=redirects))
        kept = {key: value for key, value in os.environ.items() if not key.startswith("REGISTRY_")}
        child = self._start(name, [str(program), "serve", str(file)], kept | {"OTEL_TRACES_EXPORTER": "none"})
        _wait(port, child, "/v2/", self._log(name))
        return Registry(name, [port], [child.pid])

    def _endpoint(self, host: str) -> str:
        return self._store.endpoint.replace(f"//{HOST}:", f"//{host}:")

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        with self._log(name).open("wb") as log:
            child = subprocess.Popen(command, env=environment, cwd=self._folder, stdout=log, stderr=log)
        self._running.callback(_stop, child)
        return child


def find_distribution() -> Path:
    """Where .ci/install has built it, or what the PATH has."""
    install = Path(__file__).parents[1] / ".ci" / "install"
    found = subprocess.run([str(install), "path", "registry"], capture_output=True, text=True, check=False)
    program = found.stdout.strip() or shutil.which("registry")
    if not program:
        raise SystemExit("distribution is not there: .ci/install go, or --distribution PROGRAM")
    return Path(program)


def _describe_distribution(place: str, port: int, endpoint: str, *, redirects: bool) -> str:
    bucket, _, folder = place.partition("/")
    storage: dict[str, Any] = {
        "region": os.environ["AWS_REGION"],
        "regionendpoint": endpoint,
        "forcepathstyle": True,
        "bucket": bucket,
        "rootdirectory": f"/{folder}",
    }
    lines = ["version: 0.1", "log: {level: error, accesslog: {disabled: true}}", "storage:", "  s3:"]
    lines += [f"    {key}: {str(value).lower() if value is True else value}" for key, value in storage.items()]
    lines += [f"  redirect: {{disable: {str(not redirects).lower()}}}", f"http: {{addr: '{HOST}:{port}'}}", ""]
    return "\n".join(lines)


def _stop(child: Child) -> None:
    child.send_signal(signal.SIGTERM)
    try:
        child.wait(30)
    except subprocess.TimeoutExpired:
        child.kill()
        child.wait()


def _wait(port: int, child: Child, path: str, log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _answers(port, path):
        if child.poll() is not None or time.monotonic() > deadline:
            raise SystemExit(f"the server did not start:\n{log.read_text()[-3000:]}")
        time.sleep(0.1)


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection(HOST, port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()

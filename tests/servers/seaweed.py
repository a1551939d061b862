"""A real S3 server for the tests: SeaweedFS from its wheel, one per machine and test run, on loopback only.

Every process that uses it holds a lock that the kernel frees with the process; the keeper, a process of its own, ends
the server and removes its files when nobody holds that lock any more. `TEST_S3_ENDPOINT` and `TEST_S3_BUCKET`, with
boto3's own AWS_* variables, use another store in its place.
"""

import contextlib
import fcntl
import itertools
import json
import os
import random
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from storage.s3.place import S3Place
from tests.waiting import wait_until

ACCESS_KEY = "entrepot"
SECRET_KEY = "entrepot-secret"  # noqa: S105 - of a server on loopback that lives as long as the tests
BUCKET = "entrepot"
REGION = "us-east-1"
_PROJECT = Path(__file__).parents[2]
_GRPC = 10_000  # the distance from a port of SeaweedFS to its gRPC port, where some of its parts look for it
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class SeaweedServer:
    """Where it listens; `run` is unlike that of any other test run, so that places never meet."""

    endpoint: str
    bucket: str
    run: str


def fresh_place(server: SeaweedServer) -> S3Place:
    """A place that nobody has used before, in the server's bucket."""
    prefix = f"{server.run}/{os.getpid()}-{next(_numbers)}"
    return S3Place(server.bucket, prefix, server.endpoint, os.environ.get("AWS_REGION", REGION))


@contextlib.contextmanager
def running_seaweed(folder: Path) -> Iterator[SeaweedServer]:
    """The server that is shared by all who name the same folder, with boto3's credentials in this environment."""
    run = f"{random.SystemRandom().getrandbits(48):012x}"
    if "TEST_S3_ENDPOINT" in os.environ:
        yield SeaweedServer(os.environ["TEST_S3_ENDPOINT"], os.environ["TEST_S3_BUCKET"], run)
        return
    os.environ.update(AWS_ACCESS_KEY_ID=ACCESS_KEY, AWS_SECRET_ACCESS_KEY=SECRET_KEY, AWS_REGION=REGION)
    os.environ.setdefault("AWS_EC2_METADATA_DISABLED", "true")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "turn").open("w") as turn, (folder / "users").open("w") as users:
        fcntl.flock(turn, fcntl.LOCK_EX)  # one starts it, the others wait
        fcntl.flock(users, fcntl.LOCK_SH)
        endpoint = _find(folder) or _start(folder)
        fcntl.flock(turn, fcntl.LOCK_UN)
        yield SeaweedServer(endpoint, BUCKET, run)


@pytest.fixture(scope="session")
def seaweed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedServer]:
    """The server, shared with the other workers of this test run."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    with running_seaweed(shared / "seaweed") as server:
        yield server


def _find(folder: Path) -> str:
    state = folder / "state.json"
    return str(json.loads(state.read_text())["endpoint"]) if state.exists() else ""


def _start(folder: Path) -> str:
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "tests.servers.seaweed", str(folder)]
        keeper = subprocess.Popen(
            command, cwd=_PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )

    def is_told() -> bool:
        assert keeper.poll() is None, (folder / "log").read_text()[-2000:]
        return bool(_find(folder))

    wait_until(is_told, "SeaweedFS is up", 60)
    keeper.returncode = 0  # it ends by itself, after us: nobody waits for it
    return _find(folder)


def _keep(folder: Path) -> None:
    """Start the server, say where it is, and end it when nobody uses it any more."""
    with (folder / "users").open("w") as users, (folder / "log").open("ab") as log:
        ports = _free_ports(6)
        server = subprocess.Popen(_command(folder, ports), stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            endpoint = f"http://127.0.0.1:{ports[0]}"
            wait_until(lambda: _has_bucket(endpoint, server), "SeaweedFS has its bucket", 60)
            state = folder / "state.json"
            state.with_suffix(".new").write_text(json.dumps({"endpoint": endpoint}))
            state.with_suffix(".new").rename(state)
            fcntl.flock(users, fcntl.LOCK_EX)
            state.unlink()
        finally:
            server.kill()
            server.wait()
            shutil.rmtree(folder / "data", ignore_errors=True)


def _command(folder: Path, ports: list[int]) -> list[str]:
    s3, master, volume, filer, admin, s3_grpc = ports
    data = folder / "data"
    data.mkdir(exist_ok=True)
    return [
        str(Path(sys.executable).with_name("weed")), "mini",
        f"-dir={data}", f"-bucket={BUCKET}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
        f"-s3.port={s3}", f"-s3.port.grpc={s3_grpc}", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-s3.autoCreateBucket=false",
        f"-master.port={master}", f"-master.port.grpc={master + _GRPC}", "-master.telemetry=false",
        f"-volume.port={volume}", f"-filer.port={filer}", f"-filer.port.grpc={filer + _GRPC}",
        f"-filer.localSocket={folder}/filer.sock", f"-s3.localSocket={folder}/s3.sock",
        "-webdav=false", "-admin.ui=false", f"-admin.port={admin}", f"-admin.port.grpc={admin + _GRPC}",
    ]  # fmt: skip


def _free_ports(count: int) -> list[int]:
    """Ports below those that the kernel gives out by itself, with free ones for gRPC above them."""
    source, found = random.SystemRandom(), list[int]()
    while len(found) < count:
        port = source.randrange(12_000, 22_000)
        if port not in found and _is_free(port) and _is_free(port + _GRPC):
            found.append(port)
    return found


def _is_free(port: int) -> bool:
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            one.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _has_bucket(endpoint: str, server: subprocess.Popen[bytes]) -> bool:
    assert server.poll() is None, "SeaweedFS has ended"
    config = Config(connect_timeout=2, read_timeout=5, retries={"total_max_attempts": 1})
    client = boto3.client("s3", endpoint_url=endpoint, region_name=REGION, config=config)
    try:
        client.put_object(Bucket=BUCKET, Key="is-up", Body=b"yes")
    except (BotoCoreError, ClientError):
        return False
    finally:
        client.close()
    return True


if __name__ == "__main__":
    _keep(Path(sys.argv[1]))

"""The server under test: started on a free port with a fresh folder, asked over plain HTTP, stopped by SIGTERM."""

import hashlib
import http.client
import json
import os
import signal
import socket
import subprocess
import urllib.request
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from tests import places
from tests.waiting import wait_until

from .requestlog import RequestLog, read_requests

COMMAND = Path(__file__).parents[2] / ".venv" / "bin" / "entrepot"
SERVE = (COMMAND, "serve")
ENDED_WITH_US = ("setpriv", "--pdeathsig", "TERM")  # nothing outlives a test run that was killed
MANIFEST_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    content: bytes


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Caller:
    """Asks whatever listens on the port, as a client that follows redirects."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.address = f"127.0.0.1:{port}"
        self._authorization: dict[str, str] = {}

    def log_in(self, name: str, password: str) -> None:
        """Send these credentials with the calls from now on."""
        self._authorization = {"Authorization": f"Basic {b64encode(f'{name}:{password}'.encode()).decode()}"}

    def call(self, method: str, path: str, headers: Mapping[str, str] | None = None) -> Reply:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, headers={**self._authorization, **(headers or {})})
            response = connection.getresponse()
            reply = Reply(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()
        if reply.status != HTTPStatus.TEMPORARY_REDIRECT:
            return reply
        with urllib.request.urlopen(reply.headers["location"], timeout=60) as answer:  # noqa: S310 - the S3 server's
            return Reply(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())

    def get(self, path: str) -> Reply:
        reply = self.call("GET", path, {"Accept": ", ".join(MANIFEST_TYPES)})
        assert reply.status == 200, f"GET {path} -> {reply.status} {reply.content[:300]!r}"
        return reply

    def manifest(self, repository: str, reference: str) -> dict[str, Any]:
        manifest: dict[str, Any] = json.loads(self.get(f"/v2/{repository}/manifests/{reference}").content)
        return manifest

    def digest(self, repository: str, reference: str) -> str:
        """The digest of a manifest, computed from its bytes."""
        return sha256(self.get(f"/v2/{repository}/manifests/{reference}").content)

    def delete_manifest(self, repository: str, reference: str) -> None:
        reply = self.call("DELETE", f"/v2/{repository}/manifests/{reference}")
        assert reply.status == 202, f"DELETE manifest -> {reply.status} {reply.content[:300]!r}"

    def assert_complete(self, repository: str, reference: str) -> None:
        """Read a manifest and everything it names, and compare each with its digest."""
        reply = self.get(f"/v2/{repository}/manifests/{reference}")
        if reference.startswith("sha256:"):
            assert sha256(reply.content) == reference
        manifest = json.loads(reply.content)
        for child in manifest.get("manifests", []):
            self.assert_complete(repository, child["digest"])
        for descriptor in [manifest.get("config"), *manifest.get("layers", [])]:
            if descriptor:
                content = self.get(f"/v2/{repository}/blobs/{descriptor['digest']}").content
                assert (sha256(content), len(content)) == (descriptor["digest"], descriptor["size"])


class Registry(Caller):
    """A server program, on the place under test unless settings name another one."""

    def __init__(
        self, folder: Path, settings: Mapping[str, str] | None = None, program: Sequence[str | Path] = SERVE
    ) -> None:
        super().__init__(free_port())
        self.log_path = folder / "registry.log"
        self._program = program
        folder.mkdir(parents=True)
        chosen = settings or places.environment(folder / "store")
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENTREPOT_")}
        address = {"ENTREPOT_HOST": "127.0.0.1", "ENTREPOT_PORT": str(self.port)}
        self._environment = {**inherited, **chosen, **address}
        self.start()

    def start(self) -> None:
        """Done already; after a `kill` it starts the server again, where it was."""
        with self.log_path.open("ab") as log:
            self._server = subprocess.Popen(
                [*ENDED_WITH_US, *self._program],
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        wait_until(self._is_ready, "the registry answers /readyz", seconds=60)

    def _is_ready(self) -> bool:
        if self._server.poll() is not None:
            raise AssertionError(f"the registry ended with {self._server.returncode}:\n{self.log_tail()}")
        try:
            return self.call("GET", "/readyz").status == 200
        except OSError:
            return False

    def stop(self) -> None:
        """End the server as an operator would; it must drain and leave, by itself or by the signal it was sent."""
        self._server.terminate()
        try:
            status = self._server.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.wait()
            raise
        assert status in {0, -signal.SIGTERM}, f"the registry ended with {status} after SIGTERM:\n{self.log_tail()}"

    def kill(self) -> None:
        """End the server as a lost machine does."""
        self._server.kill()
        self._server.wait()

    def log_tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_path.read_text(errors="replace").splitlines()[-lines:])

    def command(self, *arguments: str, stdin: str = "") -> str:
        """Run `entrepot` on the registry's data, beside the server; returns what it printed to standard output."""
        done = subprocess.run(
            [COMMAND, *arguments],
            env=self._environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert done.returncode == 0, f"entrepot {' '.join(arguments)} -> {done.returncode}\n{done.stderr}"
        return done.stdout

    @contextmanager
    def recording(self) -> Iterator[RequestLog]:
        """Collect the requests made inside the block; the list is filled when the block ends."""
        self.settled_requests()  # a request may be answered before its line is written
        offset = self.log_path.stat().st_size
        log = RequestLog()
        yield log
        log.extend(self.settled_requests(offset))

    def settled_requests(self, offset: int = 0) -> RequestLog:
        """All requests since a byte offset of the log, once the server has finished each that it has begun."""
        wait_until(self._is_quiet, "the server has finished all requests but the one that asks", seconds=10)
        return RequestLog(read_requests(self.log_path, offset))

    def _is_quiet(self) -> bool:
        return b"entrepot_requests_in_progress 1.0\n" in self.call("GET", "/metrics").content

    def complaints(self) -> list[str]:
        """The log lines of the level error or worse, and those of requests answered with a 5xx."""
        self.settled_requests()
        lines = self.log_path.read_text().splitlines()
        return [line for line in lines if _is_complaint(json.loads(line))]


def _is_complaint(entry: dict[str, Any]) -> bool:
    return entry.get("level") in {"error", "critical"} or entry.get("status", 0) >= 500


def sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"

"""Daemons that the clients talk to: Docker Engine and containerd, each with a data folder and a socket of its own."""

import os
import signal
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path

from tests.waiting import wait_until

from .registry import ENDED_WITH_US, sha256
from .suites import ClientFailed, Suite

CONTAINERD_CONFIG = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"]
[grpc]
  address = "{socket}"
[ttrpc]
  address = "{socket}.ttrpc"
"""


class Daemon:
    """A program in the background, in a process group with everything it starts."""

    def __init__(self, suite: Suite, log_path: Path, command: Sequence[str | Path], **environment: str) -> None:
        self.log_path = log_path
        with log_path.open("wb") as log:
            self._started = subprocess.Popen(
                [*ENDED_WITH_US, *suite.command(*command)],
                env=suite.environment(**environment),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def is_alive(self) -> bool:
        return self._started.poll() is None

    def stop(self) -> None:
        self._started.terminate()
        try:
            self._started.wait(timeout=30)
        finally:
            if self._group_exists():
                os.killpg(self._started.pid, signal.SIGKILL)

    def _group_exists(self) -> bool:
        try:
            os.killpg(self._started.pid, 0)
        except ProcessLookupError:
            return False
        return True


class DockerEngine:
    """Docker Engine and its command line."""

    def __init__(self, name: str, suite: Suite, *options: str) -> None:
        self.name = name
        self.suite = suite
        self.folder = suite.folder(name)
        self._host = f"unix://{self.folder}/docker.sock"
        paths = [f"--{name}={self.folder}/{name}" for name in ("data-root", "exec-root", "pidfile")]
        network = ["--bridge=none", "--iptables=false", "--ip6tables=false"]
        self._daemon = Daemon(
            suite,
            self.folder / "dockerd.log",
            ["dockerd", f"--host={self._host}", *paths, *network, *options],
            DOCKER_RAMDISK="1",  # a chroot is no place for pivot_root
        )

    def command(self, *arguments: str | Path) -> list[str | Path]:
        return ["docker", "--host", self._host, *arguments]

    def run(self, *arguments: str | Path) -> str:
        return self.suite.run(*self.command(*arguments))

    def build(self, *arguments: str | Path) -> str:
        """Build with BuildKit; returns the progress that it printed."""
        plain = ("buildx", "build", "--progress=plain")
        return self.suite.complete("docker", "--host", self._host, *plain, *arguments).stderr

    def refuse(self, *arguments: str | Path) -> str:
        return self.suite.refuse(*self.command(*arguments))

    def wait_until_ready(self) -> None:
        wait_until(self._answers, f"dockerd answers, see {self._daemon.log_path}", seconds=60)

    def _answers(self) -> bool:
        if not self._daemon.is_alive():
            raise AssertionError(f"dockerd ended:\n{self._daemon.log_path.read_text()[-4000:]}")
        return (self.folder / "docker.sock").exists() and _says_server(self.suite, *self.command("version"))

    def forget(self, *references: str) -> None:
        """Remove images, so that the next pull has to fetch everything."""
        self.run("image", "rm", "--force", *references)

    def save(self, reference: str) -> Path:
        """Export an image's files as a tar."""
        archive = self.folder / "saved.tar"
        self.run("save", "--output", archive, reference)
        return archive

    def stop(self) -> None:
        self._daemon.stop()


class Containerd:
    """containerd and ctr."""

    def __init__(self, name: str, suite: Suite) -> None:
        self.name = name
        self.suite = suite
        self.folder = suite.folder(name)
        self._socket = self.folder / "containerd.sock"
        config = self.folder / "config.toml"
        config.write_text(CONTAINERD_CONFIG.format(folder=self.folder, socket=self._socket))
        self._daemon = Daemon(suite, self.folder / "containerd.log", ["containerd", "--config", config])

    def command(self, *arguments: str | Path) -> list[str | Path]:
        return ["ctr", "--address", self._socket, "images", *arguments]

    def images(self, *arguments: str | Path) -> str:
        return self.suite.run(*self.command(*arguments))

    def refuse(self, *arguments: str | Path) -> str:
        return self.suite.refuse(*self.command(*arguments))

    def wait_until_ready(self) -> None:
        wait_until(self._answers, f"containerd answers, see {self._daemon.log_path}", seconds=60)

    def _answers(self) -> bool:
        if not self._daemon.is_alive():
            raise AssertionError(f"containerd ended:\n{self._daemon.log_path.read_text()[-4000:]}")
        return self._socket.exists() and _says_server(self.suite, "ctr", "--address", self._socket, "version")

    def holds(self, digests: Iterable[str]) -> bool:
        """Tell whether the content store has all of these, by computing their digests."""
        blobs = self.folder / "root" / "io.containerd.content.v1.content" / "blobs" / "sha256"
        paths = {digest: blobs / digest.removeprefix("sha256:") for digest in digests}
        return all(path.exists() and sha256(path.read_bytes()) == digest for digest, path in paths.items())

    def forget(self, *references: str) -> None:
        """Remove images and, by the collection that --sync waits for, their content."""
        self.images("remove", "--sync", *references)

    def stop(self) -> None:
        self._daemon.stop()


def _says_server(suite: Suite, *version: str | Path) -> bool:
    """Whether a daemon tells its version: its socket is there a moment before it listens."""
    try:
        return "Server" in suite.run(*version)
    except ClientFailed:
        return False

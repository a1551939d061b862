"""The two generations of clients: Debian 12's, installed here, and those of a newer suite in a folder to chroot into.

Every client runs in a mount namespace of its own with an environment of its own: none reads the user's settings, and
whatever it mounts is gone when it ends.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

INSTALL = Path(__file__).parents[2] / ".ci" / "install"
CLIENT_SECONDS = 180  # longer than any client needs, shorter than anyone waits

# A suite in a folder gets this system's devices, and one folder of this system under its own path. In both suites
# /run and the cache of containers/image (which blob was seen in which repository) are ours.
ENTER = """
set -eu
root=$1 workspace=$2
shift 2
if [ "$root" != / ]; then
  mount --bind "$root" "$root"   # containerd wants its root to be a mount point
  for name in proc dev sys; do mount --rbind "/$name" "$root/$name"; done
  mount -t tmpfs tmpfs "$root/tmp"
  mkdir -p "$root$workspace"
  mount --bind "$workspace" "$root$workspace"
fi
mount -t tmpfs tmpfs "$root/run"
mkdir -p "$root/var/lib/containers"
mount --bind "$workspace/containers" "$root/var/lib/containers"
exec chroot "$root" "$@"
"""


class ClientFailed(AssertionError):
    pass


def tool_path(name: str) -> Path:
    """Where `.ci/install` put a tool; a missing one fails."""
    found = subprocess.run([INSTALL, "path", name], capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stderr
    return Path(found.stdout.strip())


@dataclass(frozen=True)
class Suite:
    root: Path
    workspace: Path

    def __post_init__(self) -> None:
        for name in ("tmp", "containers"):
            (self.workspace / name).mkdir(parents=True)

    @property
    def name(self) -> str:
        return self.workspace.name

    def folder(self, name: str) -> Path:
        """A new folder that the clients see under the same path."""
        path = self.workspace / f"{name}-{len(list(self.workspace.iterdir()))}"
        path.mkdir()
        return path

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": str(self.workspace),
            "TMPDIR": str(self.workspace / "tmp"),
            "LANG": "C.UTF-8",
            **more,
        }

    def command(self, *arguments: str | Path) -> list[str]:
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "enter"]
        return [*enter, str(self.root), str(self.workspace), *map(str, arguments)]

    def run(self, *arguments: str | Path, stdin: str = "", **environment: str) -> str:
        """Run a client to its end; returns what it printed to standard output."""
        return self.complete(*arguments, stdin=stdin, **environment).stdout

    def complete(self, *arguments: str | Path, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a client that must succeed."""
        completed = self._start(arguments, stdin, environment)
        if completed.returncode != 0:
            raise ClientFailed(_report(arguments, completed))
        return completed

    def refuse(self, *arguments: str | Path, stdin: str = "", **environment: str) -> str:
        """Run a client that must fail; returns what it said to standard error."""
        completed = self._start(arguments, stdin, environment)
        if completed.returncode == 0:
            raise ClientFailed(f"this should have failed:\n{_report(arguments, completed)}")
        return completed.stderr

    def _start(
        self, arguments: Sequence[str | Path], stdin: str, environment: dict[str, str]
    ) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            env=self.environment(**environment),
            input=stdin,
            capture_output=True,
            text=True,
            timeout=CLIENT_SECONDS,
            check=False,
        )


def _report(arguments: Sequence[str | Path], completed: subprocess.CompletedProcess[str]) -> str:
    tail = "\n".join((completed.stdout + completed.stderr).splitlines()[-40:])
    return f"{' '.join(map(str, arguments))}\nexit status {completed.returncode}\n{tail}"

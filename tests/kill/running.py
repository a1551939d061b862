"""Starts the server as a program of its own, waits until it is ready, and stops it or sees it killed."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.kill.client import Client, Unanswered, Unreachable
from tests.places import environment
from tests.waiting import wait_until

PYTHON = Path(sys.executable)
COMMAND = PYTHON.with_name("entrepot")
SECONDS_TO_STOP = 30


class RunningServer:
    """A server on the directory `storage`; its log goes to a file beside it."""

    def __init__(self, arguments: Sequence[str], storage: Path, log: Path, **settings: str) -> None:
        self.port = _free_port()
        self.log = log
        settings = {"ENTREPOT_PORT": str(self.port), **settings}
        with log.open("ab") as output:
            self.program = subprocess.Popen(
                arguments, env=_environment(storage, settings), stdin=subprocess.DEVNULL, stdout=output, stderr=output
            )

    def wait_ready(self) -> bool:
        """Wait until the server is ready; False when it ended before."""
        wait_until(lambda: self.program.poll() is not None or self._is_ready(), "the server is ready")
        return self.program.poll() is None

    def wait_killed(self) -> None:
        """Wait for the server to kill itself."""
        code = self.program.wait(SECONDS_TO_STOP)
        assert code == -signal.SIGKILL, f"the server ended with {code}: {self.log_end()}"

    def kill(self) -> None:
        self.program.kill()
        self.program.wait()

    def stop(self) -> None:
        self.program.terminate()
        try:
            code = self.program.wait(SECONDS_TO_STOP)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        assert code == 0, f"the server ended with {code}: {self.log_end()}"

    def log_end(self) -> str:
        return self.log.read_text()[-3000:]

    def _is_ready(self) -> bool:
        try:
            with Client(self.port) as client:
                return client.call("GET", "/readyz").status == 200
        except (Unreachable, Unanswered):
            return False


def start(storage: Path, log: Path, **settings: str) -> RunningServer:
    """Start the server as an operator does, and wait until it is ready."""
    server = RunningServer([str(COMMAND), "serve"], storage, log, **settings)
    assert server.wait_ready(), f"the server did not start: {server.log_end()}"
    return server


def check(storage: Path) -> str:
    """Run `entrepot check` and return what it finds wrong: nothing when all is well."""
    command = [str(COMMAND), "check", "--json"]
    settings = _environment(storage, {})
    done = subprocess.run(command, env=settings, capture_output=True, text=True, check=False, timeout=60)
    return "" if done.returncode == 0 else f"entrepot check: {done.returncode} {done.stdout}{done.stderr}"


def _environment(storage: Path, settings: dict[str, str]) -> dict[str, str]:
    place = environment(storage)  # first: it may start a server, whose credentials all that follow inherit
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENTREPOT_")}
    return inherited | place | settings


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])

"""The server under strace, which counts its system calls or makes them fail."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.kill import running
from tests.kill.running import RunningServer


def start(storage: Path, log: Path, calls: str, *options: str) -> RunningServer:
    """Start the server; strace stops it at the `calls` only, which keeps it quick."""
    strace = ["strace", "-f", "--seccomp-bpf", "-e", f"trace={calls}", *options]
    server = RunningServer([*strace, str(running.COMMAND), "serve"], storage, log)
    assert server.wait_ready(), server.log_end()
    return server


def stop(server: RunningServer) -> None:
    """Stop the traced server; strace ends with it and as it did."""
    children = Path(f"/proc/{server.program.pid}/task/{server.program.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGTERM)
    assert server.program.wait(running.SECONDS_TO_STOP) == 0, server.log_end()


@contextlib.contextmanager
def attached(server: RunningServer, calls: str, *options: str) -> Iterator[None]:
    """Trace the `calls` of a server that runs, all its threads, while the block lasts: it counts from here on."""
    command = ["strace", "-f", "-p", str(server.program.pid), "-e", f"trace={calls}", "-o", "/dev/null", *options]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as strace:
        try:
            assert strace.stderr is not None
            assert "attached" in strace.stderr.readline()
            yield
        finally:
            strace.terminate()

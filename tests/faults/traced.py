"""The server under strace, which counts its system calls or makes them fail."""

import os
import signal
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

"""What benchmarks start: servers on loopback ports of the kernel's choice, and commands whose cost is counted."""

import http.client
import os
import resource
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SERVER = Path(__file__).resolve().parents[1] / ".venv" / "bin" / "entrepot"
START_SECONDS = 30


@dataclass(frozen=True)
class Server:
    port: int
    pid: int

    def processor_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")  # utime and stime


@dataclass(frozen=True)
class Finished:
    """A command that has ended well; `began` and `ended` in Unix seconds."""

    began: float
    ended: float
    processor_seconds: float
    printed: str

    @property
    def seconds(self) -> float:
        return self.ended - self.began


def settings(folder: Path, extra: Mapping[str, str] | None = None) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ENTREPOT_")}
    return kept | {"ENTREPOT_DATA": str(folder), "ENTREPOT_LOG_FORMAT": "json"} | dict(extra or {})


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def send(
    port: int, method: str, path: str, body: bytes = b"", headers: Mapping[str, str] | None = None
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()


def is_ready(port: int) -> bool:
    try:
        return send(port, "GET", "/readyz")[0] == http.HTTPStatus.OK
    except OSError:
        return False


@contextmanager
def serving(folder: Path, extra: Mapping[str, str] | None = None) -> Iterator[Server]:
    """Run the server on the data in a folder, with settings besides the defaults."""
    port = free_port()
    with (folder.parent / f"{folder.name}.log").open("wb") as log:
        command = [str(SERVER), "serve", "--port", str(port)]
        server = subprocess.Popen(command, env=settings(folder, extra), stdout=log, stderr=log)
    try:
        deadline = time.monotonic() + START_SECONDS
        while not is_ready(port):
            if server.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"the server did not start:\n{Path(log.name).read_text()[-2000:]}")
            time.sleep(0.05)
        yield Server(port, server.pid)
    finally:
        server.terminate()
        server.wait(60)


def finish(command: Sequence[str], environment: Mapping[str, str]) -> Finished:
    """Run a command to its end. One that fails ends the benchmark."""
    before, began = processor_seconds_of_children(), time.time()
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    ended = time.time()
    if done.returncode:
        said = f"{done.stdout[-1000:]}{done.stderr[-2000:]}"
        raise SystemExit(f"{' '.join(command)} ended with {done.returncode}:\n{said}")
    return Finished(began, ended, processor_seconds_of_children() - before, done.stdout)


def processor_seconds_of_children() -> float:
    """Of those that were waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

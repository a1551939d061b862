"""Pushes small images at a steady rate until it is told to stop, and prints how long each took.

`python -m benchmarks.pushing PORT`; it stops at the end of its standard input.
"""

import hashlib
import http.client
import itertools
import json
import os
import select
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from benchmarks.images import MANIFEST_TYPE, make_manifest
from benchmarks.load import WrongAnswer
from storage.digest import Digest

REPOSITORY = "benchmark/pushed"
PUSHERS = 4
EVERY = 0.2  # seconds, by each pusher


@dataclass
class Pushes:
    """Begin (Unix seconds) and duration (seconds) of each, complete when the pushers have ended."""

    found: list[tuple[float, float]] = field(default_factory=list)

    def between(self, began: float, ended: float) -> list[float]:
        """The durations of those that began in that time."""
        return [seconds for begin, seconds in self.found if began <= begin < ended]


@contextmanager
def pushing(port: int) -> Iterator[Pushes]:
    """Push from another process while the block lasts."""
    command = [sys.executable, "-m", "benchmarks.pushing", str(port)]
    pushes = Pushes()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        yield pushes
        printed, _ = child.communicate()
    if child.returncode:
        raise SystemExit("the pusher has failed")
    pushes.found += json.loads(printed)


def push(connection: http.client.HTTPConnection, name: str) -> None:
    """A blob, and a manifest with a tag, each answered when it is durable. Raises WrongAnswer."""
    content = hashlib.sha256(name.encode()).digest() * 32
    config = Digest.of(content)
    _send(connection, "POST", f"/v2/{REPOSITORY}/blobs/uploads/?digest={config}", content, "application/octet-stream")
    manifest = make_manifest(config, len(content))
    _send(connection, "PUT", f"/v2/{REPOSITORY}/manifests/{name}", manifest, MANIFEST_TYPE)


def _send(connection: http.client.HTTPConnection, method: str, path: str, body: bytes, media_type: str) -> None:
    connection.request(method, path, body, {"Content-Type": media_type})
    response = connection.getresponse()
    answer = response.read()
    if response.status != http.HTTPStatus.CREATED:
        raise WrongAnswer(f"{method} {path}: {response.status} {answer!r}")


def _repeat(port: int, number: int, stop: threading.Event, found: list[tuple[float, float]]) -> None:
    """Turns that a long push has missed are not made up for: the load would tell of the time before."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    pause = number * EVERY / PUSHERS
    for count in itertools.count():
        if stop.wait(pause):
            break
        began = time.time()
        push(connection, f"{os.getpid()}-{number}-{count}")
        took = time.time() - began
        found.append((began, took))
        pause = max(0, EVERY - took)
    connection.close()


def main() -> None:
    port, stop = int(sys.argv[1]), threading.Event()
    found: list[tuple[float, float]] = []
    pushers = [threading.Thread(target=_repeat, args=(port, number, stop, found)) for number in range(PUSHERS)]
    for pusher in pushers:
        pusher.start()
    while not select.select([sys.stdin], [], [], 1)[0]:
        if not all(pusher.is_alive() for pusher in pushers):
            break
    is_whole = all(pusher.is_alive() for pusher in pushers)
    stop.set()
    for pusher in pushers:
        pusher.join()
    print(json.dumps(found))
    sys.exit(0 if is_whole else 1)


if __name__ == "__main__":
    main()

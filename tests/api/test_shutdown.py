"""The server as a program of its own: SIGTERM drains it within the stated time, whatever its clients do."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.api.content import digest_of, fresh_blob
from tests.api.wire import HOST, Call, Connection, head, send
from tests.places import environment, make_config
from tests.stored import read_rows
from tests.waiting import wait_until

COMMAND = Path(sys.executable).with_name("entrepot")
DRAIN_SECONDS = 2
SLACK_SECONDS = 5  # a busy machine; without a limit the server would wait for ever


class Program:
    """`entrepot serve` on `folder`, on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server((HOST, 0)) as probe:
            self.port = int(probe.getsockname()[1])
        self._folder = folder / "served"
        self.log = folder / "log"
        chosen = environment(self._folder) | {"ENTREPOT_DRAIN_SECONDS": str(DRAIN_SECONDS)}
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("ENTREPOT_")}
        with self.log.open("ab") as log:
            self._program = subprocess.Popen(
                [COMMAND, "serve", "--host", HOST, "--port", str(self.port)],
                env=inherited | chosen,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        wait_until(self.accepts, "the server listens")

    def accepts(self) -> bool:
        assert self._program.poll() is None, self.log.read_text()
        try:
            return send(self.port, Call("GET", "/readyz")).status == 200
        except ConnectionRefusedError:
            return False

    def has_writer(self) -> bool:
        return bool(read_rows(make_config(self._folder), "SELECT id FROM upload WHERE writer IS NOT NULL"))

    def signal(self, number: int) -> float:
        """Send a signal; returns when."""
        self._program.send_signal(number)
        return time.monotonic()

    def refuses(self) -> bool:
        try:
            with socket.create_connection((HOST, self.port)):
                return False
        except ConnectionError:
            return True

    def exit_status(self) -> int:
        return self._program.wait(DRAIN_SECONDS + SLACK_SECONDS)

    def kill(self) -> None:
        self._program.kill()
        self._program.wait()


@pytest.fixture
def program(tmp_path: Path) -> Iterator[Program]:
    program = Program(tmp_path)
    yield program
    program.kill()


def open_session(port: int) -> str:
    return send(port, Call("POST", "/v2/a/blobs/uploads/"))["Location"]


def half_sent(program: Program, location: str, content: bytes) -> Connection:
    """A connection on which half of a chunk was sent, and the server has begun to write it."""
    connection = Connection(program.port)
    call = Call("PATCH", location, [("Content-Length", str(len(content)))])
    connection.write(head(call, program.port) + content[: len(content) // 2])
    wait_until(program.has_writer, "the server writes")
    return connection


def test_requests_in_flight_are_finished(program: Program) -> None:
    """After SIGTERM nobody new is served; who goes on gets his answer; then the program ends with status 0."""
    content = fresh_blob(100_000)
    location = open_session(program.port)
    with half_sent(program, location, content) as connection, Connection(program.port) as idle:
        sent_at = program.signal(signal.SIGTERM)
        assert idle.read_to_end() == b""
        wait_until(program.refuses, "the server listens no more")
        connection.write(content[len(content) // 2 :])
        assert connection.read("PATCH").status == 202
        assert program.exit_status() == 0
    assert time.monotonic() - sent_at < DRAIN_SECONDS + SLACK_SECONDS


def test_stalled_clients_are_left_behind(program: Program, tmp_path: Path) -> None:
    """Clients that neither send nor read do not keep the program; their session goes on after the restart."""
    content, large = fresh_blob(100_000), fresh_blob(30 << 20)
    path = f"/v2/a/blobs/{digest_of(large)}"
    assert send(program.port, Call("POST", f"/v2/a/blobs/uploads/?digest={digest_of(large)}", body=large)).status == 201
    location = open_session(program.port)
    with half_sent(program, location, content) as stalled, Connection(program.port) as reader:
        reader.write(head(Call("GET", path), program.port))
        assert reader.receive(12) == b"HTTP/1.1 200"
        sent_at = program.signal(signal.SIGTERM)
        assert program.exit_status() == 0
        took = time.monotonic() - sent_at
        answer = stalled.read("PATCH")
        assert (answer.status, answer["Connection"]) == (503, "close")
    assert DRAIN_SECONDS - 0.5 < took < DRAIN_SECONDS + SLACK_SECONDS
    again = Program(tmp_path)
    try:
        assert send(again.port, Call("GET", location))["Range"] == "0-0"
        assert send(again.port, Call("PATCH", location, body=content)).status == 202
        assert send(again.port, Call("PUT", f"{location}?digest={digest_of(content)}")).status == 201
        assert send(again.port, Call("HEAD", path)).status == 200
    finally:
        again.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_idle_server_ends_at_once(program: Program, number: int) -> None:
    """Without requests in flight there is nothing to wait for; every line of its log is one JSON object."""
    with Connection(program.port) as kept:
        kept.write(head(Call("GET", "/v2/"), program.port))
        assert kept.read().status == 200
        sent_at = program.signal(number)
        assert program.exit_status() == 0
    assert time.monotonic() - sent_at < DRAIN_SECONDS
    lines = [json.loads(line) for line in program.log.read_text().splitlines()]
    (request,) = (line for line in lines if line["event"] == "request")
    assert (request["path"], request["status"], request["level"]) == ("/v2/", 200, "info")

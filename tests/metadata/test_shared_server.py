"""The server that the processes of a test run share: there while one of them uses it, gone after the last."""

import os
import signal
import subprocess
import sys
import uuid

import psycopg

from tests.servers.shared import ROOT
from tests.waiting import wait_until

_USE = "from tests.servers.postgres import find_postgres; print(find_postgres(), flush=True); input()"


def use(run: str) -> tuple[subprocess.Popen[str], str]:
    """A process that uses the run's server until something is written to it, and the server's address."""
    process = subprocess.Popen(
        [sys.executable, "-c", _USE],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "TEST_POSTGRES"}
        | {"PYTEST_XDIST_TESTRUNUID": run},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout
    return process, process.stdout.readline().strip()


def is_there(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def test_server_lives_as_long_as_its_users() -> None:
    """A second process finds the first one's server; it survives the first, however that ends, and not the second."""
    run = uuid.uuid4().hex
    first, address = use(run)
    second, found = use(run)
    assert address == found
    first.send_signal(signal.SIGKILL)
    first.communicate()
    assert is_there(address)
    second.communicate("\n")
    wait_until(lambda: not is_there(address), "the server has ended with its last user")

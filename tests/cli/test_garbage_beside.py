"""`entrepot garbage collect` beside a server, and after one that was killed."""

import shutil
from pathlib import Path

import pytest

from tests.cli.running import SECONDS, Server, entrepot, serving
from tests.places import only_on


@only_on("sqlite", "one server at a time: where there are several, tests/replicas has it")
@pytest.mark.usefixtures("filled")
def test_it_rests_after_a_server_that_was_killed(data: Path, tmp_path: Path) -> None:
    """Though no other server has begun since; --now goes ahead."""
    server = Server(data, tmp_path / "log")
    server.wait_listening()
    server.program.kill()
    server.program.wait(SECONDS)
    outcome = entrepot("garbage", "collect")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("entrepot: the collector rests until 20")
    assert entrepot("garbage", "collect", "--now").status == 0


@only_on("sqlite", "its file is copied")
@pytest.mark.usefixtures("filled")
def test_it_rests_after_a_restore(data: Path, tmp_path: Path) -> None:
    """A database that was copied to where it is may be older than its blobs: nothing goes before somebody looks."""
    with serving(data, tmp_path / "log"):
        pass
    database = data / "entrepot.db"
    assert entrepot("garbage", "collect").status == 0
    copy = database.with_suffix(".copy")
    shutil.copy(database, copy)
    copy.replace(database)
    outcome = entrepot("garbage", "collect")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert outcome.stderr.startswith("entrepot: the collector rests until 20")


@pytest.mark.usefixtures("filled")
def test_it_does_not_rest_beside_a_server(data: Path, tmp_path: Path) -> None:
    """A server that runs has not been killed."""
    with serving(data, tmp_path / "log"):
        outcome = entrepot("garbage", "collect")
        assert (outcome.status, outcome.stderr) == (0, "")


@pytest.mark.usefixtures("filled")
def test_it_is_refused_beside_a_server_with_another_window(data: Path, tmp_path: Path) -> None:
    """What the server would still give back would be gone; the message names both windows."""
    with serving(data, tmp_path / "log", ENTREPOT_UNDELETE_DAYS="30"):
        outcome = entrepot("garbage", "collect")
    assert (outcome.status, outcome.stdout) == (1, "")
    assert "started with ENTREPOT_UNDELETE_DAYS=30, and this command has 7" in outcome.stderr

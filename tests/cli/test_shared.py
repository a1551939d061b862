"""Commands on a registry that several servers serve: no owner's files, no lock, and no password on any screen."""

import json
import os
from pathlib import Path

import pytest

from registry.cli.banner import make_banner
from registry.cli.invocation import Refused
from registry.cli.opening import wait_reachable
from registry.cli.places import show_blobs, show_database, without_password
from registry.config import Config
from tests.api.conftest import _plain_logs
from tests.cli.running import Outcome, entrepot, serving
from tests.kill.client import Client
from tests.places import only_on
from tests.servers.postgres import drop_database, fresh_database
from tests.servers.seaweed import SeaweedServer, fresh_place, seaweed

__all__ = ["_plain_logs", "seaweed"]

_WHY = "these tests choose their place themselves"
pytestmark = [only_on("sqlite", _WHY), only_on("files", _WHY)]
SECRET = "sEcRet"  # noqa: S105 - nobody asks for it


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> str:
    """That of an empty PostgreSQL database, which the commands find in the environment."""
    url = fresh_database(is_migrated=False).replace("postgres@", f"postgres:{SECRET}@")
    monkeypatch.setenv("ENTREPOT_DATABASE", url)
    return url


@pytest.fixture
def bucket(seaweed: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> str:
    place = fresh_place(seaweed)
    storage = f"s3://{place.bucket}/{place.prefix}"
    monkeypatch.setenv("ENTREPOT_STORAGE", storage)
    monkeypatch.setenv("ENTREPOT_S3_ENDPOINT", place.endpoint)
    return storage


def run(*arguments: str) -> Outcome:
    outcome = entrepot(*arguments)
    assert SECRET not in outcome.stdout + outcome.stderr
    return outcome


@pytest.mark.parametrize("command", [("repository", "list"), ("check",), ("repository", "delete", "a", "--yes")])
def test_an_empty_database_is_no_registry(url: str, data: Path, command: tuple[str, ...]) -> None:
    """The database is asked, and stays empty; no directory is made."""
    outcome = run(*command)
    assert (outcome.status, outcome.stdout) == (1, "")
    shown = url.replace(SECRET, "***")
    assert outcome.stderr.startswith(f"entrepot: there is no registry in {shown} yet: `entrepot serve` makes one")
    assert "ENTREPOT_DATABASE" in outcome.stderr
    assert not data.exists()


def test_the_first_user_makes_the_registry(url: str, bucket: str) -> None:
    """On PostgreSQL and S3 as on files; the second one joins it. Every system user may do it: no file is anybody's."""
    assert "it is made now" in run("user", "add", "alice", "--admin").stderr
    outcome = entrepot("user", "add", "bob", uid=4_000_000)
    assert outcome.status == 0
    assert "it is made now" not in outcome.stderr
    users = json.loads(run("user", "list", "--json").stdout)["users"]
    assert [user["name"] for user in users] == ["alice", "bob"]
    assert url
    assert bucket


def test_sqlite_and_s3(data: Path, tmp_path: Path, bucket: str) -> None:
    """One server may keep its rows in a file and its blobs in a bucket."""
    settings = {name: os.environ[name] for name in ("ENTREPOT_STORAGE", "ENTREPOT_S3_ENDPOINT")}
    with serving(data, tmp_path / "log", **settings) as line, Client(int(str(line["port"]))) as client:
        assert str(line["blobs"]).startswith(bucket)
        assert client.call("GET", "/v2/").status == 200
        assert run("check").status == 0
        assert json.loads(run("garbage", "collect", "--json").stdout)
    assert not (data / "blobs").exists()


def test_a_server_is_seen_by_the_database(url: str, tmp_path: Path, data: Path) -> None:
    """A command knows that servers run by their rows; they are gone with them."""
    with serving(data, tmp_path / "log", ENTREPOT_DATABASE=url) as line:
        assert line["database"] == url.replace(SECRET, "***")
        assert servers() == "at least one runs"
        assert "ENTREPOT_UNDELETE_DAYS" in run_with_other_window().stderr
    assert servers() == "none runs"
    assert SECRET not in (tmp_path / "log").read_text()
    assert not (data / "entrepot.lock").exists()


def servers() -> str:
    found = json.loads(run("doctor", "--json").stdout)["findings"]
    return next(str(each["found"]) for each in found if each["subject"] == "server")


def run_with_other_window() -> Outcome:
    """Refused beside a server."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ENTREPOT_UNDELETE_DAYS", "3")
        return run("garbage", "collect")


def test_a_database_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its URL is told, without the password."""
    monkeypatch.setenv("ENTREPOT_DATABASE", f"postgresql://me:{SECRET}@127.0.0.1:9/x")
    outcome = run("repository", "list")
    assert outcome.status == 1
    assert outcome.stderr.startswith("entrepot: postgresql://me:***@127.0.0.1:9/x: the database cannot be used now")
    assert "Traceback" not in outcome.stderr


def test_a_server_does_not_wait_for_ever() -> None:
    """When patience ends it says what is not there, and who examines that."""
    config = Config(database=f"postgresql://me:{SECRET}@127.0.0.1:9/x")
    with pytest.raises(Refused) as refusal:
        wait_reachable(config, 0)
    assert str(refusal.value).startswith("postgresql://me:***@127.0.0.1:9/x: the database cannot be used now")
    assert str(refusal.value).endswith("`entrepot doctor` examines what stands in the way")


def test_nobody_waits_for_files(data: Path) -> None:
    """What is on this machine is there, or is made; nothing is opened to know that."""
    wait_reachable(Config(data=data), 0)
    assert not data.exists()


def test_an_embedded_database_is_not_made_by_waiting(data: Path, bucket: str) -> None:
    """Nor when its blobs are in a bucket, which is asked: a start that is refused leaves no directory behind."""
    wait_reachable(Config(data=data, storage=bucket, s3_endpoint=os.environ["ENTREPOT_S3_ENDPOINT"]), 0)
    assert not data.exists()


def test_a_database_that_is_gone(url: str) -> None:
    """It is told like one that was never there."""
    drop_database(url)
    outcome = run("repository", "list")
    assert outcome.status == 1
    assert "does not exist" in outcome.stderr


def test_a_bucket_that_cannot_be_reached(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The bucket and its endpoint are named, and what the store said."""
    assert run("user", "add", "alice", "--admin").status == 0
    monkeypatch.setenv("ENTREPOT_S3_ENDPOINT", "http://127.0.0.1:9")
    outcome = run("repository", "list")
    assert outcome.status == 1
    assert outcome.stderr.startswith(f"entrepot: {bucket} at http://127.0.0.1:9: the object store does not answer")


def test_another_registrys_bucket(url: str, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are named, and the settings to correct."""
    assert run("user", "add", "alice", "--admin").status == 0
    monkeypatch.setenv("ENTREPOT_DATABASE", fresh_database(is_migrated=False))
    outcome = run("user", "add", "bob", "--admin")
    assert outcome.status == 1
    assert bucket in outcome.stderr
    assert "set ENTREPOT_DATABASE and ENTREPOT_STORAGE to two that belong together" in outcome.stderr
    assert url


def test_no_password_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not in the table, not in the document, wherever the URL has it."""
    for given in (f"postgresql://me:{SECRET}@db/x", f"postgresql://db/x?user=me&password={SECRET}&sslmode=require"):
        monkeypatch.setenv("ENTREPOT_DATABASE", given)
        shown = given.replace(SECRET, "***")
        assert shown in run("config", "show").stdout
        assert shown in run("config", "show", "--json").stdout


def test_places_in_words() -> None:
    """What is printed of a database and of a bucket; messages of others lose the password as well."""
    config = Config(database=f"postgresql://me:{SECRET}@db/x", storage="s3://bucket/prefix")
    assert show_database(config) == "postgresql://me:***@db/x"
    assert show_blobs(config) == "s3://bucket/prefix"
    assert without_password(config, f"bad URL {config.database}!") == "bad URL postgresql://me:***@db/x!"
    banner = make_banner(config, "127.0.0.1", 5000, "1.0")
    assert "database  postgresql://me:***@db/x\n" in banner
    assert "blobs     s3://bucket/prefix\n" in banner
    assert "data  " not in banner


@pytest.mark.parametrize(
    "given", [f"me:{SECRET}@db/x y", f"me:{SECRET}/1@127.0.0.1:9/x", f"me:1{SECRET}@127.0.0.1:x/y"]
)
def test_a_url_that_nobody_can_read(given: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library repeats parts of what it does not understand: the password's are not shown."""
    monkeypatch.setenv("ENTREPOT_DATABASE", f"postgresql://{given}")
    assert run("repository", "list").status == 1

"""The database fails (F35 to F37 and F39 of the table of faults): nobody is let in, and nothing is done twice."""

import asyncio
import base64
import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import apsw
import psycopg
import pytest

from registry.app import Registry
from registry.identity import Actor
from registry.metadata import sqlite
from registry.metadata.postgres_connections import Connection
from tests import places
from tests.api.content import OCI_MANIFEST, Repository, digest_of, fresh_blob, image
from tests.api.running import running
from tests.api.wire import SECONDS, Reply
from tests.cli.running import Server
from tests.outside.client import Customer, ask, assert_unavailable
from tests.outside.conftest import QUIET, Office, behind
from tests.servers.postgres import PostgresServer, fresh_database
from tests.servers.proxy import TcpProxy
from tests.waiting import wait_until

PASSWORD = "correct horse battery"  # noqa: S105 - of a user of these tests
_OPERATOR = Actor("cli:root")


def basic(name: str, password: str = PASSWORD) -> tuple[str, str]:
    return ("Authorization", "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode())


@pytest.mark.fault("F35")
def test_f35_another_program_keeps_sqlite_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A push waits for a bounded time and is 503 then; pulls go on; it ends with the lock."""
    monkeypatch.setattr(sqlite, "_BUSY_MILLISECONDS", 300)
    with running(tmp_path, database="", storage=f"file://{tmp_path}/blobs", **QUIET) as server:
        customer = Customer(server)
        content = customer.store()
        with contextlib.closing(apsw.Connection(str(tmp_path / "entrepot.db"))) as other:
            other.execute("BEGIN IMMEDIATE")
            assert_unavailable(customer.push(fresh_blob()))
            assert customer.has(content)
            other.execute("ROLLBACK")
        assert customer.has(customer.store())


EVERYTHING = [
    ("GET", "/v2/{name}/manifests/v1"),
    ("HEAD", "/v2/{name}/manifests/v1"),
    ("GET", "/v2/{name}/blobs/{blob}"),
    ("HEAD", "/v2/{name}/blobs/{blob}"),
    ("GET", "/v2/{name}/tags/list"),
    ("GET", "/v2/{name}/referrers/{blob}"),
    ("GET", "/v2/_catalog"),
    ("GET", "/v2/"),
    ("POST", "/v2/{name}/blobs/uploads/"),
    ("DELETE", "/v2/{name}/manifests/v1"),
    ("GET", "/token?scope=repository:{name}:pull"),
    ("GET", "/readyz"),
]


def ask_everything(office: Office, *headers: tuple[str, str]) -> Iterator[Reply]:
    names = {"name": office.customer.repository.name, "blob": digest_of(b"")}
    for method, path in EVERYTHING:
        yield ask(office.server, method, path.format(**names), *headers)


@pytest.mark.fault("F37")
def test_f37_a_database_that_is_gone_lets_nobody_in(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything is 503, with and without credentials, wrong ones too; it comes back by itself, as it was."""
    monkeypatch.setattr("registry.metadata.postgres_connections._PAUSE_SECONDS", 0.05)
    office.customer.push_image("v1")
    asyncio.run(add_admin(office, "alice"))
    bearer = log_in(office, "alice", "repository:x/y:pull,push")
    assert ask(office.server, "POST", "/v2/x/y/blobs/uploads/", bearer).status == 202
    office.database.refuse()
    for headers in ((), (basic("alice"),), (basic("alice", "wrong"),), (bearer,)):
        for reply in ask_everything(office, *headers):
            assert_unavailable(reply)
    assert ask(office.server, "GET", "/healthz").status == 200
    office.database.heal()
    wait_until(lambda: ask(office.server, "GET", "/readyz").status == 200, "the database is found again")
    assert ask(office.server, "POST", "/v2/x/y/blobs/uploads/", bearer).status == 202
    assert ask(office.server, "POST", "/v2/x/y/blobs/uploads/").status == 401
    assert ask(office.server, "POST", "/v2/x/y/blobs/uploads/", basic("alice", "wrong")).status == 401


def log_in(office: Office, name: str, scope: str) -> tuple[str, str]:
    """The header with a token."""
    challenge = ask(office.server, "GET", "/v2/")["WWW-Authenticate"]
    service = challenge.partition('service="')[2].partition('"')[0]
    reply = ask(office.server, "GET", f"/token?service={service}&scope={scope}", basic(name))
    return ("Authorization", f"Bearer {reply.json['token']}")


async def add_admin(office: Office, name: str) -> None:
    registry = Registry(places.make_config(office.server.folder, database=office.url))
    try:
        await registry.identities.add_user(name, PASSWORD, _OPERATOR, is_admin=True)
    finally:
        registry.close()


@pytest.mark.fault("F36")
def test_f36_a_lost_connection_costs_one_attempt(office: Office) -> None:
    """Connections that are reset while nothing happens are made again: nobody hears of it."""
    manifest = office.customer.push_image("v1")
    office.database.cut()
    assert office.customer.ask("GET", "manifests/v1").body == manifest
    office.database.cut()
    office.customer.push_image("v2")


@pytest.mark.fault("F36")
@pytest.mark.parametrize("to", [b"BEGIN", b"COMMIT"], ids=["first statement", "commit"])
def test_f36_a_lost_answer_is_no_lost_push(office: Office, to: bytes) -> None:
    """The database has done it, or not, and nobody heard: the client gets its 201, and it is done once."""
    config = office.customer.store(fresh_blob())
    manifest = image(config)
    office.database.lose_answer(to + b" ISOLATION LEVEL SERIALIZABLE" if to == b"BEGIN" else to)
    reply = office.customer.ask("PUT", "manifests/v1", ("Content-Type", OCI_MANIFEST), body=manifest)
    assert office.database.is_lost.is_set()
    assert reply.status == 201
    with psycopg.connect(office.url) as connection:
        tags = connection.execute("SELECT count(*) FROM tag").fetchone()
        pushes = connection.execute("SELECT count(*) FROM change WHERE action = 'tag.set'").fetchone()
    assert (tags, pushes) == ((1,), (1,))


@pytest.mark.fault("F36")
def test_f36_a_database_that_lets_nobody_in(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Too many connections, a failover, a password that was changed: 503 until it is over."""
    monkeypatch.setattr("registry.metadata.postgres_connections._PAUSE_SECONDS", 0.05)
    office.customer.push_image("v1")
    base, _, name = office.url.rpartition("/")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false".encode())
        office.database.cut()
        for reply in ask_everything(office):
            assert_unavailable(reply)
        connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true".encode())
    wait_until(lambda: ask(office.server, "GET", "/readyz").status == 200, "connections are made again")
    office.customer.push_image("v2")


@pytest.mark.fault("F36")
def test_f36_a_database_that_is_read_only(office: Office) -> None:
    """Pulls are served, pushes are 503, until it may be written to again."""
    manifest = office.customer.push_image("v1")
    base, _, name = office.url.rpartition("/")
    with psycopg.connect(f"{base}/postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on".encode())
        office.database.cut()
        assert_unavailable(office.customer.push(fresh_blob()))
        assert_unavailable(ask(office.server, "GET", "/readyz"))
        assert office.customer.ask("GET", "manifests/v1").body == manifest
        connection.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only".encode())
        office.database.cut()
    office.customer.push_image("v2")


@pytest.mark.fault("F36")
def test_f36_a_database_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits for it is told in time; who needs it not is served meanwhile; it goes on where it stood."""
    monkeypatch.setattr(Connection, "patience", 1.0)
    monkeypatch.setattr("registry.metadata.postgres_connections._PAUSE_SECONDS", 0.05)
    url = fresh_database()
    with TcpProxy(urlsplit(url).port or 0) as proxy:
        settings = {"database": f"{behind(url, proxy)}?connect_timeout=2", "storage": f"file://{tmp_path}/blobs"}
        with running(tmp_path, **settings, **QUIET) as server:
            customer = Customer(server)
            customer.push_image("v1")
            proxy.hang()
            replies: list[Reply] = []
            asking = [threading.Thread(target=lambda: replies.append(customer.ask("GET", "tags/list"))) for _ in "1234"]
            for each in asking:
                each.start()
            assert ask(server, "GET", "/healthz").status == 200
            for each in asking:
                each.join()
            assert len(replies) == len(asking)
            for reply in replies:
                assert_unavailable(reply)
            proxy.heal()
            wait_until(lambda: customer.ask("GET", "tags/list").status == 200, "the database answers again")
            wait_until(lambda: ask(server, "GET", "/readyz").status == 200, "it can be written to again")
            customer.push_image("v2")


@pytest.fixture(scope="module")
def own_server() -> Iterator[PostgresServer]:
    """One that the tests may stop."""
    server = PostgresServer()
    try:
        yield server
    finally:
        server.remove()


@pytest.mark.fault("F36")
def test_f36_a_database_that_is_restarted(own_server: PostgresServer, tmp_path: Path) -> None:
    """What was acknowledged is there, what was not says so, and the server needs no restart."""
    url = fresh_database(own_server)
    with running(tmp_path, database=url, storage=f"file://{tmp_path}/blobs", **QUIET) as server:
        customer = Customer(server)
        manifest = customer.push_image("v1")
        own_server.stop()
        assert_unavailable(customer.push(fresh_blob()))
        assert_unavailable(customer.ask("GET", "manifests/v1"))
        own_server.start()
        wait_until(lambda: ask(server, "GET", "/readyz").status == 200, "the database is found again")
        assert customer.ask("GET", "manifests/v1").body == manifest
        customer.push_image("v2")


@pytest.mark.fault("F39")
def test_f39_every_server_reads_what_any_has_written(tmp_path: Path) -> None:
    """A change that one server has acknowledged is what the other one answers with, at once."""
    url, settings = fresh_database(), {"storage": f"file://{tmp_path}/blobs", **QUIET}
    with (
        running(tmp_path / "one", database=url, **settings) as one,
        running(tmp_path / "two", database=url, **settings) as two,
    ):
        mine, yours = Customer(one), Customer(two)
        yours.repository = Repository(two, mine.repository.name)
        for number in range(10):
            manifest = mine.push_image("v1")
            assert yours.ask("GET", "manifests/v1").body == manifest
            assert yours.ask("PUT", f"manifests/{number}", ("Content-Type", OCI_MANIFEST), body=manifest).status == 201
            assert str(number) in mine.ask("GET", "tags/list").json["tags"]
            assert mine.ask("DELETE", "manifests/v1").status == 202
            assert yours.ask("HEAD", "manifests/v1").status == 404


@pytest.mark.fault("F37")
def test_f37_a_server_waits_for_a_database_that_is_not_up_yet(tmp_path: Path) -> None:
    """Started together with its database it says what it waits for, and serves when that is there."""
    url, log = fresh_database(), tmp_path / "log"
    with TcpProxy(urlsplit(url).port or 0) as proxy:
        proxy.refuse()
        server = Server(tmp_path / "data", log, ENTREPOT_DATABASE=behind(url, proxy))
        try:
            wait_until(lambda: '"event": "waiting"' in log.read_text(), "it says that it waits")
            proxy.heal()
            wait_until(lambda: '"event": "listening"' in log.read_text(), "it serves")
        finally:
            server.program.terminate()
            assert server.program.wait(SECONDS) == 0, log.read_text()

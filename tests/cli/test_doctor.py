"""`entrepot doctor`: what it finds, what it advises, and that it leaves nothing behind."""

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from registry.doctor import DatabaseDoctor, Diagnosis, fine
from registry.errors import Unavailable
from registry.identity import milliseconds_now
from registry.metadata import schema
from registry.metadata.database import Transaction
from registry.metadata.sqlite import SqliteDatabase
from tests.api.conftest import _plain_logs
from tests.certificates import make_pair
from tests.cli.conftest import Filled
from tests.cli.running import Outcome, entrepot, serving
from tests.places import only_on
from tests.servers.postgres import fresh_database
from tests.servers.s3_proxy import Answer, S3Proxy
from tests.servers.seaweed import SeaweedServer, fresh_place, seaweed
from tests.waiting import wait_until

__all__ = ["_plain_logs", "seaweed"]

T = TypeVar("T")
_WHY = "other places are set by the tests of the doctor themselves"
pytestmark = [only_on("sqlite", _WHY), only_on("files", _WHY)]


def findings(outcome: Outcome, grade: str = "") -> dict[str, str]:
    """What was found of each subject, of one grade or of all; several findings stand in lines."""
    found: dict[str, str] = {}
    for each in json.loads(outcome.stdout)["findings"]:
        if grade in ("", each["grade"]):
            found[each["subject"]] = "\n".join(filter(None, [found.get(each["subject"], ""), each["found"]]))
    return found


def examine(status: int = 0) -> Outcome:
    outcome = entrepot("doctor", "--json")
    assert outcome.status == status, outcome.stdout + outcome.stderr
    return outcome


def test_where_nothing_is_yet_all_is_well(data: Path) -> None:
    """The default settings on a fresh machine are fine, and nothing is made by looking."""
    outcome = entrepot("doctor")
    assert outcome.status == 0
    assert outcome.stdout.endswith("all is well\n")
    assert "protected mode: only this machine is served" in outcome.stdout
    assert not data.exists()


def test_a_registry_is_examined_and_left_as_it_was(filled: Filled) -> None:
    """Database, blobs, room and access; every file is the same afterwards."""
    before = contents(filled.data)
    found = findings(examine())
    assert {"settings", "database", "schema", "server", "blobs", "access"} <= found.keys()
    assert "they belong to this database" in found["blobs"]
    assert contents(filled.data) == before


class LostLater(SqliteDatabase):
    """It can be read so many times."""

    left = 0

    async def read(self, work: Callable[[Transaction], T]) -> T:
        if self.left == 0:
            raise Unavailable("the database is lost")
        self.left -= 1
        return await super().read(work)


def test_a_database_that_is_lost_meanwhile(tmp_path: Path) -> None:
    """Whenever that is, nobody is told that all is well, nor that there is another version's schema."""
    database = LostLater(tmp_path / "entrepot.db")

    async def look() -> tuple[list[Diagnosis], list[Diagnosis]]:
        await database.write(schema.migrate)
        await database.write(lambda tx: schema.get_or_make_instance(tx, "instance", "123456789012", 0))
        doctor = DatabaseDoctor(database, milliseconds_now, 10)
        lost: list[Diagnosis] = []
        for reads in range(10):
            database.left = reads
            found = await doctor.examine()
            if database.left:
                return lost, found
            lost.append(found[-1])
        raise AssertionError("it reads more than it has to")

    lost, found = asyncio.run(look())
    database.close()
    assert {each.found for each in lost[:-1]} == {"the database is lost"}
    assert lost[-1] == found[-1] == fine("schema", "this version's, registry 123456789012")


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_beside_a_server(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It says that a server runs, and asks it at the public URL."""
    with serving(data, tmp_path / "log") as line:
        monkeypatch.setenv("ENTREPOT_PUBLIC_URL", f"http://127.0.0.1:{line['port']}")
        found = findings(examine())
        assert found["server"] == "at least one runs"
        assert found["public URL"].endswith("/v2/ answers 200")
        monkeypatch.setenv("ENTREPOT_PUBLIC_URL", "http://127.0.0.1:9")
        assert "127.0.0.1:9" in findings(examine(1), "broken")["public URL"]
    assert "127.0.0.1:9" in findings(examine(), "warning")["public URL"]


def test_another_registrys_blobs_are_told(filled: Filled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A volume that is not mounted, or another one."""
    monkeypatch.setenv("ENTREPOT_STORAGE", f"file://{tmp_path}/elsewhere")
    assert "elsewhere" in findings(examine(1), "broken")["blobs"]
    assert "no room" not in contents(filled.data)


def test_an_exposed_registry_without_users_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As `serve` says it, with what to do; passwords on an open line are a warning."""
    monkeypatch.setenv("ENTREPOT_HOST", "0.0.0.0")  # noqa: S104 - what is warned of
    outcome = entrepot("doctor")
    assert outcome.status == 1
    assert "protected mode: nobody can log in yet" in outcome.stdout
    assert "1 broken" in outcome.stdout
    assert entrepot("user", "add", "alice", "--admin").status == 0
    found = findings(examine(), "warning")
    assert "unencrypted" in found["certificate"]
    assert data.exists()


def test_a_certificate_that_cannot_be_served_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file is named."""
    monkeypatch.setenv("ENTREPOT_TLS_CERT", str(tmp_path / "absent.pem"))
    monkeypatch.setenv("ENTREPOT_TLS_KEY", str(tmp_path / "absent.key"))
    assert "absent.pem" in findings(examine(1), "broken")["certificate"]


def test_a_database_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is told without its password, and the rest is examined."""
    monkeypatch.setenv("ENTREPOT_DATABASE", "postgresql://me:sEcRet@127.0.0.1:9/x?connect_timeout=2")
    outcome = examine(1)
    assert "sEcRet" not in outcome.stdout + outcome.stderr
    assert "postgresql://me:***@127.0.0.1:9/x" in findings(outcome, "broken")["database"]
    assert "access" in findings(outcome)


@pytest.mark.parametrize(
    ("days", "public_url", "grade", "said"),
    [
        (90, "https://localhost", "fine", "valid until"),
        (90, "https://127.0.0.1:5000", "fine", "valid until"),
        (90, "https://registry.example", "broken", "it is for localhost, 127.0.0.1, not for registry.example"),
        (5, "https://localhost", "warning", "valid until"),
        (-1, "https://localhost", "broken", "valid until"),
    ],
)
def test_certificates(
    days: float, public_url: str, grade: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How long, and for which names."""
    chain, key = make_pair(days=days).write(tmp_path / "tls")
    monkeypatch.setenv("ENTREPOT_TLS_CERT", str(chain))
    monkeypatch.setenv("ENTREPOT_TLS_KEY", str(key))
    monkeypatch.setenv("ENTREPOT_PUBLIC_URL", public_url)
    assert said in findings(entrepot("doctor", "--json"), grade)["certificate"]


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> str:
    """The URL of a fresh PostgreSQL database, with a password that nobody asks for."""
    url = fresh_database(is_migrated=False).replace("postgres@", "postgres:sEcRet@")
    monkeypatch.setenv("ENTREPOT_DATABASE", url)
    return url


@pytest.mark.usefixtures("shared")
def test_postgresql(monkeypatch: pytest.MonkeyPatch) -> None:
    """Version, encoding, clock, durability and connections; before and after there is a registry."""
    assert findings(examine())["schema"] == "no registry yet: `entrepot serve` makes it"
    assert entrepot("user", "add", "alice", "--admin").status == 0
    outcome = examine()
    found = findings(outcome)
    assert {"version", "encoding", "clock", "connections"} <= found.keys()
    assert "fsync is off" in findings(outcome, "warning")["durability"]
    assert "sEcRet" not in outcome.stdout
    monkeypatch.setenv("ENTREPOT_DATABASE_CONNECTIONS", "200")
    assert "enough for 1" in findings(examine(), "warning")["connections"]


@pytest.fixture
def bucket(seaweed: SeaweedServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Proxy]:
    place = fresh_place(seaweed)
    with S3Proxy(urlsplit(place.endpoint).port or 0) as proxy:
        monkeypatch.setenv("ENTREPOT_STORAGE", f"s3://{place.bucket}/{place.prefix}")
        monkeypatch.setenv("ENTREPOT_S3_ENDPOINT", proxy.endpoint)
        yield proxy


def test_a_bucket(bucket: S3Proxy) -> None:
    """What it can do is tried out, and nothing of it stays."""
    found = findings(examine())["bucket"]
    for told in ("multipart", "conditional writes", "redirects", "clean-up"):
        assert told in found
    made = objects_of(bucket, "PutObject", "CompleteMultipartUpload")
    assert made
    wait_until(lambda: made <= objects_of(bucket, "DeleteObject"), "the last answer is noted, too")


def objects_of(bucket: S3Proxy, *operations: str) -> set[str]:
    """Those that were made, or removed, by one of the operations."""
    return {call.key for call in bucket.calls if call.status in (200, 204) and call.operation in operations}


def test_a_bucket_that_refuses(bucket: S3Proxy) -> None:
    """The reason is told once, with what to correct."""
    bucket.break_(Answer(403, "InvalidAccessKeyId"))
    outcome = examine(1)
    assert "access key" in findings(outcome, "broken")["bucket"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"S3_REDIRECTS": "off"}, "off: all blobs pass through the server"),
        ({"HOST": "0.0.0.0", "ANONYMOUS": "pull"}, "is this machine only"),  # noqa: S104 - what is warned of
        ({"PUBLIC_URL": "https://r.example", "S3_PUBLIC_ENDPOINT": "http://s3.example"}, "unencrypted"),
        ({"PUBLIC_URL": "https://r.example", "S3_PUBLIC_ENDPOINT": "https://s3.r.example"}, "bring their token"),
        ({"S3_PUBLIC_ENDPOINT": "http://seaweed:8333"}, "short name"),
        ({"S3_PUBLIC_ENDPOINT": "https://s3.example"}, "clients get large blobs from https://s3.example"),
    ],
)
def test_redirects(settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether clients will reach the store and be served there follows from the names."""
    monkeypatch.setenv("ENTREPOT_STORAGE", "s3://entrepot/here")
    monkeypatch.setenv("ENTREPOT_S3_ENDPOINT", "http://127.0.0.1:9")
    for name, value in settings.items():
        monkeypatch.setenv(f"ENTREPOT_{name}", value)
    assert said in findings(entrepot("doctor", "--json"))["redirects"]

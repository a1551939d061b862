"""What requests for manifests ask of a database behind a network: one query each."""

import base64
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.api.content import OCI_MANIFEST, digest_of, fresh_blob, fresh_name, image
from tests.api.running import RunningServer, running
from tests.api.wire import Reply
from tests.outside.client import ask
from tests.outside.conftest import QUIET, behind
from tests.servers.postgres import fresh_database
from tests.servers.proxy import TcpProxy

ADMIN, PASSWORD = "root", "correct horse battery"
BASIC = ("Authorization", "Basic " + base64.b64encode(f"{ADMIN}:{PASSWORD}".encode()).decode())
TYPE = ("Content-Type", OCI_MANIFEST)


@dataclass(frozen=True, slots=True)
class Library:
    """A server with an admin, where everybody may pull, and what it asks its database."""

    server: RunningServer
    database: TcpProxy

    def ask(self, method: str, path: str, *headers: tuple[str, str]) -> tuple[Reply, int]:
        """The answer, and how many queries it took."""
        heard: list[bytes] = []
        self.database.heard = heard
        reply = ask(self.server, method, path, *headers)
        self.database.heard = None
        return reply, sum(map(is_about_content, heard))


def is_about_content(sent: bytes) -> bool:
    """Whether it is a query that a request can make; others are asked by what runs beside them."""
    return sent[:1] == b"Q" and b"READ ONLY" in sent and (b"access_epoch" in sent or b"manifest" in sent)


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Library]:
    folder: Path = tmp_path_factory.mktemp("library")
    (folder / "password").write_text(PASSWORD)
    url = fresh_database()
    with TcpProxy(urlsplit(url).port or 0) as proxy:
        settings = {"database": behind(url, proxy), "storage": f"file://{folder}/blobs", "anonymous": "pull"}
        settings |= {"admin_user": ADMIN, "admin_password_file": str(folder / "password")}
        with running(folder, **QUIET, **settings) as server:
            yield Library(server, proxy)


@pytest.fixture
def manifest(library: Library) -> str:
    """The path of a manifest that nobody has asked for yet."""
    path = f"/v2/{fresh_name()}/manifests/1"
    blobs = f"{path.rpartition('/manifests')[0]}/blobs/uploads/?digest="
    config = fresh_blob()
    assert ask(library.server, "POST", blobs + digest_of(config), BASIC, body=config).status == 201
    assert ask(library.server, "PUT", path, BASIC, TYPE, body=image(config)).status == 201
    return path


def bearer(library: Library, path: str) -> tuple[str, str]:
    name = path.removeprefix("/v2/").partition("/manifests")[0]
    challenge = ask(library.server, "GET", "/v2/")["WWW-Authenticate"]
    service = challenge.partition('service="')[2].partition('"')[0]
    reply = ask(library.server, "GET", f"/token?service={service}&scope=repository:{name}:pull", BASIC)
    return ("Authorization", f"Bearer {reply.json['token']}")


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_one_query_for_a_manifest(library: Library, manifest: str, method: str) -> None:
    """Name, digest, visibility and the epoch of access are one query; bytes are asked for once."""
    first, count = library.ask("GET", manifest)
    assert (first.status, count) == (200, 2)
    digest = f"{manifest.rpartition('/')[0]}/{first['Docker-Content-Digest']}"
    for path in (manifest, digest):
        reply, count = library.ask(method, path)
        assert (reply.status, count) == (200, 1)
        assert reply["Docker-Content-Digest"] == first["Docker-Content-Digest"]
        assert reply["Content-Length"] == str(len(first.body))
        assert reply.body == (first.body if method == "GET" else b"")


def test_one_query_with_a_token(library: Library, manifest: str) -> None:
    """Once the rights of who asks are known here."""
    token = bearer(library, manifest)
    assert library.ask("GET", manifest, token)[0].status == 200
    reply, count = library.ask("GET", manifest, token)
    assert (reply.status, count) == (200, 1)


def test_one_query_for_what_is_not_there(library: Library, manifest: str) -> None:
    """Nor does it take more to say so."""
    reply, count = library.ask("GET", f"{manifest}-of-another-name")
    assert (reply.status, reply.code, count) == (404, "MANIFEST_UNKNOWN", 1)

"""Rows that only the registry's own edge can keep: with uvicorn's HTTP these fail."""

from collections.abc import Iterator

import pytest

from tests.api.test_transport import HOST, NO_HTTP
from tests.api.watching import WatchedServer
from tests.api.wire import Reply, keep_laws


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[WatchedServer]:
    """Each refusal is held against the oracle."""
    server = WatchedServer(tmp_path_factory.mktemp("edge"), edge="on")
    yield server
    server.stop()


def refuse(server: WatchedServer, sent: bytes) -> Reply:
    """What is answered before the connection ends; nothing is stored."""
    with server.refusing(), server.connect() as connection:
        connection.write(sent)
        reply = connection.read()
        keep_laws("GET", reply)
        assert connection.read_to_end() == b""
    return reply


@pytest.mark.input(7)
@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("host", ["localhost", "evil.example"])
def test_an_absolute_target(server: WatchedServer, method: str, host: str) -> None:
    """It names a host of its own, and nobody can say which one counts: 400."""
    target = f"{method} http://{host}/v2/_catalog HTTP/1.1\r\n".encode()
    reply = refuse(server, target + HOST + b"Content-Length: 0\r\n\r\n")
    assert (reply.status, reply.code) == (400, "UNSUPPORTED")


@pytest.mark.input(21)
@pytest.mark.parametrize("sent", NO_HTTP.values(), ids=NO_HTTP)
def test_the_words_of_a_refusal(server: WatchedServer, sent: bytes) -> None:
    """What is no HTTP is refused in the specification's words, too."""
    assert refuse(server, sent).code == "UNSUPPORTED"

"""`entrepot serve` with a certificate: HTTPS on real sockets, renewal while it runs, and what is refused."""

import contextlib
import http.client
import json
import signal
import socket
import ssl
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from registry.cli.banner import make_banner
from registry.config import Config, ConfigInvalid
from registry.sources import load
from storage.digest import Digest
from tests.certificates import Pair, make_pair, make_rsa_pair, replace, trusting
from tests.cli.running import SECONDS, Server, entrepot, program
from tests.waiting import wait_until

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Secure:
    """A running server with the pair in `folder`, which clients may trust."""

    server: Server
    port: int
    url: str
    folder: Path

    @contextlib.contextmanager
    def connect(self, *pairs: Pair) -> Iterator[http.client.HTTPSConnection]:
        connection = http.client.HTTPSConnection(HOST, self.port, timeout=SECONDS, context=trusting(*pairs))
        connection.connect()
        yield connection
        connection.close()

    def served(self, *pairs: Pair) -> bytes | None:
        """The certificate that a new client gets, who trusts all the pairs."""
        with self.connect(*pairs) as connection:
            return shown(connection)

    def log(self) -> list[dict[str, Any]]:
        """Without the duties that it takes, now or later, where there may be several servers."""
        lines = [json.loads(line) for line in self.server.log.read_text().splitlines()]
        return [line for line in lines if line["event"] != "duty taken"]

    def ask_to_reload(self, event: str) -> None:
        self.server.program.send_signal(signal.SIGHUP)
        wait_until(lambda: f'"{event}"' in self.server.log.read_text(), f"the log says: {event}")


@contextlib.contextmanager
def serving_tls(data: Path, pair: Pair) -> Iterator[Secure]:
    folder = data.parent / "tls"
    chain, key = pair.write(folder)
    server = Server(data, data.parent / "log", ENTREPOT_TLS_CERT=str(chain), ENTREPOT_TLS_KEY=str(key))
    try:
        line = server.wait_listening()
        yield Secure(server, int(str(line["port"])), str(line["url"]), folder)
    finally:
        server.program.terminate()
        status = server.program.wait(SECONDS)
    assert status == 0, server.log.read_text()


def shown(connection: http.client.HTTPSConnection) -> bytes | None:
    assert isinstance(connection.sock, ssl.SSLSocket)
    return connection.sock.getpeercert(binary_form=True)


def ask(
    connection: http.client.HTTPSConnection, method: str, path: str, body: bytes = b"", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    connection.request(method, path, body, headers)
    response = connection.getresponse()
    return response, response.read()


def test_https_is_served(data: Path) -> None:
    """The announced URL is one of https, and a blob goes there and back, on connections that are kept and that end."""
    pair = make_pair()
    content = bytes(range(256)) * (4 << 12)
    with serving_tls(data, pair) as secure, secure.connect(pair) as connection:
        assert secure.url == f"https://{HOST}:{secure.port}"
        assert ask(connection, "GET", "/v2/")[0].status == 200
        digest = Digest.of(content)
        assert ask(connection, "POST", f"/v2/demo/blobs/uploads/?digest={digest}", content)[0].status == 201
        for sort in ("keep-alive", "close"):
            response, received = ask(connection, "GET", f"/v2/demo/blobs/{digest}", Connection=sort)
            assert (response.status, received == content) == (200, True)


def test_a_hangup_signal_takes_the_new_pair(data: Path) -> None:
    """After SIGHUP new connections get the new certificate, of another kind of key; open ones go on."""
    old, new = make_pair(), make_rsa_pair()
    with serving_tls(data, old) as secure, secure.connect(old) as connection:
        new.write(secure.folder)
        secure.ask_to_reload("certificate reloaded")
        assert secure.served(old, new) == new.der
        assert ask(connection, "GET", "/v2/")[0].status == 200
        assert shown(connection) == old.der


def test_a_broken_pair_keeps_the_old_one(data: Path) -> None:
    """What cannot be served is told in one error, and the old certificate stays."""
    pair = make_pair()
    with serving_tls(data, pair) as secure:
        replace(secure.folder / "tls.key", make_pair().key)
        secure.ask_to_reload("certificate not reloaded")
        assert secure.served(pair) == pair.der
        (error,) = (line for line in secure.log() if line["level"] == "error")
        assert "is not the key of the certificate" in error["problem"]
        assert "exception" not in error


def test_strangers_at_the_door(data: Path) -> None:
    """Plain HTTP, noise and silence get no answer, no line in the log, and hold up nobody."""
    pair = make_pair()
    with serving_tls(data, pair) as secure, socket.create_connection((HOST, secure.port)):
        for noise in (b"GET /v2/ HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x16\x03\x01\xff\xff" + bytes(64), b"\n"):
            with socket.create_connection((HOST, secure.port), timeout=SECONDS) as stranger:
                stranger.sendall(noise)
                stranger.shutdown(socket.SHUT_WR)
                with contextlib.suppress(ConnectionResetError):
                    assert not stranger.recv(4096).startswith(b"HTTP")
        with secure.connect(pair) as connection:
            assert ask(connection, "GET", "/v2/")[0].status == 200
        wait_until(lambda: '"request"' in secure.server.log.read_text(), "the request is logged")
        assert [line["event"] for line in secure.log()] == ["listening", "request"]


def test_idle_clients_do_not_hold_up_the_end(data: Path) -> None:
    """A client that keeps its connection and reads nothing is told the end, and is not waited for."""
    pair = make_pair()
    with serving_tls(data, pair) as secure, secure.connect(pair) as idle:
        assert ask(idle, "GET", "/v2/")[0].status == 200
        secure.server.program.terminate()
        assert secure.server.program.wait(SECONDS) == 0
        assert [line["event"] for line in secure.log()] == ["listening", "request", "stopping", "stopped"]
        assert idle.sock.recv(1) == b""  # said in TLS: a connection that breaks off would raise


@pytest.mark.parametrize("case", ["another key", "encrypted", "absent"])
def test_an_unusable_pair_is_refused_at_the_start(data: Path, case: str) -> None:
    """One message that says what to do, no traceback, and no directory made."""
    pair, said = {
        "another key": (Pair(make_pair().chain, make_pair().key, b""), "is not the key of the certificate in"),
        "encrypted": (make_pair(password=b"secret"), "is encrypted, and nobody is there to type its password"),
        "absent": (make_pair(), "cannot be read: No such file or directory. ENTREPOT_TLS_KEY names a PEM file"),
    }[case]
    chain, key = pair.write(data.parent / "tls")
    if case == "absent":
        key.unlink()
    outcome = program("serve", "--tls-cert", str(chain), "--tls-key", str(key), ENTREPOT_DATA=str(data))
    assert outcome.status == 1
    assert outcome.stderr.startswith(f"entrepot: {key} {said}")
    assert "Traceback" not in outcome.stderr
    assert not data.exists()


def test_one_of_both_is_refused(tmp_path: Path) -> None:
    """A certificate without a key, or a key alone, is an error that names the other, as its source spells it."""
    outcome = entrepot("serve", "--tls-cert", "tls.crt")
    assert (outcome.status, outcome.stderr) == (1, "entrepot: --tls-cert needs --tls-key too: set both, or neither\n")
    with pytest.raises(ConfigInvalid) as problem:
        load(environment={"ENTREPOT_TLS_KEY": "tls.key"})
    assert str(problem.value) == "ENTREPOT_TLS_KEY needs ENTREPOT_TLS_CERT too: set both, or neither"
    file = tmp_path / "entrepot.toml"
    file.write_text('tls_cert = "tls.crt"\n')
    with pytest.raises(ConfigInvalid) as problem:
        load(file, environment={})
    assert str(problem.value) == f"tls_cert in {file} needs tls_key too: set both, or neither"
    assert load(file, {"tls_key": "tls.key"}, {})[0].scheme == "https"


def test_the_banner_and_the_settings_show_it() -> None:
    """The URL begins with https, nobody is told to get TLS, and the paths are shown from the root on."""
    config = Config(anonymous="push", tls_cert=Path("tls.crt"), tls_key=Path("tls.key"))
    everywhere = "0.0.0.0"  # noqa: S104 - a text
    banner = make_banner(config, everywhere, 5000, "1.0")
    assert "serves container images at https://0.0.0.0:5000\n" in banner
    assert "TLS" not in banner
    assert "ENTREPOT_TLS_CERT" in make_banner(Config(anonymous="push"), everywhere, 5000, "1.0")
    table = entrepot("config", "show", "--tls-cert", "tls.crt", "--tls-key", "tls.key").stdout
    assert str(Path("tls.crt").absolute()) in table
    assert "(unset)" in entrepot("config", "show").stdout

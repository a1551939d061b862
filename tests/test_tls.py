"""The server's certificate: which pairs are taken, what a handshake gets, and when the files are read again."""

import asyncio
import contextlib
import os
import ssl
from collections.abc import MutableMapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from registry.identity import milliseconds_now
from registry.tls import Certificate, CertificateInvalid
from tests.certificates import Pair, make_pair, make_rsa_pair, replace, trusting
from tests.waiting import wait_until

INTERVAL_SECONDS = 0.01


def open_pair(folder: Path, pair: Pair) -> Certificate:
    return Certificate(*pair.write(folder), milliseconds_now, interval_seconds=INTERVAL_SECONDS)


def shake_hands(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """A handshake in memory. Returns the client's end; raises what either end raises."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    waiting = list(ends)
    for end in ends * 5:
        if end in waiting:
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
                waiting.remove(end)
    assert waiting == []
    return ends[0]


def served(certificate: Certificate, *pairs: Pair) -> bytes | None:
    """The certificate that a new client gets, who trusts all the pairs."""
    return shake_hands(certificate.context, trusting(*pairs)).getpeercert(binary_form=True)


def test_a_handshake_is_modern(tmp_path: Path) -> None:
    """TLS 1.3 and HTTP/1.1 for who can; TLS 1.2 with forward secrecy and authenticated encryption for who cannot."""
    pair = make_pair()
    certificate = open_pair(tmp_path, pair)
    client = trusting(pair)
    client.set_alpn_protocols(["h2", "http/1.1"])
    connection = shake_hands(certificate.context, client)
    assert (connection.version(), connection.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    connection = shake_hands(certificate.context, client)
    assert connection.version() == "TLSv1.2"
    assert (connection.cipher() or ("",))[0].startswith("ECDHE-ECDSA-AES256-GCM")
    client.set_ciphers("ECDHE+AES128:!AESGCM:!AESCCM")  # authenticated by a separate hash
    with pytest.raises(ssl.SSLError, match="NO_SHARED_CIPHER"):
        shake_hands(certificate.context, client)


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated:DeprecationWarning")
def test_tls_1_1_is_refused(tmp_path: Path) -> None:
    """A client that can speak nothing newer gets no connection, though another server would talk to it."""
    pair = make_pair()
    certificate = open_pair(tmp_path, pair)
    client = trusting(pair)
    lenient = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    lenient.load_cert_chain(tmp_path / "tls.crt", tmp_path / "tls.key")
    for context in (client, lenient):
        context.minimum_version = ssl.TLSVersion.TLSv1_1
        context.set_ciphers("ALL:@SECLEVEL=0")
    client.maximum_version = ssl.TLSVersion.TLSv1_1
    assert shake_hands(lenient, client).version() == "TLSv1.1"
    with pytest.raises(ssl.SSLError, match="UNSUPPORTED_PROTOCOL"):
        shake_hands(certificate.context, client)


def test_a_new_pair_is_taken(tmp_path: Path) -> None:
    """Unchanged files are left alone; of changed ones the next handshake gets the certificate, and the log knows."""
    old, new = make_pair(days=60), make_pair(days=90)
    certificate = open_pair(tmp_path, old)
    assert not certificate.look()
    new.write(tmp_path)
    assert served(certificate, old, new) == old.der
    with capture_logs() as lines:
        assert certificate.look()
        assert not certificate.look()
    assert served(certificate, old, new) == new.der
    assert [line["event"] for line in lines] == ["certificate reloaded"]
    left = datetime.fromisoformat(str(lines[0]["not_after"])) - datetime.now(UTC)
    assert round(left.total_seconds() / 86_400) == 90


@pytest.mark.parametrize("is_first_rsa", [True, False])
def test_a_new_kind_of_key(tmp_path: Path, is_first_rsa: bool) -> None:
    """The old certificate is gone, also for clients that like its kind of key better."""
    old, new = (make_rsa_pair(), make_pair()) if is_first_rsa else (make_pair(), make_rsa_pair())
    certificate = open_pair(tmp_path, old)
    new.write(tmp_path)
    assert certificate.look()
    assert served(certificate, old, new) == new.der


def test_a_switched_link_is_noticed(tmp_path: Path) -> None:
    """Kubernetes renews a secret by one link to another folder; the names of the files lead through it."""
    old, new = make_pair(), make_pair()
    old.write(tmp_path / "1")
    new.write(tmp_path / "2")
    link = tmp_path / "current"
    link.symlink_to("1")
    certificate = Certificate(link / "tls.crt", link / "tls.key", milliseconds_now)
    (tmp_path / "next").symlink_to("2")
    (tmp_path / "next").replace(link)
    assert certificate.look()
    assert served(certificate, old, new) == new.der


def test_a_half_written_pair_waits(tmp_path: Path) -> None:
    """While only one file is the new one the old pair is served, with one error; then the new one is taken."""
    old, new = make_pair(), make_pair()
    certificate = open_pair(tmp_path, old)
    replace(tmp_path / "tls.crt", new.chain)
    with capture_logs() as lines:
        assert [certificate.look() for _ in range(3)] == [False] * 3
        assert served(certificate, old, new) == old.der
        replace(tmp_path / "tls.key", new.key)
        assert certificate.look()
    assert served(certificate, old, new) == new.der
    assert [(line["log_level"], line["event"]) for line in lines] == [
        ("error", "certificate not reloaded"),
        ("info", "certificate reloaded"),
    ]
    assert "is not the key of the certificate" in str(lines[0]["problem"])


def test_files_that_vanish_and_come_back(tmp_path: Path) -> None:
    """The old pair stays; a second absence is told again, and each time that an operator asks."""
    pair = make_pair()
    certificate = open_pair(tmp_path, pair)
    key, elsewhere = tmp_path / "tls.key", tmp_path / "elsewhere"
    with capture_logs() as lines:
        for _ in range(2):
            key.rename(elsewhere)
            assert not certificate.look()
            assert not certificate.look()
            elsewhere.rename(key)
            assert not certificate.look()
        key.rename(elsewhere)
        assert not certificate.reload()
        assert not certificate.reload()
    assert served(certificate, pair) == pair.der
    assert [line["event"] for line in lines] == ["certificate not reloaded"] * 4


def test_the_watch_looks_by_itself(tmp_path: Path) -> None:
    """A change is found within the interval, several times, until the watch is cancelled."""
    pairs = [make_pair() for _ in range(3)]

    def is_served(certificate: Certificate, pair: Pair) -> bool:
        return served(certificate, *pairs) == pair.der

    async def follow() -> None:
        certificate = open_pair(tmp_path, pairs[0])
        watch = asyncio.create_task(certificate.watch())
        for pair in pairs[1:]:
            pair.write(tmp_path)
            await asyncio.to_thread(wait_until, partial(is_served, certificate, pair), "the new certificate is served")
        watch.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watch

    with capture_logs():
        asyncio.run(follow())


def test_the_watch_reloads_when_asked(tmp_path: Path) -> None:
    """Without waiting for the interval, and whether or not the files look changed."""

    async def ask() -> list[MutableMapping[str, Any]]:
        certificate = Certificate(*make_pair().write(tmp_path), milliseconds_now, interval_seconds=3600)
        watch = asyncio.create_task(certificate.watch())
        with capture_logs() as lines:
            certificate.reload_soon()
            await asyncio.to_thread(wait_until, lambda: bool(lines), "the log has a line")
        watch.cancel()
        return lines

    assert [line["event"] for line in asyncio.run(ask())] == ["certificate reloaded"]


@pytest.mark.parametrize(
    ("days", "events"),
    [
        (15, []),
        (13, ["certificate expires soon"]),
        (-1, ["certificate has expired: clients refuse it"]),
    ],
)
def test_expiry_is_told_when_a_pair_is_loaded(tmp_path: Path, days: int, events: list[str]) -> None:
    """Within 14 days of the end there is a warning at each load, but not at each look; it is served all the same."""
    with capture_logs() as lines:
        certificate = open_pair(tmp_path, make_pair(days=days))
        certificate.look()
    assert [line["event"] for line in lines] == events
    with capture_logs() as lines:
        assert certificate.reload()
    assert [line["event"] for line in lines] == ["certificate reloaded", *events]


def test_one_file_may_hold_both(tmp_path: Path) -> None:
    """The certificate and its key in one file, named twice."""
    pair = make_pair()
    both = tmp_path / "both.pem"
    both.write_bytes(pair.key + pair.chain)
    assert served(Certificate(both, both, milliseconds_now), pair) == pair.der


def unusable() -> dict[str, tuple[bytes, bytes, str]]:
    one, other, rsa = make_pair(), make_pair(), make_rsa_pair()
    encrypted = make_pair(password=b"secret")
    broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
    return {
        "another key": (one.chain, other.key, "tls.key is not the key of the certificate in "),
        "another kind of key": (one.chain, rsa.key, "tls.key is not the key of the certificate in "),
        "encrypted": (encrypted.chain, encrypted.key, "tls.key is encrypted, and nobody is there to type its password"),
        "no key": (one.chain, one.chain, "tls.key holds no private key in PEM form"),
        "half a key": (one.chain, one.key[:100], "tls.key holds no private key in PEM form"),
        "no certificate": (one.key, one.key, "tls.crt holds no certificate in PEM form"),
        "DER": (one.der, one.key, "tls.crt holds no certificate in PEM form"),
        "a broken issuer": (one.chain + broken, one.key, "tls.crt holds no certificate in PEM form"),
        "half an issuer": (one.chain + rsa.chain[:300], one.key, "is nothing that OpenSSL would serve: bad end line"),
        "empty": (b"", b"", "tls.crt holds no certificate in PEM form"),
    }


def test_what_is_no_pair(tmp_path: Path) -> None:
    """The message names the file that is wrong, and what it should be."""
    chain, key = tmp_path / "tls.crt", tmp_path / "tls.key"
    for case, (chain_content, key_content, message) in unusable().items():
        chain.write_bytes(chain_content)
        key.write_bytes(key_content)
        with pytest.raises(CertificateInvalid) as problem:
            Certificate(chain, key, milliseconds_now)
        assert message in str(problem.value), case


def test_what_is_no_file(tmp_path: Path) -> None:
    """A missing file, a folder and a pipe are told, with the setting; nobody waits for the pipe's other end."""
    chain, key = make_pair().write(tmp_path)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for path, said in [
        (tmp_path / "none", "none cannot be read: No such file or directory. ENTREPOT_TLS_"),
        (tmp_path, f"{tmp_path} is no regular file: ENTREPOT_TLS_"),
        (pipe, f"{pipe} is no regular file: ENTREPOT_TLS_"),
    ]:
        for pair, setting in [((path, key), "CERT names"), ((chain, path), "KEY names")]:
            with pytest.raises(CertificateInvalid) as problem:
                Certificate(*pair, milliseconds_now)
            assert f"{said}{setting}" in str(problem.value)

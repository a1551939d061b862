"""TLS: the server's certificate, read again when its files change. Knows nothing of HTTP."""

import asyncio
import contextlib
import ssl
import stat
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NoReturn, TypeAlias

import structlog
from cryptography import x509

from registry.identity import Clock

log: structlog.stdlib.BoundLogger = structlog.get_logger()

_INTERVAL_SECONDS = 5.0
_WARNING = timedelta(days=14)
_WARNING_EVERY = 24 * 3_600_000  # milliseconds
# TLS 1.2 only with forward secrecy and authenticated encryption; the suites of TLS 1.3 are all of that kind.
_CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
_MISMATCHES = ("KEY_VALUES_MISMATCH", "KEY_TYPE_MISMATCH", "NO_CERTIFICATE_ASSIGNED")

Stamp: TypeAlias = tuple[tuple[int, ...] | None, ...]


class CertificateInvalid(Exception):
    """The message names the file, says what is wrong with it and what to do."""


class _KeyEncrypted(Exception):
    pass


class _Connection(ssl.SSLObject):
    def unwrap(self) -> None:
        """Say that no more comes, without waiting for the client to say the same (RFC 8446, section 6.1).

        Many clients keep an idle connection without reading from it: a server that stops would wait for each of them.
        """
        with contextlib.suppress(ssl.SSLWantReadError):
            super().unwrap()


class Certificate:
    """A certificate chain and its private key, PEM files both; `context` serves what they held when last looked at.

    `watch` looks every `interval_seconds`. The constructor raises CertificateInvalid.
    """

    def __init__(self, chain: Path, key: Path, clock: Clock, *, interval_seconds: float = _INTERVAL_SECONDS) -> None:
        self._chain = chain
        self._key = key
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._is_asked = asyncio.Event()
        self._complaint = ""
        self._warned_at = 0
        self._seen = self._stamp()
        self._current, self._expires_at = self._load()
        # Each handshake is handed over to the current pair's own context. Loaded into one and the same context a new
        # pair could stand beside the old one: OpenSSL keeps a certificate for each type of key.
        self.context = _make_context()
        self.context.sni_callback = self._hand_over
        self.context.sslobject_class = _Connection
        self._warn_of_expiry()

    async def watch(self) -> None:
        """Look at the files again and again until cancelled."""
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._interval_seconds):
                    await self._is_asked.wait()
            is_asked = self._is_asked.is_set()
            self._is_asked.clear()
            try:
                await asyncio.to_thread(self.reload if is_asked else self.look)
            except Exception:  # a bug of ours must not end the watch: the next certificate may be fine
                log.exception("certificate not reloaded")

    def reload_soon(self) -> None:
        """Let `watch` read the files now, changed or not. For the event loop's thread."""
        self._is_asked.set()

    def look(self) -> bool:
        """Reload if the files are not those that were loaded. A problem is logged once, and tried again each time."""
        if self._stamp() != self._seen:
            return self._replace()
        self._complaint = ""
        if self._clock() - self._warned_at >= _WARNING_EVERY:
            self._warn_of_expiry()
        return False

    def reload(self) -> bool:
        """Take what the files hold. Where that is unusable the log says why, the old pair stays, and it is False."""
        self._complaint = ""
        return self._replace()

    def _replace(self) -> bool:
        seen = self._stamp()  # before the files are read: what changes from here on the next look finds
        try:
            self._current, self._expires_at = self._load()
        except CertificateInvalid as problem:
            self._complain(str(problem))
            return False
        self._seen, self._complaint = seen, ""
        log.info("certificate reloaded", file=str(self._chain), not_after=_text(self._expires_at))
        self._warn_of_expiry()
        return True

    def _complain(self, problem: str) -> None:
        if problem != self._complaint:
            log.error("certificate not reloaded", problem=problem, old_not_after=_text(self._expires_at))
        self._complaint = problem

    def _hand_over(self, connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _load(self) -> tuple[ssl.SSLContext, datetime]:
        """Returns a context of its own for the pair, and when the certificate expires. Raises CertificateInvalid."""
        expires_at = _read_expiry(_read(self._chain, "ENTREPOT_TLS_CERT"), self._chain)
        _read(self._key, "ENTREPOT_TLS_KEY")
        context = _make_context()
        try:
            context.load_cert_chain(self._chain, self._key, _refuse_to_decrypt)
        except _KeyEncrypted:
            raise CertificateInvalid(
                f"{self._key} is encrypted, and nobody is there to type its password: give the key without one"
                f" (openssl pkey -in {self._key} -out FILE), readable only for the server's user"
            ) from None
        except ssl.SSLError as problem:
            raise CertificateInvalid(self._explain(problem)) from None
        except OSError as problem:  # it was readable a moment ago
            raise CertificateInvalid(f"{self._chain}, {self._key}: {problem.strerror}") from None
        return context, expires_at

    def _explain(self, problem: ssl.SSLError) -> str:
        if problem.reason in _MISMATCHES:
            return (
                f"{self._key} is not the key of the certificate in {self._chain}: give two that were made for each"
                " other; in the chain the server's own certificate comes first, then those of its issuers"
            )
        reason = (problem.reason or "").replace("_", " ").lower()
        if reason in ("", "pem lib"):
            return f"{self._key} holds no private key in PEM form (-----BEGIN PRIVATE KEY-----), or a damaged one"
        return f"{self._chain} with {self._key} is nothing that OpenSSL would serve: {reason}. Have a new pair made"

    def _stamp(self) -> Stamp:
        """Differs when a file, or where a symbolic link to it leads, has changed."""
        return _stamp_one(self._chain), _stamp_one(self._key)

    def _warn_of_expiry(self) -> None:
        self._warned_at = self._clock()
        left = self._expires_at - datetime.fromtimestamp(self._clock() / 1000, UTC)
        if left < _WARNING:
            event = "certificate expires soon" if left > timedelta() else "certificate has expired: clients refuse it"
            log.warning(event, file=str(self._chain), not_after=_text(self._expires_at))


def _make_context() -> ssl.SSLContext:
    # Not ssl.create_default_context: it would write the session keys to a file when SSLKEYLOGFILE says so.
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.options |= ssl.OP_NO_RENEGOTIATION
    context.set_ciphers(_CIPHERS)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _refuse_to_decrypt() -> NoReturn:
    """In place of OpenSSL, which would ask for a password on the terminal."""
    raise _KeyEncrypted


def _read(path: Path, setting: str) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # to read a pipe could take for ever, and works only once
            raise CertificateInvalid(f"{path} is no regular file: {setting} names a PEM file, to be read again later")
        return path.read_bytes()
    except OSError as problem:
        who = " by the server's user" if isinstance(problem, PermissionError) else ""
        raise CertificateInvalid(
            f"{path} cannot be read: {problem.strerror}. {setting} names a PEM file that is readable{who}"
        ) from None


def _read_expiry(chain: bytes, path: Path) -> datetime:
    try:
        return x509.load_pem_x509_certificates(chain)[0].not_valid_after_utc
    except (ValueError, x509.InvalidVersion):
        raise CertificateInvalid(
            f"{path} holds no certificate in PEM form (-----BEGIN CERTIFICATE-----), or a damaged one"
        ) from None


def _stamp_one(path: Path) -> tuple[int, ...] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _text(instant: datetime) -> str:
    return instant.strftime("%Y-%m-%dT%H:%M:%SZ")

"""OIDC federation: id tokens of CI systems, checked with their issuers' keys (OpenID Connect Core and Discovery).

Only an issuer that a trust rule names is ever asked for anything, and not more than once in 30 seconds, whatever
tokens come. Keys that were got once are kept for as long as the issuer does not answer.
"""

import asyncio
import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from typing import Any, TypeAlias
from urllib.parse import urlsplit

import structlog
import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection

from registry.access.id_tokens import IdToken, IdTokenInvalid, explain
from registry.access.jwks import Key, KeySet, KeysInvalid, decode_object, parse_keys, show
from registry.access.trusts import TrustRule, is_fetchable
from registry.errors import Unavailable
from registry.identity import Clock

__all__ = ["Federation", "Fetch", "FetchFailed", "IdTokenInvalid", "KeysInvalid", "fetch", "parse_keys"]

log: structlog.stdlib.BoundLogger = structlog.get_logger()

Fetch: TypeAlias = Callable[[str], bytes]  # blocking; raises FetchFailed

_STALE_AFTER = 3_600_000  # milliseconds
_REFRESH_INTERVAL = 30_000  # milliseconds, from the start of one fetch to the next
_MOST_FETCHES = 2  # at once; they run in the threads that also read files
_WAIT_SECONDS = 12  # for both documents; only a name server can be slower than that

_FETCH_SECONDS = 5.0
_MOST_BYTES = 1 << 20
_OK = 200


class FetchFailed(Exception):
    """The message says why a document could not be had."""


def fetch(url: str, seconds: float = _FETCH_SECONDS) -> bytes:
    """The body of a 200, of at most 1 MiB, within `seconds` of time; redirects are not followed. Raises FetchFailed."""
    if not is_fetchable(url):
        raise FetchFailed(f"{show(url)} is not an https:// URL")
    until = time.monotonic() + seconds
    try:
        content = _get(url, until)
    except (urllib3.exceptions.HTTPError, HTTPException, OSError, ValueError) as problem:
        if time.monotonic() < until:
            raise FetchFailed(f"{show(url)}: {problem}") from problem
    if time.monotonic() >= until:  # then the answer was cut, and may seem to be whole
        raise FetchFailed(f"{show(url)}: the answer took longer than {seconds:g} seconds")
    return content


@dataclass(slots=True)
class _Keyring:
    """What is known of an issuer's keys, and since when (Unix milliseconds)."""

    keys: KeySet | None = None
    got_at: int = 0
    tried_at: int | None = None
    refresh: asyncio.Task[None] | None = None

    @property
    def is_refreshing(self) -> bool:
        return self.refresh is not None and not self.refresh.done()

    def is_stale(self, now: int) -> bool:
        return not 0 <= now - self.got_at < _STALE_AFTER

    def may_refresh(self, now: int) -> bool:
        return self.tried_at is None or not 0 <= now - self.tried_at < _REFRESH_INTERVAL

    def find(self, token: IdToken) -> Key | None:
        """Raises IdTokenInvalid."""
        return token.find_key(self.keys) if self.keys else None


class Federation:
    """Checks id tokens, and keeps the keys of the issuers whose tokens came. To be used from one event loop."""

    def __init__(self, clock: Clock, fetch: Fetch = fetch) -> None:
        self._clock = clock
        self._fetch = fetch
        self._keyrings: dict[str, _Keyring] = {}
        self._slots = asyncio.Semaphore(_MOST_FETCHES)

    async def verify(self, token: str, rules: Sequence[TrustRule]) -> tuple[dict[str, Any], list[int]]:
        """The claims, and the indexes of the rules that believe them, at least one.

        Raises IdTokenInvalid; Unavailable if the issuer's keys were never got and cannot be got now.
        """
        parsed = IdToken.parse(token)
        trusting = [rule for rule in rules if rule.issuer == parsed.claims.get("iss")]
        if not trusting:
            raise IdTokenInvalid(f"no trust rule has the issuer {show(parsed.claims.get('iss'))}")
        vouching = await self._vouching(parsed, trusting[0].issuer, {rule.keys for rule in trusting})
        parsed.check_claims(self._clock() / 1000)
        judging = [rule for rule in trusting if rule.keys in vouching]
        believing = [index for index, rule in enumerate(rules) if rule in judging and rule.believes(parsed.claims)]
        if not believing:
            raise IdTokenInvalid(f"no trust rule believes the token: {explain(parsed.claims, judging)}")
        return parsed.claims, believing

    async def _vouching(self, token: IdToken, issuer: str, sources: Iterable[str]) -> set[str]:
        """Which sources of keys prove the token: the key sets of rules, or "", the issuer itself.

        What one rule's keys prove is nothing to another rule. Raises IdTokenInvalid, Unavailable if none proves it.
        """
        vouching = set()
        problems: list[IdTokenInvalid | Unavailable] = []
        for source in sorted(sources):
            try:
                token.check_signature(_own_key(source, token) if source else await self._issuers_key(issuer, token))
                vouching.add(source)
            except (IdTokenInvalid, Unavailable) as problem:
                problems.append(problem)
        if not vouching:
            raise next((problem for problem in problems if isinstance(problem, Unavailable)), problems[0])
        return vouching

    async def _issuers_key(self, issuer: str, token: IdToken) -> Key | None:
        """Raises IdTokenInvalid, Unavailable."""
        keyring = self._keyrings.setdefault(issuer, _Keyring())
        # While one request refreshes stale keys, the others do with them.
        is_first = keyring.is_stale(self._clock()) and not keyring.is_refreshing
        if is_first:
            await self._refresh(issuer, keyring)
        key = keyring.find(token)
        if key is None and not is_first:
            await self._refresh(issuer, keyring)
            key = keyring.find(token)
        if keyring.keys is None:
            raise Unavailable("the keys of the id token's issuer cannot be fetched now: try again", is_public=True)
        return key

    async def _refresh(self, issuer: str, keyring: _Keyring) -> None:
        """Fetch the keys, or wait for the fetch under way. Nothing happens if the last one was too recent."""
        now = self._clock()
        if not keyring.is_refreshing and keyring.may_refresh(now):
            keyring.tried_at = now
            keyring.refresh = asyncio.create_task(self._replace_keys(issuer, keyring))
        if keyring.refresh is not None:
            # It is a task: a client that hangs up must not take the keys from those who wait with it.
            await asyncio.wait({keyring.refresh}, timeout=_WAIT_SECONDS)

    async def _replace_keys(self, issuer: str, keyring: _Keyring) -> None:
        try:
            async with self._slots:
                keys = await asyncio.to_thread(_load, issuer, self._fetch)
        except (FetchFailed, KeysInvalid) as problem:
            has_old = keyring.keys is not None
            log.warning("keys of issuer not fetched", issuer=issuer, problem=str(problem), has_old_keys=has_old)
        except Exception:
            log.exception("keys of issuer not fetched", issuer=issuer)  # a bug of ours; the old keys serve on
        else:
            if keys.skipped and (keyring.keys is None or keys.skipped != keyring.keys.skipped):
                log.warning("keys of issuer skipped", issuer=issuer, skipped=keys.skipped)
            keyring.keys, keyring.got_at = keys, self._clock()


def _load(issuer: str, fetch: Fetch) -> KeySet:
    """Raises FetchFailed, KeysInvalid."""
    discovery = fetch(f"{issuer.rstrip('/')}/.well-known/openid-configuration")
    document = decode_object(discovery, "the discovery document")
    if document.get("issuer") != issuer:
        raise KeysInvalid(f"the issuer in the discovery document is {show(document.get('issuer'))}")
    jwks_uri = document.get("jwks_uri")
    if not isinstance(jwks_uri, str) or not is_fetchable(jwks_uri):
        raise KeysInvalid(f"the jwks_uri {show(jwks_uri)} is not an https:// URL")
    if urlsplit(issuer).scheme == "https" and urlsplit(jwks_uri).scheme != "https":
        raise KeysInvalid(f"the jwks_uri {show(jwks_uri)} is not https, but the issuer is")
    return parse_keys(fetch(jwks_uri))


@lru_cache(maxsize=64)
def _own_keys(source: str) -> KeySet:
    return parse_keys(source.encode())


def _own_key(source: str, token: IdToken) -> Key | None:
    """From a rule's own key set. Raises IdTokenInvalid."""
    try:
        return token.find_key(_own_keys(source))
    except KeysInvalid as problem:
        raise IdTokenInvalid(f"the keys of the trust rule: {problem}") from None


def _get(url: str, until: float) -> bytes:
    target = urllib3.util.parse_url(url)
    with contextlib.closing(_connection(target, until - time.monotonic())) as connection:
        connection.connect()
        with _cut_at(until, connection.sock):
            headers = {"Accept": "application/json", "Accept-Encoding": "identity", "User-Agent": "entrepot"}
            connection.request("GET", target.request_uri, headers=headers, preload_content=False, decode_content=False)
            response = connection.getresponse()
            content = _read(response) if response.status == _OK else b""
        response.close()
    if response.status != _OK:
        raise FetchFailed(f"{show(url)}: the answer is {response.status}, not {_OK}")
    if len(content) > _MOST_BYTES:
        raise FetchFailed(f"{show(url)}: the answer is larger than {_MOST_BYTES} bytes")
    return content


def _read(response: urllib3.HTTPResponse) -> bytes:
    """The body, or a byte more than is allowed. Only a read after the last byte says that there should be more."""
    content = b""
    while len(content) <= _MOST_BYTES and (piece := response.read(_MOST_BYTES + 1 - len(content))):
        content += piece
    return content


def _connection(target: urllib3.util.Url, seconds: float) -> HTTPConnection:
    host = target.host or ""
    if target.scheme == "https":
        # Made anew each time: so it trusts the system's certificates, or those of SSL_CERT_FILE, as they are now.
        return HTTPSConnection(host, target.port, timeout=seconds, ssl_context=ssl.create_default_context())
    return HTTPConnection(host, target.port, timeout=seconds)


@contextlib.contextmanager
def _cut_at(until: float, connected: socket.socket | None) -> Iterator[None]:
    """Cut the connection when the time is over: the socket's own timeout begins again with each byte that comes."""

    def cut() -> None:
        with contextlib.suppress(OSError):
            if connected is not None:
                connected.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(0, until - time.monotonic()), cut)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()

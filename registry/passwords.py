"""People's passwords and robots' secrets: hashed, checked, remembered for minutes; and htpasswd files read.

A check takes tens of milliseconds and 19 MiB, so it runs in a few threads of its own with a bounded queue. How long it
takes must not say whether the user exists: all checks that fail do the same work, on a decoy where nothing is stored.
"""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import re
import secrets
import threading
import unicodedata
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import argon2
import bcrypt
from argon2.exceptions import VerifyMismatchError

from registry.errors import TooManyRequests
from registry.identity import Clock

T = TypeVar("T")

# What OWASP's Password Storage Cheat Sheet asks for at least: 19 MiB hurt a graphics card that guesses, and a small
# machine can still check two passwords at once.
_MEMORY_KIB, _PASSES, _LANES, _SALT_BYTES, _DIGEST_BYTES = 19_456, 2, 1, 16, 32
# Exactly what can be checked, also with other parameters than today's: what does not match gets the decoy's work. The
# digits bound the memory of a stored hash to 98 MiB.
_ARGON2ID = re.compile(
    r"\$argon2id\$v=19\$m=[1-9][0-9]{3,4},t=[1-9],p=[1-9]"
    r"\$[A-Za-z0-9+/]{21}[AQgw]\$[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]",
    re.ASCII,
)
_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{31}", re.ASCII)
BCRYPT = "$2"  # how its hashes begin
_BCRYPT_COSTS = range(4, 15)  # each step doubles the work; 14 takes about a second, and a thread for as long
_BCRYPT_MOST_BYTES = 72  # it does not look at more, so any password with the same beginning would do

_LEAST_CHARACTERS = 8
_MOST_BYTES = 1024

_REMEMBERED = 5 * 60_000  # milliseconds after the last use
_MOST_REMEMBERED = 10_000
_BUSY_SECONDS = 2  # a full queue is worked off in about one

_SECRET_PREFIX = "entrepot_"  # noqa: S105  # it makes a secret that leaked easy to find
_SECRET_BYTES = 32


class PasswordInvalid(ValueError):
    """The message says which password to choose."""


class HtpasswdInvalid(ValueError):
    """The message names the line and what to do, never a hash."""


class Passwords:
    """Hashes and checks passwords in `threads` threads, which start when needed; `most_waiting` may wait for one.

    To be used from one event loop; `remembers` and `close` from anywhere.
    """

    def __init__(self, clock: Clock, *, threads: int = 2, most_waiting: int = 64) -> None:
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="passwords")
        self._most_begun = threads + most_waiting
        self._begun = 0
        self._argon2 = argon2.PasswordHasher(_PASSES, _MEMORY_KIB, _LANES, _DIGEST_BYTES, _SALT_BYTES)
        self._decoy = _argon2_decoy()
        self._highest_cost = 0  # of the bcrypt hashes seen
        self._successes = _Successes(clock)

    def expect_bcrypt(self, cost: int) -> None:
        """The highest cost of the hashes that there are, or 0: all failed checks take the work of that one, too."""
        self._highest_cost = cost

    def close(self) -> None:
        """End the threads. Checks that still wait are cancelled; to hash or check afterwards is an error."""
        self._pool.shutdown(cancel_futures=True)

    async def hash(self, password: str) -> str:
        """An argon2id hash. Raises PasswordInvalid for a password that no check accepts, TooManyRequests when busy."""
        encoded = _encoded(password)
        if encoded is None:
            raise PasswordInvalid(f"choose a password of at most {_MOST_BYTES} bytes, without NUL")
        return await self._in_thread(lambda: self._argon2.hash(encoded))

    def remembers(self, stored: str | None, password: str) -> bool:
        """Whether this password was right for this stored hash in the last minutes. Takes microseconds."""
        encoded = _encoded(password)
        return encoded is not None and self._successes.has(self._successes.key(stored, encoded))

    async def verify(self, stored: str | None, password: str) -> bool:
        """Whether the password is right for a stored argon2id or bcrypt hash; `stored` is None for no such user.

        Raises TooManyRequests when too many checks wait.
        """
        encoded = _encoded(password)
        if encoded is None:
            return False  # before `stored` is looked at: the short time tells only what the caller knows
        key = self._successes.key(stored, encoded)
        if self._successes.has(key):
            return True
        self._highest_cost = max(self._highest_cost, _bcrypt_cost(stored))
        return await self._in_thread(lambda: self._check(key, stored, encoded))

    async def _in_thread(self, work: Callable[[], T]) -> T:
        if self._begun >= self._most_begun:
            raise TooManyRequests(_BUSY_SECONDS, "too many logins at once: wait a little")
        begun = asyncio.get_running_loop().run_in_executor(self._pool, work)
        self._begun += 1
        begun.add_done_callback(self._end)
        return await asyncio.shield(begun)  # who gives up leaves the work in the queue: it counts until it is done

    def _end(self, _begun: asyncio.Future[T]) -> None:
        self._begun -= 1

    def _check(self, key: bytes, stored: str | None, password: bytes) -> bool:
        if self._successes.has(key):
            return True  # of many jobs that begin at once with one password only the first ones wait for a check
        is_right = (
            self._check_bcrypt(stored, password) if _bcrypt_cost(stored) else self._check_argon2(stored, password)
        )
        if is_right:
            self._successes.add(key)
        else:
            self._top_up(_bcrypt_cost(stored), password)
        return is_right

    def _check_argon2(self, stored: str | None, password: bytes) -> bool:
        known = stored if stored and _ARGON2ID.fullmatch(stored) else None
        try:
            self._argon2.verify(known or self._decoy, password)
        except VerifyMismatchError:
            return False
        return known is not None

    def _check_bcrypt(self, stored: str | None, password: bytes) -> bool:
        is_right = bcrypt.checkpw(password[:_BCRYPT_MOST_BYTES], (stored or "").encode())
        if is_right and len(password) <= _BCRYPT_MOST_BYTES:
            return True
        return self._check_argon2(None, password)

    def _top_up(self, done: int, password: bytes) -> None:
        """Bring a failed check to the bcrypt work of the highest cost seen; `done` is the cost already spent, or 0.

        Each cost takes twice the work of the one before: 2**done, and then done up to highest - 1, is 2**highest.
        """
        if not self._highest_cost:
            return
        for cost in range(done, self._highest_cost) if done else [self._highest_cost]:
            bcrypt.checkpw(password[:_BCRYPT_MOST_BYTES], b"$2b$%02d$" % cost + b"." * 53)


class Turns:
    """At most so many at once for each key: a flood from one waits for its own."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._turns: dict[str, tuple[asyncio.Semaphore, int]] = {}

    @contextlib.asynccontextmanager
    async def one(self, key: str) -> AsyncIterator[None]:
        turn, users = self._turns.get(key, (asyncio.Semaphore(self._at_once), 0))
        self._turns[key] = (turn, users + 1)
        try:
            async with turn:
                yield
        finally:
            users = self._turns[key][1] - 1
            if users:
                self._turns[key] = (turn, users)
            else:
                del self._turns[key]


class _Successes:
    """The pairs of stored hash and password that were right, under a key that never leaves the process.

    Bounded; for any thread. Another stored hash is another pair, so a changed password is forgotten at once.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._used_at: OrderedDict[bytes, int] = OrderedDict()
        self._lock = threading.Lock()

    def key(self, stored: str | None, password: bytes) -> bytes:
        # A password has no NUL, so the last one divides the two.
        pair = (stored or "").encode("utf-8", "surrogatepass") + b"\0" + password
        return hmac.digest(self._secret, pair, "sha256")

    def has(self, key: bytes) -> bool:
        """Whether the pair was used in the last minutes; asking is a use."""
        now = self._clock()
        with self._lock:
            used_at = self._used_at.pop(key, None)
            if used_at is None or not 0 <= now - used_at < _REMEMBERED:
                return False
            self._used_at[key] = now
            return True

    def add(self, key: bytes) -> None:
        now = self._clock()
        with self._lock:
            self._used_at[key] = now
            self._used_at.move_to_end(key)
            if len(self._used_at) > _MOST_REMEMBERED:
                self._used_at.popitem(last=False)


def refuse_weak(password: str) -> None:
    """Raises PasswordInvalid, saying what to choose instead."""
    if len(password) < _LEAST_CHARACTERS:
        raise PasswordInvalid(f"choose a password of at least {_LEAST_CHARACTERS} characters")
    if len(password) > _MOST_BYTES or len(password.encode("utf-8", "surrogatepass")) > _MOST_BYTES:
        raise PasswordInvalid(f"choose a password of at most {_MOST_BYTES} bytes")
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in password):
        raise PasswordInvalid("choose a password without control characters, such as tabs or line ends")


def parse_htpasswd(text: str) -> list[tuple[str, str]]:
    """The names and bcrypt hashes of an htpasswd file. Raises HtpasswdInvalid."""
    found: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        entry = line.strip()
        if not entry or entry.startswith("#"):
            continue
        name, _, stored = entry.partition(":")
        if not stored or not _is_name(name):
            raise HtpasswdInvalid(f"line {number}: a line is a name, a colon and what htpasswd -B made of a password")
        if name in found:
            raise HtpasswdInvalid(f"line {number}: {name} is there twice: remove the line that is out of date")
        _refuse_unreadable(f"line {number}: {name}", stored)
        found[name] = stored
    return list(found.items())


def make_secret(token_bytes: Callable[[int], bytes]) -> str:
    """A robot's secret, from a source of random bytes."""
    return _SECRET_PREFIX + base64.urlsafe_b64encode(token_bytes(_SECRET_BYTES)).rstrip(b"=").decode()


def hash_secret(secret: str) -> str:
    """SHA-256 in hex: nobody guesses 32 random bytes, so no slow hash is needed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def is_secret(stored: str, secret: str) -> bool:
    """Whether `stored` is the hash of this secret; takes the same time for each secret of one length."""
    return hmac.compare_digest(stored.encode("utf-8", "surrogatepass"), hash_secret(secret).encode())


def _refuse_unreadable(where: str, stored: str) -> None:
    found = _BCRYPT.fullmatch(stored)
    if not found:
        raise HtpasswdInvalid(f"{where} has no bcrypt hash: set the password again with htpasswd -B")
    if int(found[1]) not in _BCRYPT_COSTS:
        raise HtpasswdInvalid(
            f"{where} has a bcrypt hash of cost {found[1]}; from {_BCRYPT_COSTS[0]} to {_BCRYPT_COSTS[-1]} is served:"
            " set the password again with htpasswd -B -C 12"
        )


def _is_name(text: str) -> bool:
    """Whether the text before the colon may be shown: in a line the wrong way round it is the hash."""
    return bool(text) and text.isprintable() and not set(text) & set("${}")


def _encoded(password: str) -> bytes | None:
    """None for what can be nobody's password: too long, with NUL, or no Unicode."""
    if len(password) > _MOST_BYTES or "\0" in password:
        return None
    try:
        encoded = password.encode()
    except UnicodeEncodeError:
        return None
    return encoded if len(encoded) <= _MOST_BYTES else None


def _bcrypt_cost(stored: str | None) -> int:
    """0 for what is no bcrypt hash, or one of a cost that we do not serve."""
    found = _BCRYPT.fullmatch(stored or "")
    cost = int(found[1]) if found else 0
    return cost if cost in _BCRYPT_COSTS else 0


def _argon2_decoy() -> str:
    """A well-formed hash of nothing that anybody knows, made without the work."""
    salt, digest = (
        base64.b64encode(secrets.token_bytes(size)).rstrip(b"=").decode() for size in (_SALT_BYTES, _DIGEST_BYTES)
    )
    return f"$argon2id$v=19$m={_MEMORY_KIB},t={_PASSES},p={_LANES}${salt}${digest}"

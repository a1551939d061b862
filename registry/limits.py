"""How often somebody may try: token buckets in memory, for failed logins and for requests.

A table holds a bounded number of buckets. One that is full again says nothing and may go; one that is not is never
thrown out for another, so that nobody wins new tries by making up addresses or names. While a table has no room, new
keys share some spare buckets, and a key that gets room later begins where its spare bucket stands. So each key is
admitted at most as often as with a bucket of its own for ever; in a flood of strangers, strangers pay for each other.
"""

import hashlib
import ipaddress
import math
import secrets
from collections import OrderedDict

from registry.errors import TooManyRequests
from registry.identity import Clock, parse_address

_MILLISECOND = 1_000_000  # nanoseconds: whole numbers, so that a wait is exact
_SECOND = 1_000 * _MILLISECOND
_DAY = 24 * 3600 * _SECOND

_MOST_KEYS = 20_000  # about 4 MB in each table
_SPARES = 1024
_SWEEP_EVERY = _SECOND  # a sweep of a full table takes milliseconds

# A person mistypes a few times; a script that guesses gets 28,800 tries a day, and half of that where it knows a name.
_STRANGERS_BURST, _STRANGERS_INTERVAL = 20, 3 * _SECOND
_KNOWN_BURST, _KNOWN_INTERVAL = 10, 6 * _SECOND


class FailureLimits:
    """Bounds failed logins for each address (of IPv6 each /64) and for each name; the name "" is nobody's.

    A name that logged in from an address in the last day has a bucket of its own there, and strangers do not count: who
    guesses at a name, or a broken job behind the same address, cannot lock out those who work.
    """

    def __init__(self, clock: Clock, *, most_keys: int = _MOST_KEYS) -> None:
        self._now = _SteadyTime(clock)
        self._addresses = _Buckets(_STRANGERS_BURST * _STRANGERS_INTERVAL, _STRANGERS_INTERVAL, most_keys)
        self._names = _Buckets(_STRANGERS_BURST * _STRANGERS_INTERVAL, _STRANGERS_INTERVAL, most_keys)
        self._pairs = _Buckets(_KNOWN_BURST * _KNOWN_INTERVAL, _KNOWN_INTERVAL, most_keys)
        self._succeeded_at: OrderedDict[bytes, int] = OrderedDict()
        self._most_keys = most_keys

    def check(self, name: str, address: str) -> None:
        """Raises TooManyRequests with the seconds until a try is allowed again. To be called before each try."""
        now = self._now()
        wait = max(buckets.wait(key, now) for buckets, key in self._judges(name, address, now))
        if wait:
            raise TooManyRequests(wait / _SECOND, "too many failed logins: wait a little")

    def failed(self, name: str, address: str) -> None:
        """Count a failure. Tries at the same time may all fail: what they take too much makes the next wait longer."""
        now = self._now()
        for buckets, key in self._judges(name, address, now):
            buckets.take(key, now)

    def succeeded(self, name: str, address: str) -> None:
        """Remember that the name logged in from there. Gives no failures back: a neighbour may be guessing."""
        if not name:
            return
        pair = _pair_key(name, network_of(address))
        self._succeeded_at[pair] = self._now()
        self._succeeded_at.move_to_end(pair)
        if len(self._succeeded_at) > self._most_keys:
            self._succeeded_at.popitem(last=False)  # its bucket stays

    def _judges(self, name: str, address: str, now: int) -> list[tuple["_Buckets", bytes]]:
        network = network_of(address)
        if not name:
            return [(self._addresses, _key(network))]
        pair = _pair_key(name, network)
        succeeded_at = self._succeeded_at.get(pair)
        if succeeded_at is not None and now - succeeded_at < _DAY:
            return [(self._pairs, pair)]
        return [(self._addresses, _key(network)), (self._names, _key(name))]


class RequestLimits:
    """Bounds requests to `per_second` for each key, `burst` (at least 1) at once; 0 per second is without bounds."""

    def __init__(self, clock: Clock, per_second: float, burst: float, *, most_keys: int = _MOST_KEYS) -> None:
        if per_second and not (0 < per_second < math.inf and 1 <= burst < math.inf):
            raise ValueError("per_second is 0 or more, burst is 1 or more")
        self._now = _SteadyTime(clock)
        interval = math.ceil(_SECOND / per_second) if per_second else 0
        self._buckets = _Buckets(math.floor(burst * interval), interval, most_keys) if interval else None

    def take(self, key: str) -> None:
        """Count a request. Raises TooManyRequests with the seconds until the next one is allowed."""
        if self._buckets is None:
            return
        now, bucket = self._now(), _key(key)
        wait = self._buckets.wait(bucket, now)
        if wait:
            raise TooManyRequests(wait / _SECOND)
        self._buckets.take(bucket, now)


class _SteadyTime:
    """Nanoseconds that never go back: when the clock is set back, what was to be waited for is not further away."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last = clock()
        self._ahead = 0

    def __call__(self) -> int:
        now = self._clock()
        self._ahead += max(0, self._last - now)
        self._last = now
        return (now + self._ahead) * _MILLISECOND


class _Buckets:
    """Token buckets that gain a token each `interval` up to `size` (nanoseconds' worth of tokens).

    A bucket is the instant at which it will be full; to take a token puts the instant off by one interval.
    """

    def __init__(self, size: int, interval: int, most_keys: int) -> None:
        self._size = size
        self._interval = interval
        self._most_keys = most_keys
        self._full_at: dict[bytes, int] = {}
        self._spares = [0] * _SPARES
        self._seed = secrets.randbelow(1 << 128)  # nobody can choose names that share a spare bucket with a victim's
        self._sweep_at = 0

    def wait(self, key: bytes, now: int) -> int:
        """Nanoseconds until there is a token, 0 for now."""
        full_at = self._full_at.get(key)
        if full_at is None:
            full_at = self._spares[self._spare(key)]
        return max(0, max(full_at, now) + self._interval - self._size - now)

    def take(self, key: bytes, now: int) -> None:
        """Take a token, also one that is not there yet."""
        full_at = self._full_at.get(key)
        if full_at is not None or self._has_room(now):
            begun = self._spares[self._spare(key)] if full_at is None else full_at
            self._full_at[key] = max(begun, now) + self._interval
        else:
            spare = self._spare(key)
            self._spares[spare] = max(self._spares[spare], now) + self._interval

    def _has_room(self, now: int) -> bool:
        if len(self._full_at) >= self._most_keys and now >= self._sweep_at:
            self._full_at = {key: full_at for key, full_at in self._full_at.items() if full_at > now}
            self._sweep_at = now + _SWEEP_EVERY
        return len(self._full_at) < self._most_keys

    def _spare(self, key: bytes) -> int:
        return hash((self._seed, key)) % _SPARES


def _key(text: str) -> bytes:
    """Names come from strangers and may be long; a key is short."""
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _pair_key(name: str, network: str) -> bytes:
    return _key(f"{network}\0{name}")


def network_of(address: str) -> str:
    """What one client can have as addresses: one of IPv4, a /64 of IPv6. What is no address stands for itself."""
    parsed = parse_address(address)
    if not isinstance(parsed, ipaddress.IPv6Address):
        return str(parsed or address)
    return str(ipaddress.IPv6Address(int(parsed) >> 64 << 64))

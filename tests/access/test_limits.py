"""Token buckets: never more than promised, never less for those who work, and bounded whoever comes."""

import ipaddress
import itertools
import math
from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from registry.errors import TooManyRequests
from registry.limits import FailureLimits, RequestLimits
from tests.access.clock import SetClock

HERE, THERE = "192.0.2.1", "198.51.100.7"
DAY = 24 * 3_600_000
KEYS = 100_000
BUCKETS = 20_000

Admitted: TypeAlias = dict[str, list[int]]  # the instants (milliseconds) at which a key was admitted


@pytest.fixture
def clock() -> SetClock:
    return SetClock()


def wait_for(attempt: Callable[[], None]) -> int:
    """The seconds of Retry-After, 0 if the attempt was let through."""
    try:
        attempt()
    except TooManyRequests as refusal:
        return int(refusal.headers["Retry-After"])
    return 0


def guess(limits: FailureLimits, name: str, address: str) -> int:
    """A try that fails if it is let through."""
    if not (seconds := wait_for(lambda: limits.check(name, address))):
        limits.failed(name, address)
    return seconds


def guesses(limits: FailureLimits, name: str, address: str) -> int:
    """How many guesses are let through at once."""
    return next(count for count in itertools.count() if guess(limits, name, address))


def assert_bounded(instants: Sequence[int], burst: float, per_second: float) -> None:
    """In no window more than the burst and what its time brings."""
    for first, last in itertools.combinations(range(len(instants)), 2):
        most = burst + (instants[last] - instants[first]) / 1000 * per_second
        assert last - first + 1 <= most + 1e-6


def test_failures_from_one_address(clock: SetClock) -> None:
    """20 at once with ever other names, then one every 3 seconds; others elsewhere are not touched."""
    limits = FailureLimits(clock)
    assert [guess(limits, f"name-{number}", HERE) for number in range(22)] == [0] * 20 + [3, 3]
    assert wait_for(lambda: limits.check("name-0", THERE)) == 0
    clock.now += 2999
    assert guess(limits, "another", HERE) == 1
    clock.now += 1
    assert [guess(limits, "another", HERE) for _ in range(2)] == [0, 3]
    clock.now += 60_000
    assert guesses(limits, "", HERE) == 20


def test_failures_for_one_name(clock: SetClock) -> None:
    """20 at once from ever other addresses, then one every 3 seconds; other names are not touched."""
    limits = FailureLimits(clock)
    assert [guess(limits, "alice", f"10.0.0.{number}") for number in range(22)] == [0] * 20 + [3, 3]
    assert wait_for(lambda: limits.check("bob", "10.0.0.0")) == 0
    clock.now += 3000
    assert [guess(limits, "alice", THERE) for _ in range(2)] == [0, 3]


def test_failures_without_a_name(clock: SetClock) -> None:
    """Bad bearer tokens count for their address only: no name is everybody's."""
    limits = FailureLimits(clock)
    assert guesses(limits, "", HERE) == 20
    assert guesses(limits, "", THERE) == 20
    limits.succeeded("", "192.0.2.9")
    assert guesses(limits, "", "192.0.2.9") == 20


def test_the_longer_wait_counts(clock: SetClock) -> None:
    """An address and a name that both have to wait: until both may."""
    limits = FailureLimits(clock)
    for _ in range(25):
        limits.failed("", HERE)
    assert guesses(limits, "alice", THERE) == 20
    assert guess(limits, "alice", HERE) == 18
    assert guess(limits, "alice", THERE) == 3


NETWORKS = [
    ("2001:db8::1", "2001:db8::ffff:1", True),
    ("2001:db8:0:1::1", "2001:DB8:0:1:ffff::", True),
    ("2001:db8:0:1::1", "2001:db8:0:2::1", False),
    ("::ffff:192.0.2.1", "192.0.2.1", True),
    ("::ffff:192.0.2.1", "::ffff:192.0.2.2", False),
    ("fe80::1%eth0", "fe80::2", True),
    ("192.0.2.1", "192.0.2.2", False),
    ("", "", True),
    ("", "192.0.2.1", False),
    ("socket", "other socket", False),
]


@pytest.mark.parametrize(("one", "other", "are_one"), NETWORKS)
def test_addresses_of_one_client(clock: SetClock, one: str, other: str, *, are_one: bool) -> None:
    """A host has one address of IPv4 and a /64 of IPv6, however they are written."""
    limits = FailureLimits(clock)
    assert guesses(limits, "", one) == 20
    assert (guess(limits, "", other) > 0) == are_one


@given(st.ip_addresses(v=6, network="2001:db8::/32"), st.ip_addresses(v=6, network="2001:db8::/32"))
@example(ipaddress.IPv6Address("2001:db8::1"), ipaddress.IPv6Address("2001:db8::2"))
def test_networks_of_ipv6(one: ipaddress.IPv6Address, other: ipaddress.IPv6Address) -> None:
    """Two addresses share a bucket exactly when their first 64 bits are equal."""
    limits = FailureLimits(SetClock())
    assert guesses(limits, "", str(one)) == 20
    assert (guess(limits, "", str(other)) > 0) == (one.packed[:8] == other.packed[:8])


def test_a_known_pair_has_its_own_bucket(clock: SetClock) -> None:
    """10 failures at once and one every 6 seconds, which touch nobody else, and nobody touches them."""
    limits = FailureLimits(clock)
    limits.succeeded("alice", HERE)
    assert guesses(limits, "alice", HERE) == 10
    assert guess(limits, "alice", HERE) == 6
    assert guesses(limits, "bob", HERE) == 20, "the failures of a known pair are its own"
    assert guess(limits, "alice", THERE) == 0
    clock.now += 6000
    assert [guess(limits, "alice", HERE) for _ in range(2)] == [0, 6]


def test_a_success_gives_nothing_back(clock: SetClock) -> None:
    """Who guesses at the name of a neighbour wins nothing when the neighbour logs in."""
    limits = FailureLimits(clock)
    limits.succeeded("alice", HERE)
    assert guesses(limits, "alice", HERE) == 10
    limits.succeeded("alice", HERE)
    assert guess(limits, "alice", HERE) == 6


def test_a_pair_is_known_for_a_day(clock: SetClock) -> None:
    """After its last success; then it is a stranger again."""
    limits = FailureLimits(clock)
    limits.succeeded("alice", HERE)
    clock.now += DAY - 1
    assert guesses(limits, "bob", HERE) == 20
    assert wait_for(lambda: limits.check("alice", HERE)) == 0
    clock.now += 1
    assert wait_for(lambda: limits.check("alice", HERE)) == 3


STRANGERS = st.sampled_from(
    [("alice", THERE), ("alice", "2001:db8::1"), ("bob", HERE), ("", HERE), ("eve", THERE), ("Alice", HERE)]
)


@given(st.lists(st.tuples(STRANGERS, st.integers(0, 5_000), st.booleans()), max_size=200))
@example([(("alice", THERE), 0, False), (("bob", HERE), 0, False)] * 100)
def test_a_working_login_is_never_limited(steps: list[tuple[tuple[str, str], int, bool]]) -> None:
    """Whatever strangers do to its name and to its address, from many addresses, with many names."""
    clock = SetClock()
    limits = FailureLimits(clock)
    limits.check("alice", HERE)
    limits.succeeded("alice", HERE)
    for (name, address), pause, is_rude in steps:
        clock.now += pause
        if is_rude:
            limits.failed(name, address)  # many at the same time: all were checked before the first failed
        else:
            guess(limits, name, address)
        limits.check("alice", HERE)
        limits.succeeded("alice", HERE)


def test_logins_without_failures_are_never_limited(clock: SetClock) -> None:
    """A thousand jobs that begin at once, known or not, with one name or many."""
    limits = FailureLimits(clock)
    for number in range(1000):
        limits.check("robot", HERE)
        limits.check(f"robot-{number}", HERE)
    for number in range(1000):
        limits.succeeded("robot", HERE)
        limits.check(f"robot-{number}", HERE)


NAMES, ADDRESSES = ["", "a", "b", "c"], [HERE, THERE, "2001:db8::1", "2001:db8::2"]
TRIES = st.tuples(st.integers(0, 4_000), st.sampled_from(NAMES), st.sampled_from(ADDRESSES), st.integers(1, 30))


@given(st.lists(TRIES, max_size=40), st.sampled_from([1, 2, 1000]))
@example([(0, "a", HERE, 30), (0, "b", THERE, 30), (0, "a", HERE, 30)], 1)
def test_no_window_admits_more_failures(tries: list[tuple[int, str, str, int]], most_keys: int) -> None:
    """For a name as for an address, even if the tables have room for one key only."""
    clock = SetClock()
    limits = FailureLimits(clock, most_keys=most_keys)
    admitted: Admitted = defaultdict(list)
    for pause, name, address, count in tries:
        clock.now += pause
        for _ in range(count):
            if not guess(limits, name, address):
                admitted[f"name {name}"] += [clock.now] if name else []
                admitted[f"address {address.rstrip('12') if ':' in address else address}"].append(clock.now)
    for instants in admitted.values():
        assert_bounded(instants, 20, 1 / 3)


@given(st.lists(st.tuples(st.integers(0, 10_000), st.integers(1, 15), st.booleans()), max_size=40))
def test_no_window_admits_more_failures_of_a_known_pair(tries: list[tuple[int, int, bool]]) -> None:
    """Also while the owner of the name logs in between the guesses."""
    clock = SetClock()
    limits = FailureLimits(clock)
    limits.succeeded("alice", HERE)
    admitted = []
    for pause, count, succeeds in tries:
        clock.now += pause
        admitted += [clock.now for _ in range(count) if not guess(limits, "alice", HERE)]
        if succeeds:
            limits.succeeded("alice", HERE)
    assert_bounded(admitted, 10, 1 / 6)


RATES = st.sampled_from([0.01, 0.3, 1, 3, 7.5, 100, 12_345.6])
BURSTS = st.sampled_from([1, 1.5, 2, 10])


@given(
    RATES,
    BURSTS,
    st.lists(st.tuples(st.integers(0, 2_000), st.sampled_from("abc"), st.integers(1, 12)), max_size=30),
    st.sampled_from([1, 2, 1000]),
)
def test_no_window_admits_more_requests(
    per_second: float, burst: float, steps: list[tuple[int, str, int]], most_keys: int
) -> None:
    """Whatever the rate, and whether or not there is room for a bucket of one's own."""
    clock = SetClock()
    limits = RequestLimits(clock, per_second, burst, most_keys=most_keys)
    admitted: Admitted = defaultdict(list)
    for pause, key, count in steps:
        clock.now += pause
        for _ in range(count):
            if not wait_for(lambda key=key: limits.take(key)):  # type: ignore[misc]
                admitted[key].append(clock.now)
    for instants in admitted.values():
        assert_bounded(instants, burst, per_second)


@given(RATES, BURSTS, st.lists(st.integers(0, 1_500), max_size=20))
@example(3, 1, [0])
@example(7.5, 1.5, [1, 133, 134])
def test_retry_after_is_the_true_wait(per_second: float, burst: float, pauses: list[int]) -> None:
    """After it one is admitted; a whole second less and none is."""
    clock = SetClock()
    limits = RequestLimits(clock, per_second, burst)
    for pause in pauses:
        clock.now += pause
        while not (seconds := wait_for(lambda: limits.take("a"))):
            pass
        begun = clock.now
        assert seconds <= math.ceil(1 / per_second) + 1
        clock.now = begun + (seconds - 1) * 1000
        assert seconds == 1 or wait_for(lambda: limits.take("a")) == 1
        clock.now = begun + seconds * 1000
        assert wait_for(lambda: limits.take("a")) == 0


@given(st.lists(st.tuples(st.integers(0, 5_000), st.sampled_from(NAMES), st.sampled_from(ADDRESSES)), max_size=60))
def test_retry_after_of_a_failure_is_the_true_wait(steps: list[tuple[int, str, str]]) -> None:
    """After it a try is allowed; a whole second less and none is."""
    clock = SetClock()
    limits = FailureLimits(clock)
    for pause, name, address in steps:
        clock.now += pause
        for _ in range(8):
            limits.failed(name, address)
        seconds = wait_for(lambda: limits.check(name, address))  # noqa: B023  # called at once
        if not seconds:
            continue
        begun = clock.now
        clock.now = begun + (seconds - 1) * 1000
        assert wait_for(lambda: limits.check(name, address)) == 1 or seconds == 1  # noqa: B023
        clock.now = begun + seconds * 1000
        limits.check(name, address)


def test_requests(clock: SetClock) -> None:
    """A burst, then the rate; each key for itself."""
    limits = RequestLimits(clock, 2, 3)
    assert [wait_for(lambda: limits.take("a")) for _ in range(5)] == [0, 0, 0, 1, 1]
    assert wait_for(lambda: limits.take("b")) == 0
    assert {wait_for(lambda: limits.take("a")) for _ in range(1000)} == {1}, "a refusal costs nothing"
    clock.now += 500
    assert [wait_for(lambda: limits.take("a")) for _ in range(2)] == [0, 1]
    clock.now += 3_600_000
    assert [wait_for(lambda: limits.take("a")) for _ in range(4)] == [0, 0, 0, 1]


def test_no_limit(clock: SetClock) -> None:
    """0 per second is without bounds, and remembers nobody."""
    limits = RequestLimits(clock, 0, 0)
    for number in range(10_000):
        limits.take("a" if number % 2 else f"{number}")
    assert limits._buckets is None


@pytest.mark.parametrize(
    ("per_second", "burst"),
    [(-1, 5), (1, 0), (1, 0.5), (1, -1), (math.inf, 1), (1, math.inf), (math.nan, 1), (1, math.nan)],
)
def test_limits_that_are_none(clock: SetClock, per_second: float, burst: float) -> None:
    """What would admit nobody, or anybody by accident, is refused."""
    with pytest.raises(ValueError, match="per_second is 0 or more, burst is 1 or more"):
        RequestLimits(clock, per_second, burst)


def test_a_clock_set_back(clock: SetClock) -> None:
    """Nobody waits longer, and nobody is given more."""
    failures, requests = FailureLimits(clock), RequestLimits(clock, 1, 2)
    assert guesses(failures, "alice", HERE) == 20
    for _ in range(2):
        requests.take("a")
    clock.now -= DAY
    assert wait_for(lambda: failures.check("alice", HERE)) == 3
    assert wait_for(lambda: requests.take("a")) == 1
    clock.now += 1000
    requests.take("a")
    clock.now += 2000
    failures.check("alice", HERE)


def test_failures_by_many_are_bounded(clock: SetClock) -> None:
    """100,000 addresses and names fill the tables and no more; the victim's bucket is not thrown out."""
    limits = FailureLimits(clock)
    limits.succeeded("bob", THERE)
    assert guesses(limits, "alice", HERE) == 20
    for number in range(KEYS):
        guess(limits, f"name-{number}-" + "x" * 100, f"2001:db8:{number >> 16:x}:{number & 65535:x}::1")
        limits.succeeded(f"robot-{number % 1000}", f"10.0.{number % 200}.1")
    assert guess(limits, "alice", THERE) == 3
    assert guess(limits, "eve", HERE) == 3
    assert len(limits._addresses._full_at) == len(limits._names._full_at) == BUCKETS
    assert len(limits._pairs._full_at) == 0
    limits.check("bob", THERE)
    assert guess(limits, "newcomer", "203.0.113.1") > 0, "while nothing has room strangers are refused, not admitted"
    for number in range(KEYS):
        limits.succeeded(f"robot-{number}", HERE)
    assert len(limits._succeeded_at) == BUCKETS


def test_full_buckets_make_room(clock: SetClock) -> None:
    """When the flood is over, newcomers have buckets of their own again."""
    limits = RequestLimits(clock, 1, 1, most_keys=10)
    for number in range(10):
        limits.take(f"early {number}")
    clock.now += 1000
    for number in range(10):
        limits.take(f"late {number}")
    assert limits._buckets is not None
    assert len(limits._buckets._full_at) == 10
    assert [wait_for(lambda: limits.take(f"late {number}")) for number in range(10)] == [1] * 10  # noqa: B023


def test_a_flood_resets_no_bucket(clock: SetClock) -> None:
    """A drained key stays drained, whether it has a bucket of its own or a spare one, and when it moves."""
    limits = RequestLimits(clock, 1, 5, most_keys=4)
    for number in range(4):
        limits.take(f"filler {number}")
    assert [wait_for(lambda: limits.take("guesser")) for _ in range(6)] == [0] * 5 + [1], "shares a spare bucket"
    clock.now += 1000
    assert [wait_for(lambda: limits.take("guesser")) for _ in range(2)] == [0, 1], "moved, and no fuller"
    for number in range(1000):
        wait_for(lambda: limits.take(f"filler {number}"))  # noqa: B023  # called at once
    assert wait_for(lambda: limits.take("guesser")) == 1


@pytest.mark.parametrize("name", ["\ud800", "x" * 1_000_000, "a\0b", "é", " "])
def test_names_of_any_kind(clock: SetClock, name: str) -> None:
    """What a stranger sends as a name is counted and not kept."""
    limits = FailureLimits(clock)
    assert guesses(limits, name, HERE) == 20
    assert guess(limits, name, THERE) == 3
    assert {len(key) for key in limits._names._full_at} == {16}
